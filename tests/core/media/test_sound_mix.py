"""Mix of speeches and background sounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from media_clips import make_wave
from retalkit.media.sound import open_sound
from retalkit.media.sound_mix import FADE, MUTE, Background, Placement, SoundMix

RATE = 48000


def tone(seconds: float, rate: int, frequency: float = 220.0, level: float = 0.25) -> np.ndarray:
    return level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def mixed(mix: SoundMix) -> np.ndarray:
    blocks = list(mix.native_chunks(mix.rate))
    assert all(block.dtype == np.float32 for block in blocks)
    return np.concatenate(blocks)


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """Return 5 s of stereo music at 48 kHz."""
    left = tone(5, RATE) + 0.1 * np.random.default_rng(1).standard_normal(5 * RATE)
    return make_wave(tmp_path / "original.wav", np.stack([left, tone(5, RATE, 330)], axis=1), RATE)


def test_original_is_sample_identical_outside_cues(tmp_path: Path, original: Path) -> None:
    speech = open_sound(make_wave(tmp_path / "speech.wav", tone(3, 16000, 500), 16000))
    sound = open_sound(original)
    spans = ((1.0, 2.0), (3.25, 3.5))
    placements = [
        Placement(source=speech, start=1.0, offset=0.5, duration=1.0, gain=6.0),
        Placement(source=speech, start=3.25, offset=2.0, duration=0.25),
    ]
    mix = SoundMix(placements, [Background(source=sound, ducking=MUTE, spans=spans)], duration=4.5)
    assert (mix.rate, mix.layout, mix.samples) == (RATE, "stereo", 216000)
    got, decoded = mixed(mix), np.concatenate(list(sound.native_chunks(RATE)))[: mix.samples]
    outside = np.ones(mix.samples, dtype=bool)
    for start, end in spans:
        outside[round(start * RATE) : round(end * RATE)] = False
    assert np.array_equal(got[outside], decoded[outside])
    # Inside a cue, the amplified speech from its offset replaces the original on both channels.
    middle = slice(round((1 + 2 * FADE) * RATE), round((2 - 2 * FADE) * RATE))
    expected = tone(3, RATE, 500)[RATE // 2 : RATE // 2 + RATE][2 * round(FADE * RATE) : -2 * round(FADE * RATE)]
    assert np.abs(got[middle] - 10 ** (6 / 20) * expected[:, None]).max() < 2e-3


def test_cue_edges_have_no_pop(tmp_path: Path) -> None:
    # Both sounds are at their peak at the cue's edges, which is the worst case for a hard cut.
    background = open_sound(make_wave(tmp_path / "bed.wav", np.full(3 * RATE, 0.4), RATE))
    speech = open_sound(make_wave(tmp_path / "speech.wav", np.full(RATE, -0.4), RATE))
    placement = Placement(source=speech, start=1.0)
    spans = ((1.0, 2.0),)
    steps = []
    for fade in (FADE, 0.0):
        bed = Background(source=background, ducking=MUTE, spans=spans, ramp=fade)
        placed = Placement(source=speech, start=1.0, fade=fade)
        got = mixed(SoundMix([placed], [bed], duration=3))
        steps.append(float(np.abs(np.diff(got[:, 0])).max()))
    assert steps[0] < 0.005 < 0.5 < steps[1]
    assert placement.end == pytest.approx(2.0)


def test_ducking_ends_and_late_or_negative_starts(tmp_path: Path) -> None:
    bed = open_sound(make_wave(tmp_path / "bed.wav", np.full(2 * RATE, 0.5), RATE))
    ducked = Background(source=bed, start=0.5, offset=1.25, ducking=-6.0, spans=((0.75, 1.0),), gain=-6.0)
    got = mixed(SoundMix([Placement(source=bed, start=-1.9)], [ducked], duration=2))[:, 0]
    assert len(got) == 2 * RATE
    assert got[: round(0.09 * RATE)] == pytest.approx(0.5, abs=1e-3)
    assert not got[round(0.1 * RATE) : round(0.5 * RATE)].any()
    assert got[round(0.6 * RATE)] == pytest.approx(0.5 * 10 ** (-6 / 20), abs=1e-3)
    assert got[round(0.9 * RATE)] == pytest.approx(0.5 * 10 ** (-12 / 20), abs=1e-3)
    assert got[round(1.2 * RATE)] == pytest.approx(0.5 * 10 ** (-6 / 20), abs=1e-3)
    assert not got[round(1.25 * RATE) :].any()


def test_one_file_is_decoded_once_for_ascending_offsets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speech = open_sound(make_wave(tmp_path / "speech.wav", tone(4, 16000), 16000))
    opened = []
    decode = type(speech).native_chunks
    monkeypatch.setattr(
        type(speech), "native_chunks", lambda self, rate: opened.append(rate) or decode(self, rate), raising=True
    )
    cues = [Placement(source=speech, start=start, offset=start, duration=0.5) for start in (0.2, 1.4, 2.9)]
    got = mixed(SoundMix(cues, duration=4.0))[:, 0]
    assert opened == [16000]
    middle = slice(round(1.5 * 16000), round(1.8 * 16000))
    assert got[middle] == pytest.approx(tone(4, 16000)[middle], abs=1e-4)


def test_surround_layout_is_kept(tmp_path: Path) -> None:
    channels = np.stack([tone(1, RATE, 100 + 50 * number, 0.1) for number in range(6)], axis=1)
    surround = open_sound(make_wave(tmp_path / "surround.wav", channels, RATE))
    speech = open_sound(make_wave(tmp_path / "speech.wav", tone(1, RATE, 700), RATE))
    mix = SoundMix([Placement(source=speech)], [Background(source=surround)], duration=1)
    assert (mix.layout, surround.channels) == ("5.1", 2)
    got = mixed(mix)
    middle = slice(1000, -1000)
    others = [0, 1, 3, 4, 5]
    assert got[middle][:, others] == pytest.approx(channels[middle][:, others], abs=1e-4)
    assert got[middle, 2] == pytest.approx((channels[:, 2] + tone(1, RATE, 700))[middle], abs=1e-4)
