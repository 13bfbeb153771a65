"""The driver ``model``: conversion of network outputs to motion, and the included weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from retalkit.errors import PluginError
from retalkit_renderers.speech_to_mouth.chunked_inference import ChunkedInference
from retalkit_renderers.speech_to_mouth.model import ModelDriver, hold_peaks, labial_posterior, mouth_width
from retalkit_renderers.speech_to_mouth.network import load_network

from tests.core.speech.sounds import load
from tests.plugins.renderers.speeches import FIELDS, NAMES, always_active, motion, with_activity

ROWS = 100
SILENCE = np.zeros(2 * 16000, np.float32)


class StubNetwork:
    """Constant network outputs for two seconds of speech with half open lips; tests change single rows."""

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
def network(monkeypatch: pytest.MonkeyPatch) -> StubNetwork:
    """Replaces the network of the driver, for any speech."""
    reader = StubNetwork()
    monkeypatch.setattr("retalkit_renderers.speech_to_mouth.model.ChunkedInference", lambda *_arguments: reader)
    return reader


@pytest.mark.parametrize("viseme", [1, 2])
@pytest.mark.parametrize("rate", [22.13, 25.0, 29.97])
def test_closure_of_one_row_closes_a_frame(network: StubNetwork, viseme: int, rate: float) -> None:
    for row in range(20, 80):
        network.raw[:, 5 + viseme] = 0.0
        network.raw[row, 5 + viseme] = 20.0
        shapes = motion("model", always_active(SILENCE), np.arange(0.2, 1.8, 1.0 / rate))
        assert shapes.closure.max() > 0.8
        assert shapes.opening[shapes.closure.argmax()] < 0.1
        assert shapes.opening.max() > 0.4


def test_lips_close_and_open_gradually(network: StubNetwork) -> None:
    network.raw[50, 5 + 1] = 20.0
    times = (2.0 * np.arange(40, 61) + 1.0) / 100.0
    opening = motion("model", always_active(SILENCE), times).opening
    assert opening[10] == 0.0
    assert opening[:11].tolist() == sorted(opening[:11], reverse=True)
    assert opening[10:].tolist() == sorted(opening[10:])
    assert np.abs(np.diff(opening)).max() < 0.5 * opening.max()


def test_spread_and_rounding_are_scaled_separately(network: StubNetwork, tmp_path: Path) -> None:
    network.raw[:50, 1], network.raw[50:, 1] = 0.2, -0.2
    driver = ModelDriver()
    expected = driver.class_widths[9]
    wide, narrow = (0.2 + expected) / 2, (-0.2 + expected) / 2
    shapes = motion("model", always_active(SILENCE), np.array([0.4, 1.6]))
    sides = [driver.gains[side] / driver.scales[side] for side in ("spread", "rounding")]
    assert shapes.width == pytest.approx([wide * sides[0], narrow * sides[1]], abs=1e-3)


def test_width_follows_the_viseme_class(network: StubNetwork) -> None:
    network.raw[50:, 5 + 9] = 0.0
    network.raw[50:, 5 + 11] = 10.0
    width = motion("model", always_active(SILENCE), np.array([0.4, 1.6])).width
    assert abs(width[0]) < 0.1 and width[1] < -0.5


def test_width_is_smoothed() -> None:
    raw = np.zeros((60, 20), np.float32)
    raw[30:, 1] = 1.0
    width = mouth_width(raw, np.zeros(15, np.float32))
    assert len(width) == 48
    assert width[0] == pytest.approx(0.0) and width[-1] == pytest.approx(0.5)
    assert 0 < np.diff(width).max() < 0.08


def test_mouth_rests_where_the_network_detects_no_speech(network: StubNetwork) -> None:
    network.raw[:, 4] = -10.0
    shapes = motion("model", always_active(SILENCE))
    assert shapes.opening.max() == 0.0


def test_high_peaks_of_the_posterior_are_extended() -> None:
    posterior = np.zeros(20, np.float32)
    posterior[5], posterior[15] = 0.99, 0.24
    closure = hold_peaks(posterior, 0.5)
    assert closure[4:7] == pytest.approx(1.0) and closure[[3, 7]] == pytest.approx(0.0)
    assert not closure[10:].any()
    assert hold_peaks(np.full(3, 0.5, np.float32), 0.5)[1] == pytest.approx(1.0)
    assert hold_peaks(np.full(3, 0.375, np.float32), 0.5)[1] == pytest.approx(0.5)


def test_labial_posterior_sums_the_labial_classes() -> None:
    raw = np.zeros((1, 20), np.float32)
    assert labial_posterior(raw) == pytest.approx(2.0 / 15.0)
    raw[0, 5] = 30.0
    assert labial_posterior(raw) == pytest.approx(0.0, abs=1e-6)


def test_look_ahead_matches_its_documentation(shared_media: Path) -> None:
    sound = load(shared_media / NAMES[0])[: 9 * 16000].copy()
    ahead = ChunkedInference(load_network(ModelDriver().weights), always_active(sound)).ahead + 0.1
    assert ahead < 2.5
    before = motion("model", always_active(sound))
    sound[6 * 16000 :] *= 0.1
    after = motion("model", always_active(sound))
    times = np.arange(0.0, 9.0, 0.04)
    changed = np.concatenate([times[getattr(before, name) != getattr(after, name)] for name in FIELDS])
    assert 6.0 - ahead <= changed.min() < 6.0


def test_unreadable_weights_are_reported(tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no weights")
    with pytest.raises(PluginError, match=r"broken\.safetensors.*driver\.use=bands") as error:
        ModelDriver(broken)
    assert error.value.code == "unreadable-file"


def test_real_speech_closes_the_lips_sometimes(shared_media: Path) -> None:
    for name in NAMES:
        shapes = motion("model", with_activity(load(shared_media / name)))
        speaking = shapes.speech > 0.5
        assert 0.03 < (shapes.closure[speaking] > 0.5).mean() < 0.3
        assert shapes.opening[shapes.closure > 0.9].max() < 0.1
        assert np.percentile(shapes.width[speaking], 95) > 0.15 > -0.1 > np.percentile(shapes.width[speaking], 5)
