"""Tests for the driver ``model``: decoding of network outputs, and the bundled weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from retalkit.errors import PluginError
from retalkit.speech.displayed_motion import displayed_motion
from retalkit.speech.readers import ArrayReader
from retalkit.speech.speech_track import SpeechTrack
from retalkit_renderers.speech_to_mouth.decoding import (
    CONTACT,
    Calibration,
    closure_evidence,
    decode,
    hold_peaks,
    labial_posterior,
    mouth_width,
)
from retalkit_renderers.speech_to_mouth.interface import ENCODER, WEIGHTS, ModelDriverConfig
from retalkit_renderers.speech_to_mouth.model import ModelDriver, speech_gate

from tests.core.speech.sounds import load
from tests.plugins.renderers.speeches import FIELDS, NAMES, always_active, make_driver, motion, with_activity

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
    driver = make_driver("model")
    for row in range(20, 80):
        network.raw[:, 5 + viseme] = 0.0
        network.raw[row, 5 + viseme] = 20.0
        shapes = driver.motion(always_active(SILENCE), np.arange(0.2, 1.8, 1.0 / rate))
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
    driver = ModelDriver(WEIGHTS["synthetic"])
    calibration = driver.calibration
    assert calibration.class_widths is not None
    expected = calibration.class_widths[9]
    wide, narrow = (0.2 + expected) / 2, (-0.2 + expected) / 2
    width = driver.motion(always_active(SILENCE), np.array([0.4, 1.6])).width
    sides = [calibration.factor(side) for side in ("spread", "rounding")]
    assert width == pytest.approx([wide * sides[0], narrow * sides[1]], abs=1e-3)


def test_width_follows_the_viseme_class(network: StubNetwork) -> None:
    network.raw[50:, 5 + 9] = 0.0
    network.raw[50:, 5 + 11] = 10.0
    width = ModelDriver(WEIGHTS["synthetic"]).motion(always_active(SILENCE), np.array([0.4, 1.6])).width
    assert abs(width[0]) < 0.1 and width[1] < -0.5


def test_width_is_smoothed() -> None:
    raw = np.zeros((60, 20), np.float32)
    raw[30:, 1] = 1.0
    width = mouth_width(raw, Calibration(class_widths=np.zeros(15, np.float32)))
    assert len(width) == 60
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


@pytest.mark.parametrize(("weights", "limit", "change"), [("synthetic", 2.5, 6.0), ("real", 13.0, 14.0)])
def test_look_ahead_matches_its_documentation(shared_media: Path, weights: str, limit: float, change: float) -> None:
    sound = np.resize(load(shared_media / NAMES[0]), round((change + 3.0) * 16000))
    driver = ModelDriver(WEIGHTS[weights])
    ahead = driver.look_ahead(always_active(sound))
    assert ahead < limit
    times = np.arange(0.0, change + 3.0, 0.04)
    before = driver.motion(always_active(sound, -24.0), times)
    sound[round(change * 16000) :] *= 0.1
    after = driver.motion(always_active(sound, -24.0), times)
    changed = np.concatenate([times[getattr(before, name) != getattr(after, name)] for name in FIELDS])
    assert change - ahead <= changed.min() < change


def test_contact_output_closes_the_lips() -> None:
    raw = np.zeros((60, 21), np.float32)
    raw[:, 0], raw[:, 4], raw[:, 5 + 9], raw[:, CONTACT] = 0.5, 10.0, 10.0, -10.0
    raw[30, CONTACT] = 10.0
    calibration = Calibration(contact_share=0.7, closure_threshold=0.5)
    assert closure_evidence(raw, calibration)[30] == pytest.approx(0.7, abs=0.01)
    rows = decode(raw, calibration)
    assert rows.closure[20] == pytest.approx(1.0) and rows.closure[:15].max() == 0.0
    assert rows.opening[20] == pytest.approx(0.0) and rows.opening[5] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("decibels", [-30.0, 10.0])
def test_level_of_the_recording_does_not_change_the_motion(shared_media: Path, decibels: float) -> None:
    sound = load(shared_media / NAMES[0])[: 5 * 16000]
    before = motion("model", with_activity(sound))
    after = motion("model", with_activity(sound * np.float32(10 ** (decibels / 20))))
    assert before.opening.max() > 0.3
    for name in FIELDS:
        assert getattr(after, name) == pytest.approx(getattr(before, name), abs=0.02)


def test_outputs_can_be_read() -> None:
    raw = ModelDriver().outputs(always_active(SILENCE), -2, 60)
    assert raw.shape[0] == 62 and raw.shape[1] >= CONTACT
    assert np.isnan(raw[:2]).all() and np.isfinite(raw[2:]).all()


def test_motion_does_not_depend_on_the_requested_times(shared_media: Path) -> None:
    speech = always_active(np.resize(load(shared_media / NAMES[0]), 15 * 16000))
    times = np.arange(0.0, 15.0, 0.04)
    whole = ModelDriver().motion(speech, times)
    driver = ModelDriver()
    for part in (slice(300, 340), slice(0, 7), slice(200, 375)):
        found = driver.motion(speech, times[part])
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(found, name), getattr(whole, name)[part])


def test_weights_are_selected_by_name() -> None:
    assert ModelDriverConfig().files()["weights"] == WEIGHTS["real"]
    assert ModelDriverConfig(weights="synthetic").files()["weights"] == WEIGHTS["synthetic"]
    assert all(path.is_file() for path in WEIGHTS.values())
    assert ModelDriverConfig().files()["encoder"] == ENCODER
    assert "encoder" not in ModelDriverConfig(weights="live").files()


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


def test_motion_continues_in_short_pauses_and_stops_in_long_ones() -> None:
    values = np.zeros(1000, np.float32)
    values[100:200] = values[260:360] = 1.0
    speech = SpeechTrack(ArrayReader(np.zeros(160000, np.float32)), ArrayReader(values))
    gate = speech_gate(speech, np.arange(0.0, 10.0, 0.02))
    assert gate[50:180].min() > 0.99
    assert gate[:4].max() < 0.01 and gate[230:].max() < 0.01
    assert np.abs(np.diff(gate)).max() < 0.1
    alone = [speech_gate(speech, np.array([time]))[0] for time in (0.51, 4.0, 4.333)]
    np.testing.assert_allclose(alone, speech_gate(speech, np.array([4.333, 0.51, 4.0]))[[1, 2, 0]], atol=1e-6)


def test_floor_and_gain_restore_the_range_of_the_opening() -> None:
    raw = np.zeros((60, 21), np.float32)
    raw[:, 0] = np.linspace(0.1, 0.8, 60)
    raw[:, 4], raw[:, 5 + 9], raw[:, CONTACT] = 10.0, 10.0, -10.0
    opening = decode(raw, Calibration(gains={"opening": 2.0}, opening_floor=0.3)).opening
    expected = 2.0 * np.maximum(raw[10:-10, 0] - 0.3, 0.0)
    np.testing.assert_allclose(opening, expected, atol=1e-5)
    assert opening.min() == 0.0


def test_motion_is_displayed_with_the_lead_of_the_driver(shared_media: Path) -> None:
    speech = with_activity(load(shared_media / NAMES[0]))
    driver = ModelDriver()
    times = np.arange(1.0, 4.0, 0.04)
    assert 0.0 < driver.lead <= 0.04
    shown, later = displayed_motion(driver, speech, times), driver.motion(speech, times + driver.lead)
    np.testing.assert_array_equal(shown.opening, later.opening)
    bands = make_driver("bands")
    np.testing.assert_array_equal(displayed_motion(bands, speech, times).opening, bands.motion(speech, times).opening)


@pytest.mark.parametrize(
    ("name", "decibels", "least"), [(NAMES[0], -40.0, 0.995), (NAMES[2], -30.0, 0.99), (NAMES[2], 10.0, 0.99)]
)
def test_quiet_16_bit_recording_gives_the_same_motion(
    shared_media: Path, name: str, decibels: float, least: float
) -> None:
    sound = load(shared_media / name)
    quantised = np.round(sound * 10 ** (decibels / 20) * 32767).clip(-32768, 32767).astype(np.float32) / 32768
    times = np.arange(0.0, len(sound) / 16000, 0.02)
    first, second = (ModelDriver().motion(with_activity(each), times) for each in (sound, quantised))
    for field in ("opening", "width"):
        assert np.corrcoef(getattr(first, field), getattr(second, field))[0, 1] > least


def test_closures_occur_within_speech_only() -> None:
    raw = np.zeros((80, 21), np.float32)
    raw[:, 5 + 9], raw[:, CONTACT] = 10.0, -10.0
    raw[:, 4] = -10.0
    raw[30:60, 4] = 10.0
    raw[[20, 45], CONTACT] = 10.0
    closure = decode(raw, Calibration(contact_share=1.0)).closure
    assert closure[35] == pytest.approx(1.0) and closure[10] < 0.01
