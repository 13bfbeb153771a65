"""The lip syncer ``wav2lip`` on frames of a real clip, compared with the published inference script."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from retalkit.errors import RunCancelledError
from retalkit.geometry.smoothing import TrackSmoother
from retalkit.imaging.compositing import composite
from retalkit.media.sound import open_sound
from retalkit.observer import SilentObserver
from retalkit.plugins.discovery import discover
from retalkit.speech.mel import mel_spectrogram
from retalkit.speech.mel_windows import window_starts
from retalkit.stages import (
    FaceEdit,
    LipSyncClip,
    ObjectPool,
    PassedThrough,
    ReferenceBatch,
    Runtime,
    StageContext,
    StageKind,
    SyncBatch,
)
from retalkit.storage.cache import Folder

from tests.plugins.renderers.dnet_clips import RealClip, real_clip
from tests.plugins.renderers.speeches import always_active

torch = pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit.speech.speech_track import SpeechTrack
from retalkit_renderers.face_generation import FaceGenerationSession
from retalkit_renderers.wav2lip import syncer
from retalkit_renderers.wav2lip.face_region import network_faces
from retalkit_renderers.wav2lip.interface import Wav2LipConfig

FRAMES = 3
POOL = ObjectPool()


@pytest.fixture(scope="module")
def clip(shared_media: Path, tmp_path_factory: pytest.TempPathFactory) -> RealClip:
    return real_clip(shared_media / "talk_woman_590p25.mp4", FRAMES, tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="module")
def words(shared_media: Path) -> NDArray[np.float32]:
    sound = np.concatenate(list(open_sound(shared_media / "speech_16k_mono.wav").chunks(16000)))
    return sound[2 * 16000 : 3 * 16000]


@pytest.fixture(scope="module")
def speech(words: NDArray[np.float32]) -> SpeechTrack:
    return always_active(words)


def sync_batch(clip: RealClip, *rows: int, first: int = 0) -> SyncBatch:
    faces = clip.batch(*rows)
    positions = np.arange(first, first + len(rows), dtype=np.int64)
    images = faces.frames.images[:, ::-1].copy()  # a reference that is not the frame itself
    return SyncBatch(positions, positions / 25.0, faces, ReferenceBatch(faces.landmarks, images))


def opened(
    clip: RealClip,
    speech: SpeechTrack,
    context: StageContext,
    weights: dict[str, Path] | None = None,
    config: Wav2LipConfig | None = None,
) -> FaceGenerationSession:
    runtime = Runtime(inference="torch", weights=weights or {}, pool=POOL)
    unused: Any = None
    opening = LipSyncClip(analysis=clip, references=unused, timeline=unused, speech=speech)
    return syncer.Wav2LipLipSyncer(config or Wav2LipConfig(), runtime).open(opening, context)


def stage_context(folder: Path) -> StageContext:
    return StageContext(Folder(folder), SilentObserver())


class FakeGenerator:
    """Returns the reference face, and records its inputs."""

    mel: NDArray[np.float32]
    faces: NDArray[np.float32]
    batches: list[int]

    def __init__(self, checkpoint: str, runtime: Runtime, batch: int) -> None:
        type(self).batches = []

    def __call__(self, mel: NDArray[np.float32], faces: NDArray[np.float32]) -> NDArray[np.float32]:
        type(self).mel, type(self).faces = mel, faces
        type(self).batches.append(len(faces))
        return np.ascontiguousarray(faces[:, 5:2:-1].transpose(0, 2, 3, 1))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeGenerator]:
    monkeypatch.setattr(syncer, "FaceGenerator", FakeGenerator)
    return FakeGenerator


def test_faces_are_generated_in_the_lower_half_of_their_boxes(
    clip: RealClip, speech: SpeechTrack, pseudo_weights: Callable[[str], Path], tmp_path: Path
) -> None:
    batch = sync_batch(clip, 0, 1)
    weights = {"wav2lip": pseudo_weights("wav2lip")}
    session = opened(clip, speech, stage_context(tmp_path), weights)
    results = session.sync(batch)
    for row, edit in enumerate(results):
        assert isinstance(edit, FaceEdit)
        assert edit.image.shape == (96, 96, 3) and edit.image.dtype == np.uint8
        assert edit.unrounded_image is not None and edit.unrounded_image.dtype == np.float32
        np.testing.assert_array_equal(edit.image, (edit.unrounded_image * np.float32(255)).astype(np.uint8))
        assert edit.unrounded_image.min() >= 0 and edit.unrounded_image.max() <= 1 and edit.unrounded_image.std() > 0.05
        left, top, right, bottom = batch.faces.boxes[row]
        chin = Wav2LipConfig().chin * (bottom - top)
        frame = batch.faces.frames.images[row].copy()
        composite(frame, edit)
        changed = np.argwhere((frame != batch.faces.frames.images[row]).any(-1))
        assert changed[:, 0].min() > top + 0.3 * (bottom - top)
        assert bottom + chin - 0.1 * (bottom - top) < changed[:, 0].max() <= bottom + chin + 1
        assert left - 1 <= changed[:, 1].min() < left + 0.1 * (right - left)
        assert right - 0.1 * (right - left) < changed[:, 1].max() <= right + 1
    session.close()
    alone = opened(clip, speech, stage_context(tmp_path / "alone"), weights)
    edit, together = alone.sync(sync_batch(clip, 1, first=1))[0], results[1]
    assert isinstance(edit, FaceEdit) and isinstance(together, FaceEdit)
    np.testing.assert_array_equal(edit.unrounded_image, together.unrounded_image)  # type: ignore[arg-type]


def test_network_faces_match_the_published_script() -> None:
    generator = np.random.default_rng(0)
    frame, reference = generator.integers(0, 256, (2, 200, 240, 3), np.uint8)
    left, top, right, bottom = 31, 17, 160, 180
    found = network_faces(frame, reference, np.array([left, top, right, bottom], np.float32))
    faces = [cv2.resize(image[top:bottom, left:right, ::-1], (96, 96)) for image in (frame, reference)]
    faces[0][48:] = 0
    expected = np.concatenate(faces, axis=2).transpose(2, 0, 1) / 255.0
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_lower_half_matches_the_published_paste(
    clip: RealClip, speech: SpeechTrack, tmp_path: Path, fake: type[FakeGenerator]
) -> None:
    batch = sync_batch(clip, 2)
    edit = opened(clip, speech, stage_context(tmp_path)).sync(batch)[0]
    assert isinstance(edit, FaceEdit)
    frame = batch.faces.frames.images[0].copy()
    composite(frame, edit)
    left, top, right, bottom = (float(edge) for edge in batch.faces.boxes[0])
    bottom += Wav2LipConfig().chin * (bottom - top)
    left, top, right, bottom = (int(np.floor(edge + 0.5)) for edge in (left, top, right, bottom))
    published = cv2.resize(edit.image, (right - left, bottom - top))
    height, width = bottom - top, right - left
    # The mask is 1 in these rows and columns of the 96 x 96 face.
    rows, columns = slice(height * 50 // 96, height * 88 // 96), slice(width * 8 // 96, width * 88 // 96)
    ours = frame[top:bottom, left:right][rows, columns].astype(int)
    difference = np.abs(ours - published[rows, columns])
    assert difference.max() <= 2 and difference.mean() < 0.6
    above = slice(top + height * 37 // 96)
    np.testing.assert_array_equal(frame[above], batch.faces.frames.images[0, above])


def test_box_mean_matches_the_published_one_two_frames_later(shared_parity: Path) -> None:
    """The published mean is forward and in integers, and its last windows include smoothed boxes."""
    with np.load(shared_parity / "pure_geometry.npz") as arrays:
        boxes, published = arrays["boxes_in"].astype(np.float32), arrays["boxes_smooth"]
    smoother = TrackSmoother(order=0)
    shots = np.zeros(len(boxes), np.int32)
    ours = np.concatenate([smoother.push(boxes[:, None], shots), smoother.finish()])[:, 0]
    whole = len(boxes) - 4
    np.testing.assert_array_equal(np.floor(ours[2 : 2 + whole] + 1e-4).astype(int), published[:whole])


def test_box_mean_does_not_include_other_shots() -> None:
    generator = np.random.default_rng(0)
    boxes = np.array([[[100, 80, 300, 320]], [[500, 300, 560, 370]]], np.float32).repeat(6, axis=0)
    boxes += generator.integers(-5, 6, boxes.shape).astype(np.float32)
    smoother = TrackSmoother(order=0)
    mean = np.concatenate([smoother.push(boxes, np.repeat([0, 1], 6).astype(np.int32)), smoother.finish()])
    for shot in (slice(0, 6), slice(6, 12)):
        assert (mean[shot] >= boxes[shot].min(axis=0)).all() and (mean[shot] <= boxes[shot].max(axis=0)).all()


@pytest.mark.parametrize(("rate", "name"), [(25.0, "fps25"), (29.97, "fps2997"), (22.13, "fps2213")])
def test_windows_match_published_inference(shared_parity: Path, rate: float, name: str) -> None:
    with np.load(shared_parity.parent / "parity_training" / "windows.npz") as arrays:
        starts = arrays[f"inference_start_{name}"]
    found = window_starts(np.arange(len(starts)) / rate, int(starts[-1]) + 100)
    np.testing.assert_array_equal(found, starts)


def test_generator_receives_the_published_windows(
    clip: RealClip, words: NDArray[np.float32], speech: SpeechTrack, tmp_path: Path, fake: type[FakeGenerator]
) -> None:
    mel = mel_spectrogram(words)
    opened(clip, speech, stage_context(tmp_path)).sync(sync_batch(clip, 0, 1, 2, first=4))
    for window, start in zip(fake.mel, (12, 16, 19), strict=True):
        np.testing.assert_array_equal(window, mel[:, start : start + 16])
    # The last frames of the speech receive the last window. The published script ends the video before these frames.
    opened(clip, speech, stage_context(tmp_path)).sync(sync_batch(clip, 0, 1, 2, first=22))
    for window in fake.mel:
        np.testing.assert_array_equal(window, mel[:, -16:])


def test_speech_shorter_than_one_window_is_padded(
    clip: RealClip, words: NDArray[np.float32], tmp_path: Path, fake: type[FakeGenerator]
) -> None:
    short = words[:2000]
    results = opened(clip, always_active(short), stage_context(tmp_path)).sync(sync_batch(clip, 0, 1))
    assert all(isinstance(result, FaceEdit) for result in results)
    np.testing.assert_array_equal(fake.mel[0, :, :11], mel_spectrogram(short))
    assert (fake.mel[:, :, 14:] == -4).all()


def test_frames_without_a_face_are_passed_through(
    clip: RealClip, speech: SpeechTrack, tmp_path: Path, fake: type[FakeGenerator]
) -> None:
    batch = sync_batch(clip, 0, 1, 2)
    boxes = batch.faces.boxes.copy()
    boxes[0] = np.nan
    boxes[2] += 5000
    lost = replace(batch, faces=replace(batch.faces, boxes=boxes))
    results = opened(clip, speech, stage_context(tmp_path)).sync(lost)
    assert results[0] == PassedThrough("no face")
    assert isinstance(results[1], FaceEdit)
    assert results[2] == PassedThrough("face out of frame")
    assert fake.batches == [1]


def test_cancelled_run_keeps_the_generated_faces(
    clip: RealClip, speech: SpeechTrack, tmp_path: Path, fake: type[FakeGenerator], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = stage_context(tmp_path)
    session = opened(clip, speech, context, config=Wav2LipConfig(batch=1))
    generate = fake.__call__

    def cancel(self: FakeGenerator, mel: NDArray[np.float32], faces: NDArray[np.float32]) -> NDArray[np.float32]:
        context.cancellation.set()
        return generate(self, mel, faces)

    monkeypatch.setattr(fake, "__call__", cancel)
    with pytest.raises(RunCancelledError):
        session.sync(sync_batch(clip, 0, 1, 2))
    assert fake.batches == [1]
    again = opened(clip, speech, stage_context(tmp_path), config=Wav2LipConfig(batch=2))
    again.sync(sync_batch(clip, 0, 1, 2))
    assert fake.batches == [2], "only the second and the third frame were missing"


def test_checkpoint_is_an_option(
    clip: RealClip, speech: SpeechTrack, pseudo_weights: Callable[[str], Path], tmp_path: Path
) -> None:
    config = Wav2LipConfig(checkpoint="wav2lip_gan")
    assert (Wav2LipConfig().checkpoints(), config.checkpoints()) == (("wav2lip",), ("wav2lip_gan",))
    weights = {"wav2lip_gan": pseudo_weights("wav2lip")}
    session = opened(clip, speech, stage_context(tmp_path), weights, config)
    assert isinstance(session.sync(sync_batch(clip, 0))[0], FaceEdit)


def test_spec_declares_ports_checkpoints_and_licence() -> None:
    spec = discover().find(StageKind.LIP_SYNCER, "wav2lip").spec
    assert spec.needs == {"frames", "reference:image", "speech:mel", "speech:activity"}
    assert spec.gives == {"face:edit"}
    assert spec.optional_checkpoints == ("wav2lip", "wav2lip_gan")
    for name in spec.optional_checkpoints:
        checkpoint = discover().checkpoint(name)
        assert checkpoint.file == f"{name}.pth"
        assert checkpoint.commercial_use is False
        assert checkpoint.sha256 is not None and len(checkpoint.sha256) == 64
