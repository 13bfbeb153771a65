"""Replacement of a file's video stream. All other streams are copied."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from retalkit.media.colour import Colour
from retalkit.media.containers import file_url
from retalkit.media.encoding import SEGMENT_LEAD, write_error
from retalkit.media.muxing import add_video_stream
from retalkit.media.video_codec import container_format


def replace_video(
    source: Path,
    segment: Path,
    target: Path,
    *,
    times: NDArray[np.float64],
    start: float,
    end: float,
    time_base: Fraction,
    colour: Colour,
) -> None:
    """Write a copy of ``source`` to ``target`` whose video stream is that of ``segment``.

    ``segment``: file of ``SegmentWriter``. ``times``: presentation times of its frames in seconds from the first frame,
    float64 [T]. ``end``: end of the last frame. ``start``: time of the first frame in ``source``.

    Raises:
        OutputError: ``target`` cannot be written.
    """
    name = container_format(target)
    options = {"movflags": "faststart"} if name in ("mp4", "mov") else {}
    try:
        with (
            av.open(file_url(source)) as given,
            av.open(file_url(segment)) as encoded,
            av.open(file_url(target), "w", format=name, options=options) as written,
        ):
            written.metadata.update(given.metadata)
            replaced = given.streams.video[0]
            streams: dict[int, Any] = {}
            for stream in given.streams:
                if stream is replaced:
                    streams[stream.index] = add_video_stream(written, encoded.streams.video[0], colour)
                    streams[stream.index].time_base = time_base
                    _keep_timecode(replaced, streams[stream.index])
                elif stream.type in ("audio", "video", "subtitle"):
                    streams[stream.index] = written.add_stream_from_template(stream)
                    streams[stream.index].metadata.update(stream.metadata)
                    streams[stream.index].disposition = stream.disposition
                elif stream.type == "attachment":
                    attached: Any = stream
                    mime = attached.metadata.get("mimetype", "application/octet-stream")
                    written.add_attachment(attached.metadata.get("filename", "attachment"), mime, attached.data)
            if chapters := given.chapters():
                written.set_chapters(chapters)
            video = _video_packets(segment, times, start, end, time_base)
            pending = next(video, None)
            copied = [stream for stream in given.streams if stream is not replaced and stream.index in streams]
            for packet in given.demux(copied) if copied else ():
                if packet.dts is None:
                    continue
                while pending is not None and _decode_time(pending) <= _decode_time(packet):
                    pending.stream = streams[replaced.index]
                    written.mux(pending)
                    pending = next(video, None)
                packet.stream = streams[packet.stream.index]
                written.mux(packet)
            while pending is not None:
                pending.stream = streams[replaced.index]
                written.mux(pending)
                pending = next(video, None)
    except (FFmpegError, OSError) as error:
        raise write_error(target, error) from error


def _keep_timecode(replaced: Any, video: Any) -> None:
    """Copy the timecode of the replaced video stream, from which FFmpeg writes the timecode track."""
    timecode = next((value for key, value in replaced.metadata.items() if key.lower() == "timecode"), "")
    if timecode:
        video.metadata["timecode"] = timecode
        video.codec_context.framerate = Fraction(replaced.average_rate or 25)


def _video_packets(
    segment: Path, times: NDArray[np.float64], start: float, end: float, time_base: Fraction
) -> Iterator[Any]:
    """Yield the segment's packets with the times of the output. Decoding times follow ``mux``."""
    ticks = np.array([round(time / time_base) for time in times.tolist()], np.int64)

    def shown(packet: Any) -> int:
        return round((packet.pts * packet.time_base - SEGMENT_LEAD) / time_base)

    ranks = np.searchsorted(ticks, np.array([shown(packet) for packet in _packets(segment)], np.int64))
    delay = max(int((np.arange(len(ranks)) - ranks).max()), 0)
    step = max(int(np.median(np.diff(ticks))) if len(ticks) > 1 else 1, 1)
    last, first = round(end / time_base), round(start / time_base)
    for position, (packet, rank) in enumerate(zip(_packets(segment), ranks.tolist(), strict=True)):
        following = int(ticks[rank + 1]) if rank + 1 < len(ticks) else last
        packet.pts = int(ticks[rank])
        packet.dts = int(ticks[position - delay]) if position >= delay else int(ticks[0]) - (delay - position) * step
        packet.duration = max(following - packet.pts, 1)
        packet.pts, packet.dts = packet.pts + first, packet.dts + first
        packet.time_base = time_base
        yield packet


def _packets(segment: Path) -> Iterator[Any]:
    with av.open(file_url(segment)) as container:
        yield from (packet for packet in container.demux(container.streams.video[0]) if packet.size)


def _decode_time(packet: Any) -> Fraction:
    return (packet.dts or 0) * packet.time_base
