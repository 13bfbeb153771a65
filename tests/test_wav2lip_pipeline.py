"""The preset ``wav2lip`` end to end with pseudo-random weights: noise in the lower face, all real stages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
import retalkit
from numpy.typing import NDArray
from retalkit.config import RunConfig
from retalkit.media.sound import open_sound
from retalkit.media.sources import open_source
from retalkit.pipeline.plan import plan, required_checkpoints
from retalkit.pipeline.record import RunRecord
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import Registry
from retalkit.weights.store import WeightStore
from scipy.io import wavfile

from tests.packets import packets

pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


@pytest.fixture(scope="module")
def weights(
    registry: Registry, pseudo_weights: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """A RETALKIT_HOME with the checkpoints of the preset."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETALKIT_HOME", str(tmp_path_factory.mktemp("home")))
        store = WeightStore()
        for name in ("wav2lip", "s3fd", "fan"):
            store.add(registry.checkpoint(name), pseudo_weights(name))
        yield


def run(
    registry: Registry,
    clip: Path,
    frames: int,
    shared_media: Path,
    folder: Path,
    *overrides: str,
    name: str = "out.mp4",
) -> RunRecord:
    samples = np.concatenate(list(open_sound(shared_media / "speech_16k_mono.wav").chunks(16000)))
    part = samples[2 * 16000 :][: frames * 640]
    wavfile.write(folder / "words.wav", 16000, (part * 32767).astype(np.int16))
    given = ["inference=torch", *overrides]
    config = RunConfig.from_preset("wav2lip", registry=registry, overrides=given)
    return retalkit.dub(
        clip, folder / "words.wav", folder / name, config=config, registry=registry, cache=folder / "cache", force=True
    )


def images(path: Path, count: int) -> NDArray[np.int64]:
    return np.stack([image for _, image in open_source(path).read(range(count))]).astype(int)


def write_clip(path: Path, frames: Sequence[Image]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10", "preset": "veryfast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def test_preset_needs_only_detector_and_generator_weights(registry: Registry, weights: None) -> None:
    config = RunConfig.from_preset("wav2lip", registry=registry)
    assert required_checkpoints(config, registry) == ["s3fd", "fan", "wav2lip"]
    chosen = plan(config, registry)
    assert not chosen.reconstructor.reads_frames
    assert chosen.expression_editor.requested_ports == {"reference:image"}


def test_lower_half_of_every_face_is_generated(
    registry: Registry, weights: None, shared_media: Path, tmp_path: Path
) -> None:
    clip = shared_media / "talk_woman_590p25.mp4"
    record = run(registry, clip, 3, shared_media, tmp_path, "detector.use=mediapipe", "analysis_seconds=0.08")
    assert record.frames_edited == 3 and not record.frames_passed
    source, result = images(clip, 3), images(record.output, 3)
    changed = np.abs(source - result).mean(axis=(0, 3))
    height, width = changed.shape
    # Pseudo-random networks draw noise into the face; only the codec changes the rest of the image.
    assert changed[height // 2 : 3 * height // 4, width // 3 : 2 * width // 3].mean() > 15
    rows = np.flatnonzero((changed > 12).sum(axis=1) > 20)
    columns = np.flatnonzero((changed > 12).sum(axis=0) > 20)
    assert rows.min() > height // 4 and columns.min() > 0 and columns.max() < width - 1
    assert changed[: height // 4].mean() < 3
    stored = json.loads(record.record.read_text(encoding="utf-8"))["weights"]
    assert set(stored) == {"lip_syncer.wav2lip"}
    edited = run(
        registry,
        clip,
        3,
        shared_media,
        tmp_path,
        "detector.use=mediapipe",
        "analysis_seconds=0.08",
        "reconstructor.use=shallow",
        "expression_editor.use=neutral_warp",
        name="edited.mp4",
    )
    assert edited.frames_edited == 3
    assert packets(edited.output) != packets(record.output), "the editor's output is the reference"


def test_frames_without_a_face_and_cuts_do_not_stop_the_run(
    registry: Registry, weights: None, shared_media: Path, tmp_path: Path
) -> None:
    talking = [image for _, image in open_source(shared_media / "talk_woman_590p25.mp4").read(range(4))]
    empty = [np.full_like(talking[0], 90)] * 2
    moved = [np.roll(image, 40, axis=1) for image in talking]
    write_clip(tmp_path / "cut.mp4", [*talking, *empty, *moved])
    record = run(registry, tmp_path / "cut.mp4", 10, shared_media, tmp_path, "detector.use=mediapipe")
    assert record.frames_edited == 8
    assert record.frames_passed == {"no face": 2}
    source, result = images(tmp_path / "cut.mp4", 10), images(record.output, 10)
    assert np.abs(source[4:6] - result[4:6]).mean() < 1.5
    changed = np.abs(source - result).mean(axis=3) > 25
    left = [int(np.flatnonzero(changed[index].sum(axis=0) > 20).min()) for index in range(10) if index not in (4, 5)]
    # The boxes on both sides of the gap are not averaged: the edit moves with the face at once.
    assert abs(left[4] - left[3] - 40) < 12
    assert max(left[:4]) - min(left[:4]) < 12 and max(left[4:]) - min(left[4:]) < 12


def test_published_detector_and_its_landmarks_are_sufficient(
    registry: Registry, weights: None, shared_media: Path, tmp_path: Path
) -> None:
    talking = [image for _, image in open_source(shared_media / "talk_woman_590p25.mp4").read(range(1))]
    write_clip(tmp_path / "frame.mp4", talking)
    # Networks with pseudo-random weights detect faces everywhere.
    options = ("detector.max_faces=1", "detector.longest_side=128", "detector.largest_side=128")
    record = run(registry, tmp_path / "frame.mp4", 1, shared_media, tmp_path, *options)
    assert record.frames_edited + sum(record.frames_passed.values()) == 1
    stored = json.loads(record.record.read_text(encoding="utf-8"))["weights"]
    assert set(stored) == {"detector.s3fd", "detector.fan", "lip_syncer.wav2lip"}
