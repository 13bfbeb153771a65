from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_clips import HEIGHT, WIDTH, click_times, clicks, make_wave, number_of, picture
from retalkit.errors import OutputError
from retalkit.media.colour import BT709
from retalkit.media.encoding import SegmentWriter
from retalkit.media.muxing import SoundTrack, assemble, check_output
from retalkit.media.sound import open_sound
from retalkit.media.sources import open_source
from retalkit.media.yuv_frames import frame_from_rgb

CLOCK = Fraction(1, 90000)
FLASH = 5.0
"""Seconds between bright frames."""


def flashing_segments(folder: Path, seconds: float, rate: Fraction, size: int = 32) -> list[Path]:
    """Black frames, with a white one at the first frame not before each multiple of FLASH; 20 s a segment."""
    black = frame_from_rgb(np.zeros((size, size, 3), np.uint8))
    white = frame_from_rgb(np.full((size, size, 3), 255, np.uint8))
    segments: list[Path] = []
    count = int(seconds * rate)
    per_segment = int(20 * rate)
    for start in range(0, count, per_segment):
        segments.append(folder / f"{start}.nut")
        with SegmentWriter(segments[-1], (size, size), BT709, rate, CLOCK, preset="ultrafast") as writer:
            for number in range(start, min(start + per_segment, count)):
                time = float(number / rate)
                bright = time >= FLASH and time % FLASH < 1 / rate
                writer.write_frame(white if bright else black, time, float(1 / rate))
    return segments


@pytest.mark.parametrize(("suffix", "sound_rate"), [("mp4", 44100), ("mkv", 48000), ("mov", 22254)])
def test_sound_and_picture_stay_together(tmp_path: Path, suffix: str, sound_rate: int) -> None:
    seconds, rate = 121.0, Fraction(30000, 1001)
    beats = np.arange(FLASH, seconds, FLASH)
    speech = make_wave(tmp_path / "speech.wav", clicks(beats.tolist(), seconds, sound_rate), sound_rate)
    out = tmp_path / f"out.{suffix}"
    segments = flashing_segments(tmp_path, seconds, rate)
    assemble(segments, SoundTrack(open_sound(speech)), out, duration=seconds, time_base=CLOCK)

    with av.open(str(out)) as container:
        flashes = [frame.time for frame in container.decode(video=0) if frame.to_ndarray()[:32].mean() > 128]
    sound = open_sound(out)
    heard = click_times(np.concatenate(list(sound.chunks(48000))), 48000)
    assert len(flashes) == len(heard) == len(beats)
    # The frame begins at most one frame after the beat; sound and picture must agree to far less than a frame.
    frame = float(1 / rate)
    assert np.all(np.array(flashes) - beats < frame + 0.001) and np.all(np.array(flashes) - beats > -0.001)
    assert np.abs(np.array(heard) - beats).max() < 0.004
    drift = (heard[-1] - heard[0]) - (beats[-1] - beats[0])
    assert abs(drift) < 0.0005
    assert sound.duration == pytest.approx(seconds, abs=0.05)


def test_sound_keeps_rate_and_channels_and_is_cut_with_the_picture(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(np.arange(3 * 44100) / 30)
    speech = open_sound(make_wave(tmp_path / "s.wav", np.stack([tone, -tone], axis=1), 44100))
    segments = flashing_segments(tmp_path, 2, Fraction(25))
    out = tmp_path / "out.mp4"
    assemble(segments, SoundTrack(speech, 2.0), out, duration=2.0, time_base=CLOCK)
    with av.open(str(out)) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.rate, stream.channels) == ("aac", 44100, 2)
        assert float(stream.duration * stream.time_base) == pytest.approx(2.0, abs=0.001)
        assert container.duration / av.time_base == pytest.approx(2.0, abs=0.001)
    got = np.concatenate(list(open_sound(out).chunks(44100, mono=False)))[2000:80000]
    assert np.abs(got - np.stack([tone, -tone], axis=1)[2000:80000]).max() < 0.05


def test_picture_ends_with_the_last_sample_of_the_speech(tmp_path: Path) -> None:
    with SegmentWriter(tmp_path / "a.nut", (WIDTH, HEIGHT), BT709, Fraction(25), CLOCK) as writer:
        for number in range(26):
            writer.write_frame(frame_from_rgb(picture(number)), number / 25, 1 / 25)
    for duration in (1.0071, 1.039):
        out = tmp_path / "out.mp4"
        assemble([tmp_path / "a.nut"], None, out, duration=duration, time_base=CLOCK)
        source = open_source(out)
        assert source.info.frame_count == 26
        assert [number_of(image) for _, image in source.read([25, 0])] == [25, 0]
        assert source.info.duration == pytest.approx(duration, abs=0.001)


def test_index_stands_in_front(tmp_path: Path) -> None:
    segments = flashing_segments(tmp_path, 1, Fraction(25))
    assemble(segments, None, tmp_path / "out.mp4", duration=1.0, time_base=CLOCK)
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_output_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    out = folder / "film.mp4"
    out.write_bytes(b"older film")
    segments = flashing_segments(tmp_path, 41, Fraction(5))
    segments[1].write_bytes(segments[1].read_bytes()[:300])
    with pytest.raises(ValueError, match="expected 205"):
        assemble(segments, None, out, duration=41.0, time_base=CLOCK, frames=205)
    assert out.read_bytes() == b"older film"
    assert list(folder.iterdir()) == [out]

    segments = flashing_segments(tmp_path, 41, Fraction(5))
    sound = open_sound(make_wave(tmp_path / "s.wav", clicks([1.0], 41, 8000), 8000))

    def breaks(rate: int, mono: bool = True):
        yield np.zeros((8000, 1), dtype=np.float32)
        assert not out.read_bytes().startswith(b"\0")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sound, "chunks", breaks)
    with pytest.raises(OutputError, match="No space left"):
        assemble(segments, SoundTrack(sound), out, duration=41.0, time_base=CLOCK, frames=205)
    assert out.read_bytes() == b"older film"
    assert list(folder.iterdir()) == [out]


def test_segments_that_do_not_belong_together(tmp_path: Path) -> None:
    first = flashing_segments(tmp_path, 1, Fraction(25))
    (tmp_path / "large").mkdir()
    large = flashing_segments(tmp_path / "large", 1, Fraction(25), size=64)
    with pytest.raises(ValueError, match="other settings"):
        assemble([*first, *large], None, tmp_path / "out.mp4", duration=2.0, time_base=CLOCK)
    with pytest.raises(ValueError, match="follow"):
        assemble([*first, *first], None, tmp_path / "out.mp4", duration=2.0, time_base=CLOCK)
    with pytest.raises(ValueError, match="no segments"):
        assemble([], None, tmp_path / "out.mp4", duration=2.0, time_base=CLOCK)
    assert not (tmp_path / "out.mp4").exists()


def test_output_is_checked_before_work(tmp_path: Path) -> None:
    taken = tmp_path / "taken.mp4"
    taken.write_bytes(b"film")
    check_output(tmp_path / "new.mp4")
    check_output(tmp_path / "new.MKV")
    check_output(taken, force=True, inputs=[tmp_path / "other.mp4"])
    cases = {
        tmp_path / "new.avi": "mp4, .mov or .mkv",
        tmp_path / "new": "mp4, .mov or .mkv",
        tmp_path / "no" / "new.mp4": "not a folder",
        taken / "new.mp4": "not a folder",
        taken: "--force",
        Path("/proc/new.mp4"): "cannot be written",
    }
    for path, says in cases.items():
        with pytest.raises(OutputError, match=says) as error:
            check_output(path)
        assert "\n" not in str(error.value)
    linked = tmp_path / "linked.mp4"
    linked.symlink_to(taken)
    with pytest.raises(OutputError, match="one of the inputs"):
        check_output(linked, force=True, inputs=[taken])
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        check_output(tmp_path / "folder.mp4", force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.mp4", "linked.mp4", "taken.mp4"]
