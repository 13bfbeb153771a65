"""The face region of L-Net, and its mel windows."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from retalkit.media.sound import open_sound
from retalkit.speech.mel import SILENT_LEVEL

from tests.plugins.renderers.speeches import always_active, with_activity

torch = pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit_renderers.lnet.face_region import network_faces
from retalkit_renderers.lnet.interface import LNetConfig
from retalkit_renderers.lower_face import face_box, lower_half
from retalkit_renderers.mel_gate import gated_windows


def test_chin_extension_is_20_pixels_for_a_face_of_250() -> None:
    box = face_box(np.array([100.2, 49.8, 300.4, 299.8], np.float32), LNetConfig().chin, 1280, 720)
    np.testing.assert_array_equal(box, [100, 50, 300, 320])
    small = face_box(np.array([100, 50, 180, 150], np.float32), LNetConfig().chin, 1280, 720)
    np.testing.assert_array_equal(small, [100, 50, 180, 158])


def test_box_is_clipped_to_the_frame_and_none_outside() -> None:
    np.testing.assert_array_equal(face_box(np.array([-20, -10, 60, 90], np.float32), 0.5, 64, 80), [0, 0, 60, 80])
    for outside in ([-50, 0, -1, 40], [64, 0, 90, 40], [0, 90, 30, 120]):
        assert face_box(np.array(outside, np.float32), 0.08, 64, 80) is None
    assert face_box(np.full(4, np.nan, np.float32), 0.08, 64, 80) is None


def test_input_faces_match_the_published_script() -> None:
    generator = np.random.default_rng(0)
    frame, reference = generator.integers(0, 256, (2, 200, 240, 3), np.uint8)
    left, top, right, bottom = 31, 17, 160, 180
    found = network_faces(frame, reference, np.array([left, top, right, bottom], np.float32))
    crops = [cv2.resize(image[top:bottom, left:right, ::-1], (384, 384)) for image in (frame, reference)]
    crops[0][192:] = 0
    planes = torch.from_numpy(np.concatenate(crops, axis=2) / 255.0).float().permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(planes, size=(96, 96), mode="bilinear")[0]
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-6)
    assert not found[:3, 48:].any()
    assert found[3:, 48:].any()


def test_mask_covers_the_lower_half_with_soft_edges() -> None:
    mask = lower_half(96)
    assert mask.shape == (96, 96)
    assert mask.dtype == np.float32
    assert mask[48:88, 8:88].min() == 1
    assert mask[:37].max() == 0
    for border in (mask[-1], mask[:, 0], mask[:, -1]):
        assert border.max() < 0.05
    assert np.abs(np.diff(mask, axis=0)).max() < 0.3
    assert np.abs(np.diff(mask, axis=1)).max() < 0.3


def test_gate_replaces_steps_without_speech_by_silence(shared_media: Path) -> None:
    words = np.concatenate(list(open_sound(shared_media / "speech_16k_mono.wav").chunks(16000)))[16000 : 3 * 16000]
    hiss = np.random.default_rng(0).standard_normal(3 * 16000).astype(np.float32) * 0.004
    sound = hiss.copy()
    sound[16000:] += words
    speech = with_activity(sound)
    times = np.arange(0.0, speech.duration, 0.04)
    gated, ungated = gated_windows(speech, times, gate=True), gated_windows(speech, times, gate=False)
    np.testing.assert_array_equal(ungated, speech.mel_windows(times))
    early = times < 0.4
    assert (gated[early] == SILENT_LEVEL).all()
    assert ungated[early].mean() > SILENT_LEVEL + 0.5
    quiet = (gated == SILENT_LEVEL).all(axis=1)
    # Other steps are unchanged; a window that ends in a word contains its beginning.
    np.testing.assert_array_equal(gated.transpose(0, 2, 1)[~quiet], ungated.transpose(0, 2, 1)[~quiet])
    assert (quiet.any(axis=1) & ~quiet.all(axis=1)).any()
    assert (~quiet).all(axis=1).any()
    np.testing.assert_array_equal(gated_windows(always_active(sound), times, gate=True), ungated)


def test_gate_uses_the_shifted_windows_at_the_end() -> None:
    """Windows at the end are shifted back; the gate must use the same times."""
    sound = (np.random.default_rng(0).standard_normal(16000) * 0.1).astype(np.float32)
    speech = always_active(sound)
    times = np.array([0.9, 0.96, 0.99])
    np.testing.assert_array_equal(gated_windows(speech, times, gate=True), gated_windows(speech, times, gate=False))


def test_windows_do_not_depend_on_the_other_times(shared_media: Path) -> None:
    words = np.concatenate(list(open_sound(shared_media / "speech_16k_mono.wav").chunks(16000)))[: 2 * 16000]
    speech = with_activity(words)
    times = np.array([-0.5, 0.0, 0.31, 1.2, 1.99, 2.5])
    together = gated_windows(speech, times, gate=True)
    for row, time in enumerate(times):
        np.testing.assert_array_equal(gated_windows(speech, np.array([time]), gate=True)[0], together[row])
    assert (together[[0, -1]] == SILENT_LEVEL).all()
    assert gated_windows(speech, times[:0], gate=True).shape == (0, 80, 16)
