"""Streaming audio input."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_clips import click_times, clicks, make_wave, steady_clip
from retalkit.errors import InputError
from retalkit.media.sound import open_sound
from scipy.io import wavfile


def read_all(path: Path, rate: int, mono: bool = True) -> np.ndarray:
    return np.concatenate(list(open_sound(path).chunks(rate, mono)))


def make_surround(path: Path, samples: np.ndarray, rate: int = 16000) -> Path:
    """Write samples, float [N, 6], with the layout 5.1 (FL, FR, FC, LFE, BL, BR)."""
    with av.open(str(path), "w") as target:
        stream = target.add_stream("flac", rate=rate)
        stream.codec_context.layout, stream.codec_context.format = "5.1", "s16"
        stored = np.round(samples * 32767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(stored, format="s16", layout="5.1")
        frame.sample_rate, frame.pts = rate, 0
        target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_length_is_exact_and_resampling_has_no_delay(tmp_path: Path, rate: int) -> None:
    times = [0.5, 1.234, 2.9]
    path = make_wave(tmp_path / "clicks.wav", clicks(times, 3.21, rate), rate)
    sound = open_sound(path)
    assert (sound.rate, sound.channels) == (rate, 1)
    assert sound.duration == round(3.21 * rate) / rate
    samples = read_all(path, 16000)
    assert samples.dtype == np.float32
    assert len(samples) == sound.length_at(16000) == round(sound.duration * 16000)
    assert click_times(samples, 16000) == pytest.approx(times, abs=0.0005)


def test_mono_is_the_mean_of_the_channels(tmp_path: Path) -> None:
    tone = np.sin(np.arange(44100) / 20)
    path = make_wave(tmp_path / "stereo.wav", np.stack([0.8 * tone, 0.4 * tone], axis=1), 44100)
    stereo = read_all(path, 44100, mono=False)
    assert stereo.shape == (44100, 2)
    assert np.abs(stereo - np.stack([0.8 * tone, 0.4 * tone], axis=1)).max() < 1e-4
    assert np.abs(read_all(path, 44100) - 0.6 * tone).max() < 1e-4


@pytest.mark.parametrize("gains", [(1.0, -1.0), (1.0, -0.8), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_voice_is_not_lost_in_the_mono_downmix(tmp_path: Path, gains: tuple[float, float]) -> None:
    tone = 0.5 * np.sin(np.arange(44100) / 20)
    noise = 1e-3 * np.random.default_rng(0).standard_normal((44100, 2))
    path = make_wave(tmp_path / "stereo.wav", tone[:, None] * np.array(gains) + noise, 44100)
    samples = read_all(path, 44100)
    assert np.abs(samples).max() > 0.44
    assert abs(np.corrcoef(samples, tone)[0, 1]) > 0.99
    assert bool(open_sound(path).warnings) == (min(gains) < 0)


def test_samples_that_are_not_numbers_are_silent(tmp_path: Path) -> None:
    tone = (0.5 * np.sin(np.arange(16000) / 20)).astype(np.float32)
    tone[100:103] = np.nan, np.inf, -1e30
    wavfile.write(tmp_path / "float.wav", 16000, tone)
    sound = open_sound(tmp_path / "float.wav")
    samples = np.concatenate(list(sound.chunks(16000)))
    assert len(samples) == 16000 and not samples[100:103].any()
    assert np.abs(np.delete(samples - tone, slice(100, 103))).max() < 1e-6
    assert "3 samples" in sound.warnings[0]


def test_surround_is_mixed_down_without_clipping(tmp_path: Path) -> None:
    tone = np.sin(np.arange(48000) / 20).astype(np.float32)
    path = make_surround(tmp_path / "surround.mka", np.tile(tone[:, None], (1, 6)), 48000)
    assert open_sound(path).channels == 2
    assert np.abs(read_all(path, 48000, mono=False) - tone[:, None]).max() < 1e-3


@pytest.mark.parametrize(
    ("gains", "channel"),
    [((0.7, 0.7, -1, 0, 0, 0), 2), ((0, 0, 0, 1, 0, 0), 3), ((0, 0, 1, 0, 0, 0), None), ((1, 1, 1, 1, 1, 1), None)],
)
def test_voice_in_surround_channels_that_cancel_is_not_lost(tmp_path: Path, gains, channel: int | None) -> None:
    tone = 0.5 * np.sin(np.arange(16000) / 20)
    path = make_surround(tmp_path / "surround.mka", tone[:, None] * np.array(gains))
    sound = open_sound(path)
    samples = read_all(path, 16000)
    assert sound.channel == channel and bool(sound.warnings) == (channel is not None)
    assert np.abs(samples).max() > 0.1 and abs(np.corrcoef(samples, tone)[0, 1]) > 0.99
    # The stereo downmix is not changed.
    assert read_all(path, 16000, mono=False).shape == (16000, 2)


@pytest.mark.parametrize("suffix", ["m4a", "mp3", "ogg", "flac"])
def test_compressed_audio_keeps_its_timing(tmp_path: Path, suffix: str) -> None:
    codec = {"m4a": "aac", "mp3": "libmp3lame", "ogg": "libopus", "flac": "flac"}[suffix]
    times = [0.3, 1.0, 1.9]
    path = tmp_path / f"clicks.{suffix}"
    with av.open(str(path), "w") as target:
        stream = target.add_stream(codec, rate=48000)
        stream.codec_context.layout = "mono"
        samples = np.round(clicks(times, 2.2, 48000) * 32767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    assert click_times(read_all(path, 16000), 16000) == pytest.approx(times, abs=0.003)
    assert open_sound(path).duration == pytest.approx(2.2, abs=0.03)


def video_with_late_sound(path: Path, delay: float, times: list[float], gap: float = 0.0) -> Path:
    """Write audio that starts ``delay`` seconds after the video and has a ``gap`` in seconds after its first second."""
    with av.open(str(path), "w") as target:
        video = target.add_stream("libx264", rate=10, options={"preset": "ultrafast"}, width=64, height=64)
        tone = target.add_stream("pcm_s16le", rate=16000)
        tone.codec_context.layout = "mono"
        for tick in range(30):
            frame = av.VideoFrame(64, 64, "yuv420p")
            frame.pts = tick
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
        samples = np.round(clicks(times, 2.5, 16000) * 32767).astype(np.int16)
        for start in range(0, len(samples), 1600):
            block = av.AudioFrame.from_ndarray(samples[None, start : start + 1600], format="s16", layout="mono")
            later = delay + (gap if start >= 16000 else 0)
            block.sample_rate, block.pts, block.time_base = 16000, start + round(later * 16000), Fraction(1, 16000)
            target.mux(tone.encode(block))
        target.mux(tone.encode(None))
    return path


def test_late_track_starts_with_silence(tmp_path: Path) -> None:
    path = video_with_late_sound(tmp_path / "late.mkv", 0.75, [0.0, 1.0])
    assert click_times(read_all(path, 16000), 16000) == pytest.approx([0.75, 1.75], abs=0.002)
    assert open_sound(path).duration == pytest.approx(3.25, abs=0.002)


def test_gap_in_the_track_is_silent(tmp_path: Path) -> None:
    path = video_with_late_sound(tmp_path / "gap.mkv", 0.0, [0.5, 1.5], gap=0.4)
    assert click_times(read_all(path, 16000), 16000) == pytest.approx([0.5, 1.9], abs=0.002)


def test_silent_audio_is_accepted_with_a_warning(tmp_path: Path) -> None:
    sound = open_sound(make_wave(tmp_path / "silence.wav", np.zeros(16000), 16000))
    assert sound.duration == 1.0
    assert len(sound.warnings) == 1 and "only silence" in sound.warnings[0]
    assert not open_sound(make_wave(tmp_path / "loud.wav", clicks([0.1], 1, 16000), 16000)).warnings


def test_truncated_file_is_read_to_the_truncation(tmp_path: Path) -> None:
    path = make_wave(tmp_path / "cut.wav", clicks([0.2], 2.0, 16000), 16000)
    path.write_bytes(path.read_bytes()[:40044])
    assert open_sound(path).duration == pytest.approx(1.25, abs=0.01)


def test_more_than_eight_channels_are_read(tmp_path: Path) -> None:
    path = tmp_path / "many.wav"
    samples = (np.sin(np.arange(8000) / 5)[:, None] * 20000 * (np.arange(12) % 3 == 0)).astype(np.int16)
    wavfile.write(path, 16000, samples)
    sound = open_sound(path)
    read = np.concatenate(list(sound.native_chunks(16000)))
    assert np.array_equal(np.rint(read * 32768), samples)
    half = np.concatenate(list(sound.native_chunks(8000)))
    assert half.shape == (4000, 12) and np.abs(half[100:-100, 1]).max() < 1e-4 < np.abs(half[:, 3]).max()


@pytest.mark.parametrize(
    "rate, channels, code",
    [
        (40, 1, "unsupported-sample-rate"),
        (2_130_714_432, 1, "unsupported-sample-rate"),
        (8000, 65, "too-many-channels"),
        (8000, 0, "undecodable-audio"),
    ],
)
def test_impossible_formats_are_rejected(tmp_path: Path, rate: int, channels: int, code: str) -> None:
    path = tmp_path / "damaged.wav"
    samples = np.zeros(2080, np.int16).tobytes()
    fields = struct.pack("<IHHIIHH", 16, 1, channels, rate, min(2 * rate, 2**32 - 1), 2 * channels, 16)
    content = b"WAVEfmt " + fields + b"data" + struct.pack("<I", len(samples)) + samples
    path.write_bytes(b"RIFF" + struct.pack("<I", len(content)) + content)
    with pytest.raises(InputError) as error:
        open_sound(path)
    assert error.value.code == code


def test_video_without_audio_is_rejected(tmp_path: Path) -> None:
    path = steady_clip(tmp_path / "mute.mp4", 5)
    with pytest.raises(InputError, match=r"mute\.mp4") as error:
        open_sound(path)
    assert error.value.code == "no-audio-stream"
