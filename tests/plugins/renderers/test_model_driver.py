"""The trained driver: how outputs become motion, and what the shipped weights do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from retalkit.errors import PluginError
from retalkit_renderers.speech_to_mouth.model import ModelDriver, held, labial_posterior, mouth_width
from retalkit_renderers.speech_to_mouth.network import load_network
from retalkit_renderers.speech_to_mouth.stretches import NetworkReader

from tests.core.speech.sounds import load
from tests.plugins.renderers.speeches import FIELDS, NAMES, analysed, motion, taken_for_speech

ROWS = 100
SILENCE = np.zeros(2 * 16000, np.float32)


class Said:
    """Stands for the network's outputs of two seconds: half open and silent but for what is put in."""

    def __init__(self, *_arguments: object) -> None:
        self.raw = np.zeros((ROWS, 20), np.float32)
        self.raw[:, 0] = 0.5
        self.raw[:, 4] = 10.0
        self.raw[:, 5 + 9] = 10.0

    def read(self, start: int, stop: int) -> np.ndarray:
        rows = np.full((stop - start, 20), np.nan, np.float32)
        first, last = max(start, 0), min(stop, ROWS)
        rows[first - start : last - start] = self.raw[first:last]
        return rows


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    """What the driver will hear, whatever the speech."""
    reader = Said()
    monkeypatch.setattr("retalkit_renderers.speech_to_mouth.model.NetworkReader", lambda *_arguments: reader)
    return reader


@pytest.mark.parametrize("viseme", [1, 2])
@pytest.mark.parametrize("rate", [22.13, 25.0, 29.97])
def test_a_closure_of_one_row_closes_a_frame(said: Said, viseme: int, rate: float) -> None:
    for row in range(20, 80):
        said.raw[:, 5 + viseme] = 0.0
        said.raw[row, 5 + viseme] = 20.0
        shapes = motion("model", taken_for_speech(SILENCE), np.arange(0.2, 1.8, 1.0 / rate))
        assert shapes.closure.max() > 0.8
        assert shapes.opening[shapes.closure.argmax()] < 0.1
        assert shapes.opening.max() > 0.4


def test_lips_meet_and_part_gradually(said: Said) -> None:
    said.raw[50, 5 + 1] = 20.0
    times = (2.0 * np.arange(40, 61) + 1.0) / 100.0
    opening = motion("model", taken_for_speech(SILENCE), times).opening
    assert opening[10] == 0.0
    assert opening[:11].tolist() == sorted(opening[:11], reverse=True)
    assert opening[10:].tolist() == sorted(opening[10:])
    assert np.abs(np.diff(opening)).max() < 0.5 * opening.max()


def test_width_is_scaled_on_both_sides(said: Said, tmp_path: Path) -> None:
    said.raw[:50, 1], said.raw[50:, 1] = 0.2, -0.2
    driver = ModelDriver()
    expected = driver.class_widths[9]
    wide, narrow = (0.2 + expected) / 2, (-0.2 + expected) / 2
    shapes = motion("model", taken_for_speech(SILENCE), np.array([0.4, 1.6]))
    sides = [driver.gains[side] / driver.scales[side] for side in ("spread", "rounding")]
    assert shapes.width == pytest.approx([wide * sides[0], narrow * sides[1]], abs=1e-3)


def test_width_follows_the_viseme_class_where_the_regression_says_nothing(said: Said) -> None:
    said.raw[50:, 5 + 9] = 0.0
    said.raw[50:, 5 + 11] = 10.0
    width = motion("model", taken_for_speech(SILENCE), np.array([0.4, 1.6])).width
    assert abs(width[0]) < 0.1 and width[1] < -0.5


def test_width_moves_no_faster_than_mouth_corners() -> None:
    raw = np.zeros((60, 20), np.float32)
    raw[30:, 1] = 1.0
    width = mouth_width(raw, np.zeros(15, np.float32))
    assert len(width) == 48
    assert width[0] == pytest.approx(0.0) and width[-1] == pytest.approx(0.5)
    assert 0 < np.diff(width).max() < 0.08


def test_where_the_network_hears_nobody_the_mouth_rests(said: Said) -> None:
    said.raw[:, 4] = -10.0
    shapes = motion("model", taken_for_speech(SILENCE))
    assert shapes.opening.max() == 0.0


def test_peaks_of_the_posterior_are_held_and_low_ones_are_not() -> None:
    posterior = np.zeros(20, np.float32)
    posterior[5], posterior[15] = 0.99, 0.24
    closure = held(posterior, 0.5)
    assert closure[4:7] == pytest.approx(1.0) and closure[[3, 7]] == pytest.approx(0.0)
    assert not closure[10:].any()
    assert held(np.full(3, 0.5, np.float32), 0.5)[1] == pytest.approx(1.0)
    assert held(np.full(3, 0.375, np.float32), 0.5)[1] == pytest.approx(0.5)


def test_the_posterior_is_that_of_lip_consonants() -> None:
    raw = np.zeros((1, 20), np.float32)
    assert labial_posterior(raw) == pytest.approx(2.0 / 15.0)
    raw[0, 5] = 30.0
    assert labial_posterior(raw) == pytest.approx(0.0, abs=1e-6)


def test_the_look_ahead_is_what_it_says(shared_media: Path) -> None:
    sound = load(shared_media / NAMES[0])[: 9 * 16000].copy()
    ahead = NetworkReader(load_network(ModelDriver().weights), taken_for_speech(sound)).ahead + 0.1
    assert ahead < 2.5
    before = motion("model", taken_for_speech(sound))
    sound[6 * 16000 :] *= 0.1
    after = motion("model", taken_for_speech(sound))
    times = np.arange(0.0, 9.0, 0.04)
    changed = np.concatenate([times[getattr(before, name) != getattr(after, name)] for name in FIELDS])
    assert 6.0 - ahead <= changed.min() < 6.0


def test_weights_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no weights")
    with pytest.raises(PluginError, match=r"broken\.safetensors.*driver\.use=bands"):
        ModelDriver(broken)


def test_real_speech_closes_the_lips_now_and_then(shared_media: Path) -> None:
    for name in NAMES:
        shapes = motion("model", analysed(load(shared_media / name)))
        speaking = shapes.speech > 0.5
        assert 0.03 < (shapes.closure[speaking] > 0.5).mean() < 0.3
        assert shapes.opening[shapes.closure > 0.9].max() < 0.1
        assert np.percentile(shapes.width[speaking], 95) > 0.15 > -0.1 > np.percentile(shapes.width[speaking], 5)
