"""Detection of a clip in parts, which several processes share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from retalkit.config.model import load
from retalkit.errors import RunCancelledError
from retalkit.media import sources
from retalkit.media.sources import VideoSource, open_source
from retalkit.observer import SilentObserver
from retalkit.pipeline import detection_parts
from retalkit.pipeline.analysis_store import LimitedSource
from retalkit.pipeline.detect import StoredDetections, detect_faces
from retalkit.pipeline.detection_parts import (
    FrameDetections,
    PartDetector,
    detect_in_parts,
    load_part,
    parts_of,
    save_part,
)
from retalkit.pipeline.plan import plan
from retalkit.pipeline.run_helpers import Claims, DetectionRequest
from retalkit.pipeline.shared_work import detect_share
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.discovery import discover
from retalkit.stages import Face
from retalkit.storage.cache import Cache

LENGTH = 40
PARTS = [(0, LENGTH // 2), (LENGTH // 2, LENGTH)]


class Steps:
    """Steps of a run with the default stages, which detect the faces of a clip."""

    def __init__(self, video: Path, cache: Path) -> None:
        registry = discover()
        self.config = load(registry, preset="embedded")
        self.steps = ClipSteps(plan(self.config, registry), Cache(cache), SilentObserver())
        self.source = LimitedSource(open_source(video), LENGTH)
        self.video, self.cache = video, cache

    def detect(self, key: str, parts: list[tuple[int, int]], shared: Work | None = None) -> list[FrameDetections]:
        folder = self.steps.cache.entry(key)
        detect_faces(self.steps.part_detector(self.source, folder), parts, folder, SilentObserver(), shared)
        return list(StoredDetections(folder.folder))

    def request(self, claims: Path) -> DetectionRequest:
        return DetectionRequest(
            configuration=self.config.model_dump(mode="json"),
            video=str(self.video),
            frames=LENGTH,
            cache=str(self.cache),
            key="helper",
            claims=str(claims),
        )


class Work:
    """Shared work of which another process has done the last part, or has claimed it and died."""

    def __init__(self, folder: Path, request: DetectionRequest | None) -> None:
        self.folder = folder
        self.frames = 0
        assert list(Claims(folder).claimed([0])) == [0]
        if request is None:
            assert list(Claims(folder).claimed([1])) == [1]
        else:
            detect_share(request, discover(), self._report, cancellation=threading.Event())
        (folder / "0").unlink()

    def _report(self, frames: int) -> None:
        self.frames = frames

    def claimed(self, numbers: Iterable[int]) -> Iterator[int]:
        return Claims(self.folder).claimed(numbers)

    def done(self) -> int:
        return self.frames

    def wait(self, poll: Callable[[], None]) -> None:
        poll()

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def steps(moving_head: Path, tmp_path_factory: pytest.TempPathFactory) -> Steps:
    return Steps(moving_head, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def alone(steps: Steps) -> list[FrameDetections]:
    return steps.detect("alone", PARTS)


def test_parts_hardly_change_the_landmarks(steps: Steps, alone: list[FrameDetections]) -> None:
    whole = steps.detect("whole", [(0, LENGTH)])
    assert [frame.index for frame in alone] == [frame.index for frame in whole] == list(range(LENGTH))
    for part, frame in zip(alone, whole, strict=True):
        assert len(part.faces) == len(frame.faces) == 1 and part.is_cut == frame.is_cut
        offset = np.linalg.norm(part.faces[0].landmarks[:, :2] - frame.faces[0].landmarks[:, :2], axis=1)
        assert offset.mean() < (0.01 if frame.index < PARTS[1][0] else 0.3)


@pytest.mark.parametrize("fails", [False, True], ids=["complete", "failed"])
def test_shared_detections_are_identical(
    fails: bool, steps: Steps, alone: list[FrameDetections], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retalkit.pipeline.shared_work.parts_of", lambda *_: PARTS)
    work = Work(tmp_path, None if fails else steps.request(tmp_path))
    assert work.done() == (0 if fails else LENGTH // 2)
    shared = steps.detect(f"shared {fails}", PARTS, work)
    assert sorted(path.name for path in tmp_path.iterdir()) == (["0", "1"] if fails else ["0", "1", "part-1.npz"])
    for frame, expected in zip(shared, alone, strict=True):
        assert (frame.index, frame.is_cut, len(frame.faces)) == (expected.index, expected.is_cut, 1)
        for face, other in zip(frame.faces, expected.faces, strict=True):
            assert np.array_equal(face.landmarks, other.landmarks) and np.array_equal(face.box, other.box)
            assert (face.score, face.reason) == (other.score, other.reason)


class StoppedWork(Work):
    """Work during whose wait the run is cancelled. The run has nothing left to do itself."""

    def __init__(self, folder: Path, cancellation: threading.Event) -> None:
        self.folder, self.cancellation = folder, cancellation

    def claimed(self, numbers: Iterable[int]) -> Iterator[int]:
        return iter(())

    def done(self) -> int:
        return 7

    def wait(self, poll: Callable[[], None]) -> None:
        poll()
        self.cancellation.set()
        poll()
        raise AssertionError("the cancellation is ignored")


def test_waiting_for_other_processes_can_be_cancelled(tmp_path: Path) -> None:
    cancellation = threading.Event()
    detector = PartDetector(
        source=SimpleNamespace(),  # type: ignore[arg-type]
        open_session=lambda: pytest.fail("the run detects nothing itself"),
        scheme="mesh478",
        cancelled=cancellation.is_set,
    )
    advanced: list[int] = []
    with pytest.raises(RunCancelledError):
        list(detect_in_parts(detector, PARTS, StoppedWork(tmp_path, cancellation), advanced.append))
    assert advanced == [7]


def test_stored_part_is_read_unchanged(tmp_path: Path) -> None:
    face = Face(np.arange(4, dtype=np.float32), np.ones((2, 3), np.float32), 0.25, "upside down")
    frames = [FrameDetections(3, True, []), FrameDetections(4, False, [face, replace(face, reason="")])]
    save_part(tmp_path, 0, frames)
    loaded = load_part(tmp_path, 0)
    assert loaded is not None and [(frame.index, frame.is_cut) for frame in loaded] == [(3, True), (4, False)]
    assert [[each.reason for each in frame.faces] for frame in loaded] == [[], ["upside down", ""]]
    assert np.array_equal(loaded[1].faces[1].landmarks, face.landmarks) and loaded[1].faces[0].score == 0.25
    save_part(tmp_path, 1, frames[:1])
    assert [frame.faces for frame in load_part(tmp_path, 1) or ()] == [[]]
    assert load_part(tmp_path, 2) is None


def test_parts_depend_on_the_clip(moving_head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(moving_head)
    assert isinstance(source, VideoSource)
    assert parts_of(source, 191) == [(0, 191)]
    assert parts_of(source, 250) == [(0, 125), (125, 250)]
    assert parts_of(source, 1024) == [(0, 256), (256, 512), (512, 768), (768, 1024)]
    monkeypatch.setattr(sources, "SHORT_BYTES", 1000)
    assert parts_of(source, 1000) == [(0, 1000)], "the clip has a single keyframe"
    keyframes = np.array([0, 50, 150, 300, 310, 690])
    monkeypatch.setattr(source, "index", replace(source.index, keyframes=keyframes))
    warm_up = detection_parts.WARM_UP
    assert parts_of(source, 700) == [(0, 150 + warm_up), (150 + warm_up, 300 + warm_up), (300 + warm_up, 700)]
    assert parts_of(source, 9000) == [(0, 9000)], "a part would be too long"
