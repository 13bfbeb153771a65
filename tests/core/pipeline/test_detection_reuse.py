"""Detection is independent of the edited face: another face reuses the stored detections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import retalkit
from retalkit.config import RunConfig
from retalkit.pipeline.detect import StoredDetections, detect_faces
from retalkit.pipeline.detection_parts import PartDetector
from retalkit.plugins.discovery import discover
from retalkit.stages import Face, FrameBatch, SourceInfo
from retalkit.storage.cache import Folder


def test_other_face_does_not_run_the_detector_again(moving_head: Path, short_speech: Path, tmp_path: Path) -> None:
    def run(face: str) -> retalkit.RunRecord:
        config = RunConfig.from_preset(registry=discover(), overrides=[f"face={face}"])
        output = tmp_path / f"{face}.mp4"
        return retalkit.dub(moving_head, short_speech, output, config=config, cache=tmp_path / "cache")

    assert "faces" not in run("largest").cached_steps
    other = run("0")
    assert "faces" in other.cached_steps
    assert "tracks" not in other.cached_steps


class _Source:
    """Five frames of 8 x 8 pixels."""

    info = SourceInfo(width=8, height=8, frame_count=5, duration=0.2)

    def times(self, start: int, stop: int) -> np.ndarray:
        return np.arange(start, stop) / 25

    def read(self, indexes):
        for index in indexes:
            yield index, np.zeros((8, 8, 3), np.uint8)


class _Detector:
    """Returns as many faces as the frame's index modulo 3."""

    def close(self) -> None: ...

    def detect(self, frames: FrameBatch) -> list[list[Face]]:
        return [
            [
                Face(np.full(4, index, np.float32), np.full((2, 3), index + place / 10, np.float32), 0.1 * place)
                for place in range(int(index) % 3)
            ]
            for index in frames.indexes
        ]


class _Silent:
    def advanced(self, step: str, done: int) -> None: ...


def test_stored_detections_are_those_of_the_detector(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "detections")
    source, detector = _Source(), _Detector()
    parts = PartDetector(source=source, open_session=lambda: detector, scheme="mesh478", cancelled=lambda: False)
    detect_faces(parts, [(0, 5)], folder, _Silent())
    stored = StoredDetections(folder.folder)
    assert (stored.scheme, stored.frame_count, stored.landmarks_shape) == ("mesh478", 5, (2, 3))
    for frame in stored:
        batch = FrameBatch(np.zeros((1, 8, 8, 3), np.uint8), np.zeros(1), np.array([frame.index]))
        expected = detector.detect(batch)[0]
        assert len(frame.faces) == len(expected)
        for face, original in zip(frame.faces, expected, strict=True):
            np.testing.assert_array_equal(face.box, original.box)
            np.testing.assert_array_equal(face.landmarks, original.landmarks)
            assert face.score == original.score


def test_incomplete_detections_are_not_used(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        StoredDetections(tmp_path)
