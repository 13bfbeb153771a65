"""Other streams of the source that are kept in the output."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image
from retalkit.media.colour import BT709
from retalkit.media.encoding import SegmentWriter
from retalkit.media.kept_streams import other_content, plan_kept_streams
from retalkit.media.muxing import SoundTrack, assemble
from retalkit.media.sound import open_sound
from retalkit.media.sources import open_source
from retalkit.media.video_codec import Encoding
from retalkit.media.video_replacement import replace_video

CLOCK = Fraction(1, 12800)
FIRST = 10
"""Number of frames by which the picture starts after the sound."""
MILLISECOND = Fraction(1, 1000)


def make_film(path: Path) -> Path:
    """Write 3 s of picture with two audio tracks, subtitles, chapters, metadata, a timecode and an attachment."""
    mov = path.suffix != ".mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        audio = [container.add_stream("aac", rate=rate, layout="mono") for rate in (48000, 44100)]
        audio[1].metadata.update(language="deu", title="Kommentar")
        subtitles = container.add_mux_stream("mov_text" if mov else "subrip")
        subtitles.metadata["language"], subtitles.time_base = "eng", MILLISECOND
        container.metadata.update(title="The film", artist="Somebody")
        video.metadata["timecode"] = "10:00:00:00"
        times = [(0, 1500, "One"), (1500, 3400, "Two")]
        container.set_chapters(
            [
                {"id": number, "start": start, "end": end, "time_base": MILLISECOND, "metadata": {"title": title}}
                for number, (start, end, title) in enumerate(times, 1)
            ]
        )
        if not mov:
            container.add_attachment("font.ttf", "application/x-truetype-font", b"12345678")
        for number in range(75):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number * 3, np.uint8), format="rgb24")
            frame.pts = number + FIRST
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for stream in audio:
            noise = np.random.default_rng(4).standard_normal(int(3.4 * stream.rate))
            wave = 0.5 * np.convolve(noise, np.ones(16) / 16, "same")
            for start in range(0, len(wave), 1024):
                piece = np.ascontiguousarray(wave[None, start : start + 1024].astype(np.float32))
                frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
                frame.sample_rate, frame.pts = stream.rate, start
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        for start, text in ((900, "Hello"), (2400, "World")):
            data = text.encode()
            packet = av.Packet(len(data).to_bytes(2, "big") + data if mov else data)
            packet.pts = packet.dts = start
            packet.duration, packet.time_base, packet.stream = 700, MILLISECOND, subtitles
            container.mux(packet)
    return path


@pytest.mark.parametrize(
    ("source_suffix", "suffix", "dropped"),
    [(".mkv", ".mp4", "1 attachment"), (".mkv", ".mkv", ""), (".mov", ".mkv", ""), (".mp4", ".mov", "")],
)
def test_streams_are_kept_in_sync(tmp_path: Path, source_suffix: str, suffix: str, dropped: str) -> None:
    film, out = make_film(tmp_path / f"film{source_suffix}"), tmp_path / f"out{suffix}"
    source = open_source(film)
    kept = plan_kept_streams(film, out, source.start_time)
    attachment = "1 attachment, " if source_suffix == suffix == ".mkv" else ""
    assert kept.dropped == dropped
    expected = f"1 audio track, 1 subtitle track, {attachment}2 chapters, metadata, timecode 10:00:00:00"
    assert kept.kept == expected
    assert other_content(film).startswith("1 audio track, 1 subtitle track") and "timecode" in other_content(film)
    segment = tmp_path / "segment.nut"
    encoding = Encoding(preset="ultrafast")
    with SegmentWriter(segment, source.size, source.colour, source.rate, CLOCK, encoding) as writer:
        for index, frame in source.read_video_frames(range(60)):
            writer.write_frame(frame, float(source.times(index, index + 1)[0]), 1 / 25)
    # The sound starts before the picture.
    offset = FIRST / 25
    assert source.times(0, 1)[0] == pytest.approx(offset, abs=1e-9)
    sound = SoundTrack(open_sound(film), 2.4 + offset)
    assemble([segment], sound, out, duration=2.4 + offset, time_base=CLOCK, kept=kept)

    with av.open(str(out)) as container:
        assert container.metadata["title"] == "The film"
        assert "10:00:00:00" in container.streams.video[0].metadata.values()
        picture = next(container.decode(video=0))
        assert picture.time == pytest.approx(offset, abs=0.001)
        container.seek(0)
        assert [stream.rate for stream in container.streams.audio] == [48000, 44100]
        described = {key.lower(): value for key, value in container.streams.audio[1].metadata.items()}
        assert "Kommentar" in described.values()
        chapters = container.chapters()
        assert [chapter["metadata"]["title"] for chapter in chapters] == ["One", "Two"]
        edges = [float(chapter[name] * chapter["time_base"]) for chapter in chapters for name in ("start", "end")]
        assert edges == pytest.approx([0, 1.5, 1.5, 2.4 + offset], abs=0.002)
        shown = [
            (float(packet.pts * packet.time_base), float(packet.duration * packet.time_base), bytes(packet))
            for packet in container.demux(container.streams.subtitles[0])
            if packet.size > 2
        ]
        assert [text.lstrip(b"\0\5") for _, _, text in shown] == [b"Hello", b"World"]
        assert [time for time, _, _ in shown] == pytest.approx([0.9, 2.4], abs=0.002)
        assert [length for _, length, _ in shown] == pytest.approx([0.7, 0.7], abs=0.002)
        assert len([stream for stream in container.streams if stream.type == "attachment"]) == bool(attachment)
    second = np.concatenate(list(open_sound(out, 1).chunks(44100)))
    assert len(second) / 44100 == pytest.approx(2.4 + offset, abs=0.06)
    # The copied track has the same delay relative to the picture. mkv files round times to 1 ms.
    stored = np.concatenate(list(open_sound(film, 1).chunks(44100)))
    piece = second[30000:60000]
    before = stored[29000:][: len(piece) + 2000]
    lag = int(np.argmax(np.correlate(before, piece, "valid"))) - 1000
    assert abs(lag / 44100) <= 0.0015


def test_a_file_without_other_streams_reports_nothing(tmp_path: Path, shared_media: Path) -> None:
    clip = shared_media / "talk_woman_590p25.mp4"
    assert other_content(clip) == ""
    kept = plan_kept_streams(clip, tmp_path / "out.mkv", 0.0)
    assert (kept.kept, kept.dropped, kept.copied) == ("", "", ())


def test_replaced_video_keeps_the_other_content(tmp_path: Path) -> None:
    film, segment, out = make_film(tmp_path / "film.mkv"), tmp_path / "segment.nut", tmp_path / "out.mkv"
    source = open_source(film)
    with SegmentWriter(segment, source.size, source.colour, source.rate, CLOCK) as writer:
        for index, frame in source.read_video_frames(range(75)):
            writer.write_frame(frame, index / 25, 1 / 25)
    replace_video(
        film,
        segment,
        out,
        times=np.arange(75) / 25,
        start=source.start_time,
        end=3.0,
        time_base=CLOCK,
        colour=source.colour,
    )
    assert other_content(out) == other_content(film)


@pytest.mark.parametrize("source_suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_cover_image_is_kept(tmp_path: Path, source_suffix: str, suffix: str) -> None:
    stored = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(stored, "PNG")
    source, out = tmp_path / "film.mkv", tmp_path / f"out{suffix}"
    with SegmentWriter(tmp_path / "s", (64, 64), BT709, Fraction(25), CLOCK, Encoding(preset="ultrafast")) as writer:
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 99, np.uint8), format="rgb24")
            writer.write_frame(frame.reformat(format="yuv420p"), number / 25, 0.04)
    with av.open(str(source), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        container.add_attachment("cover.png", "image/png", stored.getvalue())
        container.mux(video.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(video.encode(None))
    for path in [tmp_path / "film.mp4"] * (source_suffix == ".mp4") + [out]:
        kept = plan_kept_streams(source, path, 0.0)
        assert (kept.kept, kept.dropped) == ("1 cover image", "")
        assemble([tmp_path / "s"], None, path, duration=0.12, time_base=CLOCK, kept=kept)
        source = path
    with av.open(str(out)) as container:
        cover = container.streams.video[1]
        assert cover.disposition & Disposition.attached_pic
        assert bytes(next(container.demux(cover))) == stored.getvalue()
