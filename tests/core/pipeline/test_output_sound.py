"""Sound of the output: mixes, the original sound, additional files and the loudness target."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from pyloudnorm import Meter
from retalkit.config.output import SoundConfig, expand_sound
from retalkit.errors import InputError
from retalkit.media.limiter import CEILING, true_peaks
from retalkit.media.sound import open_sound
from retalkit.pipeline.output_loudness import measure
from retalkit.pipeline.output_sound import OutputSound, PlacedSpeech, active_spans
from scipy.io import wavfile

RATE = 48000


def wave(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    wavfile.write(path, rate, samples.astype(np.float32))
    return path


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Return a video whose first frame is 0.5 s after the start of its stereo sound, a ramp over 4 s."""
    path = tmp_path / "video.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream("pcm_f32le", rate=RATE, layout="stereo")
        for number in range(75):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")
            frame.pts = number + 13
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        ramp = np.repeat(np.linspace(0, 0.5, 4 * RATE, dtype=np.float32), 2)[None]
        frame = av.AudioFrame.from_ndarray(ramp, format="flt", layout="stereo")
        frame.sample_rate, frame.pts = RATE, 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


class Voice:
    """Speech that is active from 1 s to 1.5 s and from 2 s to 2.5 s."""

    def activity(self, times: np.ndarray) -> np.ndarray:
        return (((times >= 1) & (times < 1.5)) | ((times >= 2) & (times < 2.5))).astype(np.float32)


def samples(sound: OutputSound, speeches: list[PlacedSpeech], duration: float) -> np.ndarray:
    track = sound.track(speeches, duration)
    return np.concatenate(list(track.source.native_chunks(track.source.rate)))[: round(duration * track.source.rate)]


def test_speech_alone_is_the_default(tmp_path: Path, video: Path) -> None:
    speech = open_sound(wave(tmp_path / "s.wav", np.full(RATE, 0.1)))
    sound = OutputSound(SoundConfig(), video, 0.52)
    assert sound.track([PlacedSpeech(source=speech)], 1.0).source is speech
    assert not sound.notes


def test_cues_keep_the_original_elsewhere_in_sync_with_the_frames(tmp_path: Path, video: Path) -> None:
    speech = open_sound(wave(tmp_path / "s.wav", np.full(RATE // 2, -0.25, np.float32)))
    got = samples(OutputSound(SoundConfig(), video, 0.52, cued=True), [PlacedSpeech(source=speech, start=1.0)], 2.0)
    ramp = np.linspace(0, 0.5, 4 * RATE, dtype=np.float32)[round(0.52 * RATE) :][: 2 * RATE]
    inside = slice(RATE, RATE + RATE // 2)
    assert np.array_equal(np.delete(got, inside, axis=0), np.delete(np.stack([ramp, ramp], axis=1), inside, axis=0))
    assert got[inside][1000:-1000] == pytest.approx(-0.25)


def test_original_is_ducked_while_the_voice_is_active(tmp_path: Path, video: Path) -> None:
    speech = open_sound(wave(tmp_path / "s.wav", np.zeros(3 * RATE)))
    music = wave(tmp_path / "music.wav", np.full(4 * RATE, 0.2))
    placed = PlacedSpeech(source=speech, speech=Voice())
    assert active_spans(Voice(), 10.0, 12.2, 0.5) == pytest.approx(np.array([(10.35, 11.15), (11.35, 12.15)]), abs=0.01)
    options = {"original": {"ducking": -20}, "files": [{"file": music, "gain": -6, "start": 0.5}], "speech": 2}
    got = samples(OutputSound(SoundConfig(**options), video, 0.52), [placed], 3.0)[:, 0]
    ramp = np.linspace(0, 0.5, 4 * RATE, dtype=np.float32)[round(0.52 * RATE) :]
    for time, level, bed in ((0.2, 1, 0), (0.7, 1, 0.1), (1.25, 0.1, 0.1), (1.75, 0.1, 0.1), (2.9, 1, 0.1)):
        position = round(time * RATE)
        assert got[position] == pytest.approx(ramp[position] * level + bed, abs=0.002), time


def test_given_mix_replaces_the_speech(tmp_path: Path, video: Path) -> None:
    mix = wave(tmp_path / "mix.wav", np.stack([np.full(RATE, 0.3), np.full(RATE, -0.3)], axis=1))
    speech = open_sound(wave(tmp_path / "s.wav", np.zeros(16000), 16000))
    sound = OutputSound(SoundConfig(**expand_sound(str(mix))), video, 0.0)
    track = sound.track([PlacedSpeech(source=speech)], 1.5)
    assert (track.source.rate, track.source.layout, track.source.path) == (RATE, "stereo", mix)
    assert any("0.50 s shorter" in note for note in sound.notes) and sound.files == [mix]
    assert any("opposite phases" in note for note in sound.notes) and not any("mouth" in note for note in sound.notes)


@pytest.mark.parametrize("target", [-16.0, -23.0])
def test_loudness_target_is_reached_and_peaks_are_limited(tmp_path: Path, video: Path, target: float) -> None:
    random = np.random.default_rng(5)
    quiet = 0.03 * random.standard_normal((6 * RATE, 2)).clip(-3, 3)
    quiet[RATE * 3 : RATE * 3 + 20] = 0.6
    speech = open_sound(wave(tmp_path / "s.wav", quiet))
    sound = OutputSound(SoundConfig(loudness=target), video, 0.0)
    got = samples(sound, [PlacedSpeech(source=speech)], 6.0)
    assert len(got) == 6 * RATE
    assert Meter(RATE).integrated_loudness(got.astype(np.float64)) == pytest.approx(target, abs=0.2)
    assert true_peaks(got).max() <= CEILING * 1.001
    assert ("limited" in sound.notes[0]) == (target == -16.0)
    # Far from the peak, only the gain changes.
    gain = got[: 2 * RATE] / quiet[: 2 * RATE]
    assert gain.std() / gain.mean() < 1e-3
    assert measure(speech, 6.0)[0] == pytest.approx(Meter(RATE).integrated_loudness(quiet), abs=0.01)


def test_missing_sounds_are_rejected(tmp_path: Path, video: Path) -> None:
    silent_video = tmp_path / "silent.mp4"
    with av.open(str(silent_video), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode(None))
    cases = [
        (SoundConfig(original={}), silent_video, "no-audio-stream"),
        (SoundConfig(mix=tmp_path / "missing.wav"), video, "file-not-found"),
        (SoundConfig(original={"track": 1}), video, "no-audio-track"),
    ]
    for options, path, code in cases:
        with pytest.raises(InputError) as error:
            OutputSound(options, path, 0.0)
        assert error.value.code == code
    assert OutputSound(SoundConfig(), silent_video, 0.0, cued=True).track([], 1.0) is None
