"""Tests for the lip syncer ``loudness``: stage contract, response to loudness, and edited pixels."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.stages import SPEECH_RATE, FaceEdit, PassedThrough
from retalkit.testing import ContractCheck, parametrize_with_checks
from retalkit_loudness.loudness import RATE, opening_at, opening_from_loudness, smooth
from retalkit_loudness.plugin import LoudnessLipSyncerConfig, retalkit_stages
from retalkit_loudness.rendering import render_mouth
from retalkit_loudness.warp import LipMove, MouthAxes, edge_index

Float = NDArray[np.float32]
SIZE, EYES = 300, 100.0
MOUTH = 180
"""Pixel coordinate y of the test face's mouth corners."""


class Sound:
    """Speech stub with four one-second segments.

    The segments contain silence, a loud tone, a quiet tone, and a loud tone without voice activity.
    """

    duration = 4.0

    def __init__(self, gain: float = 1.0) -> None:
        times = np.arange(4 * SPEECH_RATE) / SPEECH_RATE
        level = np.select([times < 1, times < 2, times < 3], [0.0, 0.4, 0.04], 0.4)
        self._samples = (gain * level * np.sin(2 * np.pi * 150 * times)).astype(np.float32)

    def waveform(self, start: float, stop: float) -> Float:
        first, count = round(start * SPEECH_RATE), round((stop - start) * SPEECH_RATE)
        padded = np.concatenate([np.zeros(SPEECH_RATE, np.float32), self._samples, np.zeros(SPEECH_RATE, np.float32)])
        return padded[first + SPEECH_RATE : first + SPEECH_RATE + count]

    def mel_windows(self, times: NDArray[np.float64]) -> Float:
        raise NotImplementedError

    def activity(self, times: NDArray[np.float64]) -> Float:
        return ((times >= 1) & (times < 3)).astype(np.float32)


def face(gap: float = 0.0) -> Float:
    """Return face landmarks, float32 [478, 3] in pixels, with a lip gap of ``gap`` eye distances."""
    points = np.full((mesh478.COUNT, 3), (SIZE / 2, MOUTH, 0), np.float32)
    across = np.linspace(-30, 30, len(mesh478.UPPER_INNER_EDGE))
    bow = gap * EYES / 2 * (1 - (across / 30) ** 2)
    for edge, side in ((mesh478.UPPER_INNER_EDGE, -1), (mesh478.LOWER_INNER_EDGE, 1)):
        points[list(edge), :2] = np.stack([SIZE / 2 + across, MOUTH + side * bow], 1)
    points[mesh478.NOSE_BASE, 1] = MOUTH - 30
    points[mesh478.CHIN, 1] = MOUTH + 50
    return points


def edited_pixels(edit: object) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Return the edited pixels: frame coordinates (row, column), int [N, 2], and new RGB values, uint8 [N, 3]."""
    assert isinstance(edit, FaceEdit)
    left, top = (int(shift) for shift in -edit.matrix[:, 2])
    at = np.argwhere(edit.mask > 0.5)
    return at + [top, left], edit.image[at[:, 0], at[:, 1]]


@parametrize_with_checks(retalkit_stages())
def test_contract(check: ContractCheck) -> None:
    check()


def test_opening_follows_the_loudness_of_speech_only() -> None:
    openings = opening_from_loudness(Sound(), LoudnessLipSyncerConfig())
    sampled = opening_at(openings, np.array([-1.0, 0.5, 1.5, 2.8, 3.8, 9.0]))
    # The quiet tone is 20 dB below the loudest level, and the range is 30 dB, so the opening is 1/3.
    np.testing.assert_allclose(sampled, [0, 0, 1, 1 / 3, 0, 0], atol=0.01)
    np.testing.assert_allclose(opening_from_loudness(Sound(0.1), LoudnessLipSyncerConfig()), openings, atol=1e-3)


def test_attack_is_faster_than_release() -> None:
    step = np.zeros(2 * RATE)
    step[:RATE] = 1
    followed = smooth(step, attack=0.05, release=0.1)
    assert followed[4] == pytest.approx(1 - np.exp(-1), abs=0.01)
    assert followed[RATE + 9] == pytest.approx(np.exp(-1), abs=0.01)


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.2), (0.0, 0.35), (0.2, 0.05), (0.3, 0.0)])
def test_lips_reach_the_gap_and_the_warp_does_not_fold(before: float, after: float) -> None:
    points = face(before)
    axes = MouthAxes.from_landmarks(points, EYES)
    move = LipMove.to_gap(points, axes, after)
    assert move.gap_after == pytest.approx(after, abs=0.005)
    v = np.linspace(move.nose - 0.2, move.chin + 0.8, 2000, dtype=np.float32)
    for across in (0.0, 0.3, -0.5, 0.7):
        u = np.full_like(v, across)
        source = v - move.displacement(u, v, edge_index(u))
        middle = edge_index(u)[0]
        outside = (v < move.new_upper[middle]) | (v > move.new_lower[middle])
        assert (np.diff(source[outside]) > -1e-6).all()
        assert source[0] == v[0]
        assert source[-1] == v[-1]


def test_only_the_gap_between_opened_lips_changes_colour() -> None:
    image = np.full((SIZE, SIZE, 3), (180, 140, 120), np.uint8)
    at, colours = edited_pixels(render_mouth(image, face(), EYES, 0.2))
    other = at[(np.abs(colours.astype(int) - (180, 140, 120)) > 20).any(axis=1)]
    # The gap is 20 pixels high at the mouth centre. The upper lip moves up slightly.
    assert len(other) > 300
    assert other[:, 0].min() >= MOUTH - 6
    assert other[:, 0].max() <= MOUTH + 20
    assert np.abs(other[:, 1] - SIZE / 2).max() <= 30
    assert at[:, 0].min() > MOUTH - 30


def test_mouth_with_the_right_gap_keeps_its_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    at, colours = edited_pixels(render_mouth(image, face(0.2), EYES, 0.2))
    assert np.abs(colours.astype(int) - image[at[:, 0], at[:, 1]]).mean() < 1


def test_mouth_that_cannot_be_rendered_passes_through() -> None:
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    assert render_mouth(image, face() + 5000, EYES, 0.2) == PassedThrough("mouth outside the image")
    flat = face() * np.array([0.05, 1, 1], np.float32)
    assert render_mouth(image, flat, EYES, 0.2) == PassedThrough("mouth too narrow")
