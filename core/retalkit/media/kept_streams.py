"""Streams of the source that are copied to the output: other audio tracks, subtitles, chapters, metadata, timecode and
attachments."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from retalkit.media.containers import has_decoder, open_media, video_stream
from retalkit.media.sound import audio_stream
from retalkit.media.video_codec import container_format

_TEXT_CODECS = frozenset(("subrip", "srt", "mov_text", "webvtt", "ass", "ssa", "text"))
_TECHNICAL = frozenset(
    ("major_brand", "minor_version", "compatible_brands", "encoder", "creation_time", "duration", "timecode")
)
"""Metadata that describes the source file instead of its content."""
_MP4_METADATA = frozenset(
    ("title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright", "grouping")
    + ("lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords", "track", "disc", "location")
    + ("season_number", "episode_sort", "media_type", "hd_video", "compilation", "gapless_playback", "make", "model")
)
"""Metadata keys that FFmpeg writes to mp4 and mov files."""
_COVERS = {"png": ("png", "image/png"), "mjpeg": ("jpg", "image/jpeg"), "bmp": ("bmp", "image/bmp")}
"""Mapping from the codec of a cover image to the suffix and the media type of the attachment in an mkv file."""
_EMPTY_SUBTITLE = b"\0\0"
"""Packet that mp4 and mov files contain between subtitles. The muxer inserts these packets."""
_STREAM_METADATA = ("language", "title", "handler_name")
_MARKUP = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptStreams:
    """Streams and metadata of a source file that an output container can carry."""

    path: Path
    start: float
    """Time in seconds on the source container's clock of time 0 of the output."""
    copied: tuple[int, ...] = ()
    """Indexes of the streams whose packets are copied."""
    converted: tuple[int, ...] = ()
    """Indexes of the text subtitles that are converted to the container's format."""
    attachments: tuple[int, ...] = ()
    covers: tuple[int, ...] = ()
    """Indexes of the cover images that become attachments."""
    chapters: tuple[dict[str, Any], ...] = ()
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    timecode: str = ""
    """SMPTE timecode of the first frame, or an empty string."""
    timecode_rate: Fraction = Fraction(25)
    """Frame rate of the timecode."""
    kept: str = ""
    """Description of what is kept, or an empty string."""
    dropped: str = ""
    """Description of what the container cannot carry, or an empty string."""

    def add_to(self, target: OutputContainer, video: VideoStream) -> dict[int, tuple[Stream, bool]]:
        """Add the streams, chapters and metadata to the target before its header is written.

        Returns a mapping from source stream index to the target's stream, and whether the stream's text is converted.
        """
        added: dict[int, tuple[Stream, bool]] = {}
        with open_media(self.path) as source:
            for index in self.copied:
                stream = source.streams[index]
                added[index] = (target.add_stream_from_template(stream), False)
                _describe(added[index][0], stream)
            for index in self.converted:
                added[index] = (_text_stream(target), True)
                _describe(added[index][0], source.streams[index])
            for index in self.attachments:
                stream: Any = source.streams[index]
                name = stream.metadata.get("filename", f"attachment-{index}")
                target.add_attachment(name, stream.metadata.get("mimetype", "application/octet-stream"), stream.data)
            for number, index in enumerate(self.covers):
                stream = source.streams[index]
                suffix, kind = _COVERS[stream.codec_context.name]
                image = next((bytes(packet) for packet in _readable(source, [stream]) if packet.size), b"")
                # Players search for the name cover (https://www.matroska.org/technical/attachments.html).
                target.add_attachment(f"cover{number or ''}.{suffix}", kind, image)
        target.metadata.update(self.metadata)
        if self.timecode:
            video.metadata["timecode"] = self.timecode
            # FFmpeg writes the timecode track with this frame rate.
            video.codec_context.framerate = self.timecode_rate
        return added

    def add_chapters(self, target: OutputContainer, duration: float) -> None:
        """Add the chapters that start before ``duration`` seconds, relative to the output's start."""
        chapters: list[Any] = []
        for chapter in self.chapters:
            base = Fraction(chapter["time_base"])
            start, end = (float(chapter[name] * base) - self.start for name in ("start", "end"))
            if end > 0 and start < duration:
                times = {"start": round(max(start, 0.0) * 1000), "end": round(min(end, duration) * 1000)}
                chapters.append({**chapter, **times, "id": len(chapters) + 1, "time_base": Fraction(1, 1000)})
        if chapters:
            target.set_chapters(chapters)

    def packets(self, added: dict[int, tuple[Stream, bool]], duration: float) -> Iterator[av.Packet[Any]]:
        """Yield the packets of the added streams with times relative to the output's start.

        Packets that end before the first frame or start after ``duration`` seconds are omitted.
        """
        if not added:
            return
        # mp4 and mov files hide the samples before time 0. In mkv files, earlier packets would delay the picture.
        matroska = next(iter(added.values()))[0].container.format.name == "matroska"
        with open_media(self.path) as source:
            chosen = [source.streams[index] for index in added]
            for packet in _readable(source, chosen):
                base = packet.time_base
                if packet.size and packet.stream.disposition & Disposition.attached_pic:
                    # A cover image has no time.
                    packet.pts = packet.dts = 0
                    packet.stream = added[packet.stream.index][0]
                    yield packet
                    continue
                if packet.pts is None or not packet.size:
                    continue
                shift = round(Fraction(self.start) / base)
                begin = float((packet.pts - shift) * base)
                end = begin + float((packet.duration or 0) * base)
                if end < 0 or (matroska and begin < 0) or begin >= duration or bytes(packet) == _EMPTY_SUBTITLE:
                    continue
                stream, convert = added[packet.stream.index]
                if convert:
                    text = _subtitle_text(bytes(packet), source.streams[packet.stream.index].codec_context.name)
                    if not text:
                        continue
                    length = packet.duration
                    packet = av.Packet(_encode_text(text, stream))
                    packet.pts = packet.dts = max(round(begin * 1000), 0)
                    packet.duration = round(float((length or 0) * base) * 1000)
                    packet.time_base = Fraction(1, 1000)
                else:
                    packet.pts -= shift
                    packet.dts = packet.pts if packet.dts is None else packet.dts - shift
                packet.stream = stream
                yield packet


def plan_kept_streams(path: Path, output: Path, start: float, replaced_track: int | None = None) -> KeptStreams:
    """Decide which streams of a source file an output file can carry.

    ``start``: time in seconds on the source container's clock of time 0 of the output. ``replaced_track``: audio
    track that the sound of the output replaces; by default, the default track.

    Raises:
        InputError: the source cannot be opened.
        OutputError: the suffix of ``output`` is unknown.
    """
    name = container_format(output)
    copied: list[int] = []
    converted: list[int] = []
    attachments: list[int] = []
    covers: list[int] = []
    kept: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    with open_media(path) as source:
        chapters: list[Any] = list(source.chapters())
        for stream, label in _other_streams(source, path, replaced_track):
            index = stream.index
            if stream.type == "attachment":
                fits = name == "matroska"
                attachments += [index] if fits else []
            elif name == "matroska" and stream.disposition & Disposition.attached_pic:
                fits = has_decoder(stream) and stream.codec_context.name in _COVERS
                covers += [index] if fits else []
            elif _can_copy(stream, name):
                fits = True
                copied.append(index)
            else:
                fits = stream.type == "subtitle" and has_decoder(stream) and stream.codec_context.name in _TEXT_CODECS
                converted += [index] if fits else []
            (kept if fits else dropped)[label] += 1
        metadata = _content_metadata(source.metadata)
        unknown = [] if name == "matroska" else [key for key in metadata if key.lower() not in _MP4_METADATA]
        timecode = _timecode(source)
        picture = video_stream(source, path)
        rate = Fraction(picture.average_rate or picture.guessed_rate or 25)
    kept_parts = [*_counted(kept), *_counted(Counter({"chapter": len(chapters)}))]
    carried = {key: value for key, value in metadata.items() if key not in unknown}
    kept_parts += ["metadata"] if carried else []
    kept_parts += [f"timecode {timecode}"] if timecode else []
    dropped_parts = _counted(dropped)
    dropped_parts += [f"metadata ({', '.join(sorted(unknown))})"] if unknown else []
    return KeptStreams(
        path=path,
        start=start,
        copied=tuple(copied),
        converted=tuple(converted),
        attachments=tuple(attachments),
        covers=tuple(covers),
        chapters=tuple(chapters),
        metadata=carried,
        timecode=timecode,
        timecode_rate=rate,
        kept=", ".join(kept_parts),
        dropped=", ".join(dropped_parts),
    )


def other_content(path: Path, replaced_track: int | None = None) -> str:
    """Return a description of the streams and metadata of a file that an output without kept streams does not contain,
    or an empty string."""
    with open_media(path) as source:
        found = Counter(label for _, label in _other_streams(source, path, replaced_track))
        parts = [*_counted(found), *_counted(Counter({"chapter": len(source.chapters())}))]
        metadata = _content_metadata(source.metadata)
        parts += [f"metadata ({', '.join(sorted(key.lower() for key in metadata))})"] if metadata else []
        parts += ["timecode"] if _timecode(source) else []
    return ", ".join(parts)


def _other_streams(source: InputContainer, path: Path, replaced_track: int | None) -> Iterator[tuple[Stream, str]]:
    """Yield the streams other than the picture and its sound, each with a label in the singular."""
    replaced = audio_stream(source, path, replaced_track).index if source.streams.audio else -1
    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    pictures = [stream.index for stream in source.streams.video if not stream.disposition & covers]
    # mov files store chapters and the timecode as additional data streams.
    ignored = 1 if source.chapters() and "mov" in source.format.name else 0
    for stream in source.streams:
        if stream.type == "audio" and stream.index != replaced:
            yield stream, "audio track"
        elif stream.type == "subtitle":
            yield stream, "subtitle track"
        elif stream.type == "attachment":
            yield stream, "attachment"
        elif stream.type == "video" and stream.index not in pictures:
            yield stream, "cover image"
        elif stream.type == "video" and stream.index != pictures[0]:
            yield stream, "video track"
        elif stream.type == "data" and "timecode" not in stream.metadata:
            if ignored:
                ignored -= 1
                continue
            yield stream, "data track"


def _can_copy(stream: Stream, format_name: str) -> bool:
    """Return whether the container accepts the stream, determined by writing a header with this stream only."""
    if stream.type not in ("audio", "subtitle") and not stream.disposition & Disposition.attached_pic:
        return False
    try:
        with av.open(io.BytesIO(), "w", format=format_name) as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
    except (FFmpegError, ValueError):
        return False
    return True


def _text_stream(target: OutputContainer) -> Stream:
    stream = target.add_mux_stream("subrip" if target.format.name == "matroska" else "mov_text")
    stream.time_base = Fraction(1, 1000)
    return stream


def _describe(target: Stream, source: Stream) -> None:
    found = {key.lower(): value for key, value in source.metadata.items()}
    title = found.get("title") or found.get("name")
    for key in _STREAM_METADATA:
        value = title if key == "title" else found.get(key)
        if value and not (key == "handler_name" and target.container.format.name == "matroska"):
            target.metadata[key] = value
    target.disposition = source.disposition & ~Disposition.default


def _content_metadata(metadata: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if key.lower() not in _TECHNICAL}


def _timecode(source: InputContainer) -> str:
    places = [*(stream.metadata for stream in source.streams), source.metadata]
    return next((value for place in places for key, value in place.items() if key.lower() == "timecode"), "")


def _counted(counts: Counter[str]) -> list[str]:
    return [f"{count} {label}{'s' if count > 1 else ''}" for label, count in counts.items() if count]


def _readable(source: InputContainer, streams: list[Stream]) -> Iterator[av.Packet[Any]]:
    """Yield the packets of the streams, up to the point where a truncated file ends."""
    packets = source.demux(streams)
    while True:
        try:
            yield next(packets)
        except (StopIteration, FFmpegError):
            return


def _subtitle_text(data: bytes, codec: str) -> str:
    """Return the plain text of a subtitle packet."""
    if codec == "mov_text":
        data = data[2 : 2 + int.from_bytes(data[:2], "big")]
    text = data.decode("utf-8", errors="replace").strip("\0")
    if codec in ("ass", "ssa"):
        text = text.split(",", 8)[-1].replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ")
    return _MARKUP.sub("", text).strip()


def _encode_text(text: str, stream: Stream) -> bytes:
    data = text.encode("utf-8")[:0xFFFF]
    return data if stream.container.format.name == "matroska" else len(data).to_bytes(2, "big") + data
