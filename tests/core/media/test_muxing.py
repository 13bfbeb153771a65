"""Muxing of segments and audio, and checks of the output path."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_clips import HEIGHT, WIDTH, click_times, clicks, frame_image, make_wave, number_of
from retalkit.errors import OutputError
from retalkit.media.colour import BT709
from retalkit.media.encoding import SegmentWriter
from retalkit.media.muxing import SoundTrack, assemble, check_output
from retalkit.media.sound import open_sound
from retalkit.media.sources import open_source
from retalkit.media.video_codec import Encoding
from retalkit.media.yuv_frames import frame_from_rgb

CLOCK = Fraction(1, 90000)
FLASH = 5.0
"""Seconds between white frames."""


def flashing_segments(folder: Path, seconds: float, rate: Fraction, size: int = 32) -> list[Path]:
    """Write segments of 20 s: black frames, with a white frame at or right after each multiple of FLASH seconds."""
    black = frame_from_rgb(np.zeros((size, size, 3), np.uint8))
    white = frame_from_rgb(np.full((size, size, 3), 255, np.uint8))
    segments: list[Path] = []
    count = int(seconds * rate)
    per_segment = int(20 * rate)
    for start in range(0, count, per_segment):
        segments.append(folder / f"{start}.nut")
        with SegmentWriter(segments[-1], (size, size), BT709, rate, CLOCK, Encoding(preset="ultrafast")) as writer:
            for number in range(start, min(start + per_segment, count)):
                time = float(number / rate)
                bright = time >= FLASH and time % FLASH < 1 / rate
                writer.write_frame(white if bright else black, time, float(1 / rate))
    return segments


@pytest.fixture(scope="module")
def two_minutes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Segments of a flashing video of 121 s at 29.97 frames/s."""
    return flashing_segments(tmp_path_factory.mktemp("segments"), 121.0, Fraction(30000, 1001))


@pytest.mark.parametrize(("suffix", "sound_rate"), [("mp4", 44100), ("mkv", 48000), ("mov", 22254)])
def test_audio_and_video_are_synchronised(
    tmp_path: Path, two_minutes: list[Path], suffix: str, sound_rate: int
) -> None:
    seconds, rate = 121.0, Fraction(30000, 1001)
    beats = np.arange(FLASH, seconds, FLASH)
    speech = make_wave(tmp_path / "speech.wav", clicks(beats.tolist(), seconds, sound_rate), sound_rate)
    out = tmp_path / f"out.{suffix}"
    assemble(two_minutes, SoundTrack(open_sound(speech)), out, duration=seconds, time_base=CLOCK)

    with av.open(str(out)) as container:
        flashes = [frame.time for frame in container.decode(video=0) if frame.to_ndarray()[:32].mean() > 128]
    sound = open_sound(out)
    detected = click_times(np.concatenate(list(sound.chunks(48000))), 48000)
    assert len(flashes) == len(detected) == len(beats)
    # A flash starts at most one frame after its beat; audio and video must agree to much less than a frame.
    frame = float(1 / rate)
    assert np.all(np.array(flashes) - beats < frame + 0.001) and np.all(np.array(flashes) - beats > -0.001)
    assert np.abs(np.array(detected) - beats).max() < 0.004
    drift = (detected[-1] - detected[0]) - (beats[-1] - beats[0])
    assert abs(drift) < 0.0005
    assert sound.duration == pytest.approx(seconds, abs=0.05)


def test_audio_keeps_rate_and_channels_and_is_cut_at_the_end(tmp_path: Path) -> None:
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


def test_video_ends_at_the_given_duration(tmp_path: Path) -> None:
    with SegmentWriter(tmp_path / "a.nut", (WIDTH, HEIGHT), BT709, Fraction(25), CLOCK) as writer:
        for number in range(26):
            writer.write_frame(frame_from_rgb(frame_image(number)), number / 25, 1 / 25)
    for duration in (1.0071, 1.039):
        out = tmp_path / "out.mp4"
        assemble([tmp_path / "a.nut"], None, out, duration=duration, time_base=CLOCK)
        source = open_source(out)
        assert source.info.frame_count == 26
        assert [number_of(image) for _, image in source.read([25, 0])] == [25, 0]
        assert source.info.duration == pytest.approx(duration, abs=0.001)


def test_mp4_index_precedes_data(tmp_path: Path) -> None:
    segments = flashing_segments(tmp_path, 1, Fraction(25))
    assemble(segments, None, tmp_path / "out.mp4", duration=1.0, time_base=CLOCK)
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_output_is_written_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    out = folder / "film.mp4"
    out.write_bytes(b"older output")
    segments = flashing_segments(tmp_path, 41, Fraction(5))
    segments[1].write_bytes(segments[1].read_bytes()[:300])
    with pytest.raises(ValueError, match="expected 205"):
        assemble(segments, None, out, duration=41.0, time_base=CLOCK, frames=205)
    assert out.read_bytes() == b"older output"
    assert list(folder.iterdir()) == [out]

    segments = flashing_segments(tmp_path, 41, Fraction(5))
    sound = open_sound(make_wave(tmp_path / "s.wav", clicks([1.0], 41, 8000), 8000))

    def fail(rate: int):
        yield np.zeros((8000, 1), dtype=np.float32)
        assert not out.read_bytes().startswith(b"\0")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sound, "native_chunks", fail)
    with pytest.raises(OutputError, match="No space left") as error:
        assemble(segments, SoundTrack(sound), out, duration=41.0, time_base=CLOCK, frames=205)
    assert error.value.code == "unwritable-output"
    assert out.read_bytes() == b"older output"
    assert list(folder.iterdir()) == [out]


def test_incompatible_segments_are_rejected(tmp_path: Path) -> None:
    first = flashing_segments(tmp_path, 1, Fraction(25))
    (tmp_path / "large").mkdir()
    large = flashing_segments(tmp_path / "large", 1, Fraction(25), size=64)
    with pytest.raises(ValueError, match="settings"):
        assemble([*first, *large], None, tmp_path / "out.mp4", duration=2.0, time_base=CLOCK)
    with pytest.raises(ValueError, match="ascend"):
        assemble([*first, *first], None, tmp_path / "out.mp4", duration=2.0, time_base=CLOCK)
    with pytest.raises(ValueError, match="no segments"):
        assemble([], None, tmp_path / "out.mp4", duration=2.0, time_base=CLOCK)
    assert not (tmp_path / "out.mp4").exists()


def test_output_path_is_checked_before_the_run(tmp_path: Path) -> None:
    taken = tmp_path / "taken.mp4"
    taken.write_bytes(b"video")
    check_output(tmp_path / "new.mp4")
    check_output(tmp_path / "new.MKV")
    check_output(taken, force=True, inputs=[tmp_path / "other.mp4"])
    cases = {
        tmp_path / "new.avi": ("unsupported-output-format", "mp4, .mov or .mkv"),
        tmp_path / "new": ("unsupported-output-format", "mp4, .mov or .mkv"),
        tmp_path / "no" / "new.mp4": ("directory-not-found", str(tmp_path / "no")),
        taken / "new.mp4": ("directory-not-found", str(taken)),
        taken: ("output-exists", "--force"),
        Path("/proc/new.mp4"): ("unwritable-output", "/proc"),
    }
    for path, (code, fact) in cases.items():
        with pytest.raises(OutputError) as error:
            check_output(path)
        assert error.value.code == code
        assert fact in str(error.value) and "\n" not in str(error.value)
    linked = tmp_path / "linked.mp4"
    linked.symlink_to(taken)
    with pytest.raises(OutputError, match=r"linked\.mp4") as error:
        check_output(linked, force=True, inputs=[taken])
    assert error.value.code == "output-is-input"
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OutputError, match=r"folder\.mp4") as error:
        check_output(tmp_path / "folder.mp4", force=True)
    assert error.value.code == "path-is-directory"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.mp4", "linked.mp4", "taken.mp4"]
