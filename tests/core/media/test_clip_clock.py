"""Distance between picture and sound, measured with a flash and a beep."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_clips import make_clip, number_of
from retalkit.media.encoding import SegmentWriter, output_time_base
from retalkit.media.muxing import SoundTrack, assemble
from retalkit.media.sound import open_sound
from retalkit.media.sources import open_source
from retalkit.media.timeline import build_timeline
from retalkit.media.video_codec import Encoding
from retalkit.pipeline.preview import whole_output

RATE, FRAMES, FLASH = 48000, 25, 12
"""The flash and the beep are 0.48 s after the start of their streams."""


def make_flash(path: Path, picture: float = 0.0, sound: float = 0.0, options: dict[str, str] | None = None) -> Path:
    """Write 1 s of video and sound. ``picture`` and ``sound``: start times of the streams in seconds."""
    with av.open(str(path), "w", options=options or {}) as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "bf": "2"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream("aac", rate=RATE)
        audio.codec_context.layout = "mono"
        packets = []
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64), 235 * (number == FLASH), np.uint8), format="gray8")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = round(1000 * (picture + number / 25)), Fraction(1, 1000)
            packets += video.encode(frame)
        wave = np.zeros(RATE, np.float32)
        wave[FLASH * 1920 : FLASH * 1920 + 1920] = 0.8 * np.sin(np.arange(1920) * 0.4)
        for start in range(0, RATE, 1024):
            block = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format="fltp", layout="mono")
            block.sample_rate, block.time_base = RATE, Fraction(1, RATE)
            block.pts = round(sound * RATE) + start
            packets += audio.encode(block)
        packets += [*video.encode(None), *audio.encode(None)]
        for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
            container.mux(packet)
    return path


def distances(path: Path) -> list[float]:
    """Return the time in seconds from each flash to the beep with the same number, as read by Retalkit."""
    source, sound = open_source(path), open_sound(path)
    count = source.info.frame_count
    times = source.times(0, count)
    flashes = [float(times[index]) for index, image in source.read(range(count)) if image.mean() > 100]
    loud = np.flatnonzero(np.abs(np.concatenate(list(sound.chunks(RATE)))) > 0.3) / RATE
    beeps = [time for number, time in enumerate(loud) if number == 0 or time - loud[number - 1] > 0.3]
    assert len(flashes) == len(beeps)
    return [beep - flash for flash, beep in zip(flashes, beeps, strict=True)]


FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
CASES = [
    ("a.mp4", 0.0, 0.0, None),
    ("a.mp4", 0.85, 0.0, None),
    ("a.mov", 0.0, 0.4, None),
    ("a.mp4", 0.0, 0.0, FRAGMENTS),
    ("a.mp4", 0.0, 0.013, {"use_editlist": "0"}),
    ("a.mkv", 0.85, 0.0, None),
    ("a.mkv", 0.0, 0.013, None),
    ("a.ts", 0.3, 0.0, None),
    ("a.ts", 0.0, 0.013, None),
    # The clock wraps after 2**33 / 90000 = 95443.7 s.
    ("a.ts", 0.0, 0.0, {"output_ts_offset": "95443"}),
]


@pytest.mark.parametrize(("name", "picture", "sound", "options"), CASES)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_picture_and_sound_keep_their_distance(tmp_path: Path, name, picture, sound, options, suffix) -> None:
    path = make_flash(tmp_path / name, picture, sound, options)
    assert distances(path) == pytest.approx([sound - picture], abs=0.002)

    source, heard, out = open_source(path), open_sound(path), tmp_path / f"out{suffix}"
    timeline = build_timeline(source, heard.duration, "video")
    time_base = output_time_base(timeline.time_base)
    times, durations = timeline.times(0, timeline.count), timeline.durations(0, timeline.count)
    assert timeline.count == FRAMES and (durations > 0).all()
    window = whole_output(timeline, source.size)
    assert np.array_equal(window.times(0, FRAMES), times) and window.duration == pytest.approx(timeline.duration)
    encoding = Encoding(preset="ultrafast")
    with SegmentWriter(tmp_path / "s", source.size, source.colour, source.rate, time_base, encoding) as writer:
        for position, frame in source.read_video_frames(range(timeline.count)):
            writer.write_frame(frame, float(times[position]), float(durations[position]))
    track = SoundTrack(heard, timeline.duration)
    assemble([tmp_path / "s"], track, out, duration=timeline.duration, time_base=time_base)
    assert distances(out) == pytest.approx([sound - picture], abs=0.002)


def test_speech_that_ends_before_the_picture_starts_shows_one_frame(tmp_path: Path) -> None:
    timeline = build_timeline(open_source(make_flash(tmp_path / "a.mkv", 0.85)), 0.5)
    assert timeline.count == 1
    assert timeline.times(0, 1)[0] == pytest.approx(0.85, abs=0.025)
    assert timeline.duration - timeline.times(0, 1)[0] == pytest.approx(0.04, abs=0.002)


@pytest.mark.parametrize("offset", ["0", "3600"])
def test_joined_transport_streams_stay_synchronous(tmp_path: Path, offset: str) -> None:
    parts = [make_flash(tmp_path / "1.ts"), make_flash(tmp_path / "2.ts", options={"output_ts_offset": offset})]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert distances(path) == pytest.approx([0, 0], abs=0.002)
    source, sound = open_source(path), open_sound(path)
    assert source.info.frame_count == 2 * FRAMES
    assert source.info.duration == pytest.approx(2.1, abs=0.1)
    assert sound.duration == pytest.approx(2.1, abs=0.1)
    assert "jump at a place" in source.warnings[0] and source.warnings == sound.warnings
    steps = np.diff(source.times(0, 2 * FRAMES))
    assert steps == pytest.approx(np.full(2 * FRAMES - 1, 0.04), abs=0.045) and (steps > 0).all()
    # Frames are found by their position, because two frames have the same timestamp.
    images = [image.mean() > 100 for _, image in source.read([FLASH, FLASH + FRAMES, FLASH, 3])]
    assert images == [True, True, True, False]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("streams", [("video", "audio"), ("audio",)])
def test_jump_of_the_clock_is_closed(tmp_path: Path, suffix: str, streams: tuple[str, ...]) -> None:
    plain, path = make_flash(tmp_path / "plain.mp4"), tmp_path / f"jump{suffix}"
    with av.open(str(plain)) as given, av.open(str(path), "w") as written:
        added = {each.index: written.add_stream_from_template(each) for each in given.streams if each.type in streams}
        for packet in given.demux():
            if packet.dts is not None and packet.stream.index in added:
                if packet.dts * packet.time_base >= 0.7:
                    packet.pts, packet.dts = (
                        time + round(3600 / packet.time_base) for time in (packet.pts, packet.dts)
                    )
                packet.stream = added[packet.stream.index]
                written.mux(packet)
    sound = open_sound(path)
    assert sound.duration == pytest.approx(1.1, abs=0.2)
    assert "jump at a place" in sound.warnings[0]
    if "video" in streams:
        assert open_source(path).info.duration == pytest.approx(1.1, abs=0.2)
        assert distances(path) == pytest.approx([0], abs=0.002)


@pytest.mark.parametrize("rate", ["1", "0.4"])
def test_reordered_frames_of_slow_videos_are_not_a_jump(tmp_path: Path, rate: str) -> None:
    step = round(1000 / float(rate))
    path = make_clip(tmp_path / "a.mkv", [step * number for number in range(8)], Fraction(1, 1000), options={"bf": "3"})
    source = open_source(path)
    assert not any("jump" in warning for warning in source.warnings)
    assert source.times(0, 8) == pytest.approx(np.arange(8) / float(rate), abs=0.01)
    assert [number_of(image) for _, image in source.read([7, 2, 5])] == [7, 2, 5]


def test_frames_without_timestamps_are_placed_before_the_others(tmp_path: Path) -> None:
    plain, path = make_flash(tmp_path / "plain.mp4"), tmp_path / "negative.mkv"
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(plain)) as given, av.open(str(path), "w", options=options) as written:
        added = {each.index: written.add_stream_from_template(each) for each in given.streams}
        for packet in given.demux():
            if packet.dts is not None:
                packet.pts, packet.dts = (time - round(0.2 / packet.time_base) for time in (packet.pts, packet.dts))
                packet.stream = added[packet.stream.index]
                written.mux(packet)
    source = open_source(path)
    assert np.diff(source.times(0, FRAMES)) == pytest.approx(np.full(FRAMES - 1, 0.04), abs=0.002)
    assert distances(path) == pytest.approx(distances(plain), abs=0.003)
