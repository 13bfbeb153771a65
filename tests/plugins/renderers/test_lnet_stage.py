"""The lip syncer ``lnet`` on frames of a real clip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from retalkit.imaging.compositing import composite
from retalkit.media.sound import open_sound
from retalkit.observer import SilentObserver
from retalkit.plugins.discovery import discover
from retalkit.speech.mel import SILENT_LEVEL
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
from retalkit_renderers.lnet import syncer
from retalkit_renderers.lnet.interface import LNetConfig

FRAMES = 4
POOL = ObjectPool()


@pytest.fixture(scope="module")
def clip(shared_media: Path, tmp_path_factory: pytest.TempPathFactory) -> RealClip:
    return real_clip(shared_media / "talk_woman_590p25.mp4", FRAMES, tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="module")
def speech(shared_media: Path) -> SpeechTrack:
    words = np.concatenate(list(open_sound(shared_media / "speech_16k_mono.wav").chunks(16000)))
    return always_active(words[2 * 16000 : 3 * 16000])


def sync_batch(clip: RealClip, *rows: int) -> SyncBatch:
    faces = clip.batch(*rows)
    positions = np.array(rows, np.int64)
    images = faces.frames.images[:, ::-1].copy()  # a reference that is not the frame itself
    return SyncBatch(positions, positions / 25.0, faces, ReferenceBatch(faces.landmarks, images))


def opened(
    clip: RealClip, speech: SpeechTrack, folder: Path, weights: Path = Path(), config: LNetConfig | None = None
) -> FaceGenerationSession:
    runtime = Runtime(inference="torch", weights={"lnet": weights}, pool=POOL)
    unused: Any = None
    opening = LipSyncClip(analysis=clip, references=unused, timeline=unused, speech=speech)
    return syncer.LNetLipSyncer(config or LNetConfig(), runtime).open(
        opening, StageContext(Folder(folder), SilentObserver())
    )


class FakeGenerator:
    """Returns the reference face, and records its inputs."""

    mel: NDArray[np.float32]
    faces: NDArray[np.float32]
    batches: list[int]

    def __init__(self, runtime: Runtime, batch: int) -> None:
        type(self).batches = []

    def __call__(self, mel: NDArray[np.float32], faces: NDArray[np.float32]) -> NDArray[np.float32]:
        type(self).mel, type(self).faces = mel, faces
        type(self).batches.append(len(faces))
        return np.ascontiguousarray(faces[:, 5:2:-1].transpose(0, 2, 3, 1))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeGenerator]:
    monkeypatch.setattr(syncer, "FaceGenerator", FakeGenerator)
    return FakeGenerator


def test_faces_are_generated_in_their_boxes(
    clip: RealClip, speech: SpeechTrack, pseudo_weights: Callable[[str], Path], tmp_path: Path
) -> None:
    batch = sync_batch(clip, 0, 1)
    session = opened(clip, speech, tmp_path, pseudo_weights("lnet"))
    results = session.sync(batch)
    for row, edit in enumerate(results):
        assert isinstance(edit, FaceEdit)
        assert edit.image.shape == (96, 96, 3) and edit.image.dtype == np.uint8
        assert edit.unrounded_image is not None and edit.unrounded_image.dtype == np.float32
        np.testing.assert_array_equal(edit.image, (edit.unrounded_image * np.float32(255)).astype(np.uint8))
        assert edit.unrounded_image.min() >= 0 and edit.unrounded_image.max() <= 1 and edit.unrounded_image.std() > 0.05
        left, top, right, bottom = batch.faces.boxes[row]
        chin = LNetConfig().chin * (bottom - top)
        corners = np.array([[left, top, 1], [right - 1, bottom + chin - 1, 1]], np.float64)
        at = corners @ edit.matrix.T.astype(np.float64)
        # Centres of the first and last pixel of frame and face agree within one pixel.
        scale = 96 / (right - left)
        assert np.abs(at - [[scale / 2 - 0.5] * 2, [95.5 - scale / 2] * 2]).max() < 1.0
        frame = batch.faces.frames.images[row].copy()
        composite(frame, edit)
        changed = np.argwhere((frame != batch.faces.frames.images[row]).any(-1))
        assert changed[:, 0].min() > top + 0.3 * (bottom - top)
        assert changed[:, 0].max() <= bottom + chin + 1
        assert changed[:, 1].min() >= left - 1 and changed[:, 1].max() <= right + 1
    session.close()
    alone = opened(clip, speech, tmp_path / "alone", pseudo_weights("lnet"))
    edit, drawn = alone.sync(sync_batch(clip, 1))[0], results[1]
    assert isinstance(edit, FaceEdit) and isinstance(drawn, FaceEdit)
    np.testing.assert_array_equal(edit.unrounded_image, drawn.unrounded_image)  # type: ignore[arg-type]


def test_network_input_is_the_masked_frame_and_the_reference(
    clip: RealClip, speech: SpeechTrack, tmp_path: Path, fake: type[FakeGenerator]
) -> None:
    batch = sync_batch(clip, 2)
    edit = opened(clip, speech, tmp_path).sync(batch)[0]
    assert isinstance(edit, FaceEdit) and batch.references.images is not None
    assert not fake.faces[0, :3, 48:].any() and fake.faces[0, :3, :48].any()
    # The fake returns the reference: where the mask is 1, the frame then shows it, with the right channel order.
    frame = batch.faces.frames.images[0].copy()
    composite(frame, edit)
    left, top, right, bottom = (int(edge) for edge in batch.faces.boxes[0])
    middle = (slice((2 * top + 3 * bottom) // 5, (top + 9 * bottom) // 10), slice(left + 30, right - 30))
    apart = np.abs(frame[middle].astype(int) - batch.references.images[0][middle])
    assert apart.mean() < 6
    assert np.abs(frame[middle].astype(int) - batch.faces.frames.images[0][middle]).mean() > 12


def test_frames_without_a_face_are_passed_through(
    clip: RealClip, speech: SpeechTrack, tmp_path: Path, fake: type[FakeGenerator]
) -> None:
    batch = sync_batch(clip, 0, 1, 2)
    boxes = batch.faces.boxes.copy()
    boxes[0] = np.nan
    boxes[2] += 5000
    lost = replace(batch, faces=replace(batch.faces, boxes=boxes))
    results = opened(clip, speech, tmp_path).sync(lost)
    assert results[0] == PassedThrough("no face")
    assert isinstance(results[1], FaceEdit)
    assert results[2] == PassedThrough("face out of frame")
    assert fake.batches == [1]


def test_stored_faces_are_not_generated_again(
    clip: RealClip, speech: SpeechTrack, tmp_path: Path, fake: type[FakeGenerator]
) -> None:
    first = opened(clip, speech, tmp_path, config=LNetConfig(batch=2))
    cut = first.sync(sync_batch(clip, 0, 1, 2))
    assert fake.batches == [2, 1]
    first.close()
    again = opened(clip, speech, tmp_path, config=LNetConfig(batch=2))
    results = again.sync(sync_batch(clip, 0, 1, 2, 3))
    assert fake.batches == [1], "only the fourth frame was missing"
    for one, other in zip(cut, results, strict=False):
        assert isinstance(one, FaceEdit) and isinstance(other, FaceEdit)
        np.testing.assert_array_equal(one.unrounded_image, other.unrounded_image)  # type: ignore[arg-type]
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.matrix, other.matrix)


def test_the_gate_is_an_option(clip: RealClip, speech: SpeechTrack, tmp_path: Path, fake: type[FakeGenerator]) -> None:
    class Silent:
        duration = speech.duration
        mel_windows = staticmethod(speech.mel_windows)

        @staticmethod
        def activity(times: NDArray[np.float64]) -> NDArray[np.float32]:
            return np.zeros(len(times), np.float32)

    silent: Any = Silent()
    opened(clip, silent, tmp_path / "gated").sync(sync_batch(clip, 0, 1))
    assert (fake.mel == SILENT_LEVEL).all()
    opened(clip, silent, tmp_path / "open", config=LNetConfig(gate=False)).sync(sync_batch(clip, 0, 1))
    np.testing.assert_array_equal(fake.mel, speech.mel_windows(np.array([0.0, 0.04])))


def test_spec_declares_ports_and_checkpoint() -> None:
    found = discover().find(StageKind.LIP_SYNCER, "lnet")
    assert found.spec.needs == {"frames", "reference:image", "speech:mel", "speech:activity"}
    assert found.spec.checkpoints == ("lnet",)
    assert discover().checkpoint("lnet").file == "LNet.pth"
