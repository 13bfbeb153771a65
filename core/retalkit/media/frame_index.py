"""One look over a video's packets: which frames it has, when they are shown, and where decoding can start."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream
from numpy.typing import NDArray

from retalkit.errors import InputError
from retalkit.media.colour import Colour, colour_of
from retalkit.media.containers import open_media, picture_stream, reason
from retalkit.media.yuv_frames import Orientation, orientation_of


@dataclass(frozen=True, slots=True, eq=False)
class FrameIndex:
    """Every frame of a video in presentation order."""

    timestamps: NDArray[np.int64]
    """int64 [frames], presentation timestamps in units of ``time_base``, strictly ascending."""
    keyframes: NDArray[np.int64]
    """int64, positions in ``timestamps`` at which decoding can start, ascending."""
    time_base: Fraction
    end: int
    """Timestamp at which the last frame ends."""
    counted: bool
    """The file has no usable timestamps: frames are told apart by counting them from the start."""
    width: int
    """Of the frames as stored."""
    height: int
    colour: Colour
    orientation: Orientation
    rate: Fraction
    """Mean frames a second."""
    sample_aspect: Fraction
    """Width of a stored pixel by its height; 1 for square pixels."""
    warnings: tuple[str, ...]


def demuxed(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet[VideoStream] | None]:
    """The stream's packets, then None; a file that breaks off just ends there."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, FFmpegError):
            yield None
            return
        if packet.size:
            yield packet


def decoded(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    """Frames in presentation order from where the container stands; packets that do not decode are left out."""
    for packet in demuxed(container, stream):
        try:
            frames = stream.decode(packet)
        except FFmpegError:
            continue
        for frame in frames:
            if not frame.is_corrupt:
                yield frame


def scan_video(path: Path) -> FrameIndex:
    """Reads all packets and decodes the first frame. Where the container does not vouch for the number of frames, the
    last group of pictures is decoded too, and where that contradicts the packets, everything is.

    Raises:
        InputError: as ``open_media``; or there is no picture, or no frame of it decodes.
    """
    with open_media(path) as container:
        stream = picture_stream(container, path)
        if stream.time_base is None:
            raise InputError(f"{path} has no clock for its picture: convert it to mp4 first")
        packets = _packet_index(container, stream)

    with open_media(path) as container:
        stream = picture_stream(container, path)
        stream.thread_type = "AUTO"
        try:
            first = next(decoded(container, stream), None)
        except FFmpegError as error:
            raise InputError(f"{path} cannot be decoded ({reason(error)}): convert it to mp4 first") from error
        if first is None:
            raise InputError(f"{path} has no frame that decodes: the file is damaged, copy or record it again")
        time_base = Fraction(stream.time_base or Fraction(1, 90000))
        rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        stream_end = None
        if stream.duration and stream.start_time is not None:
            stream_end = stream.start_time + stream.duration
        sample_aspect = Fraction(stream.sample_aspect_ratio or 1)

    warnings: list[str] = []
    checked = _checked(path, packets, first) if packets is not None else None
    counted = False
    if checked is None:
        timestamps, keyframes, last_duration, counted = _decode_all(path)
        if counted:
            time_base, stream_end = 1 / rate, None
    else:
        timestamps, keyframes, last_duration = checked
    expected = 0 if packets is None else packets.expected
    if len(timestamps) < expected:
        warnings.append(
            f"{path.name}: {expected - len(timestamps)} of {expected} frames do not decode; "
            f"the {len(timestamps)} that do are used"
        )
        stream_end = None
    last = int(timestamps[-1])
    step = max(round(1 / rate / time_base), 1)
    end = last + (last_duration or step)
    if stream_end is not None and last < stream_end < end:
        end = stream_end
    if len(timestamps) > 1:
        rate = Fraction(len(timestamps)) / (time_base * (end - int(timestamps[0])))
    return FrameIndex(
        timestamps=timestamps,
        keyframes=keyframes,
        time_base=time_base,
        end=end,
        counted=counted,
        width=first.width,
        height=first.height,
        colour=colour_of(first),
        orientation=orientation_of(first),
        rate=rate.limit_denominator(100000),
        sample_aspect=sample_aspect if sample_aspect > 0 else Fraction(1),
        warnings=tuple(warnings),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Packets:
    timestamps: NDArray[np.int64]
    is_key: NDArray[np.bool_]
    durations: NDArray[np.int64]
    expected: int
    """Frames that should be there."""
    whole: bool
    """The container says how many packets there are, and all came out undamaged."""


def _packet_index(container: InputContainer, stream: VideoStream) -> _Packets | None:
    """All packets that will be shown, sorted; None where their timestamps are missing or not unique."""
    timestamps, durations, is_key = array("q"), array("q"), array("b")
    reliable, hidden, damaged = True, 0, 0
    for packet in demuxed(container, stream):
        if packet is None:
            continue
        damaged += packet.is_corrupt
        if packet.is_discard:
            hidden += 1
            continue
        if packet.pts is None:
            reliable = False
            break
        timestamps.append(packet.pts)
        durations.append(packet.duration or 0)
        is_key.append(packet.is_keyframe)
    if not reliable or not timestamps:
        return None
    times = np.frombuffer(timestamps, dtype=np.int64)
    order = np.argsort(times, kind="stable")
    times = times[order]
    if np.any(np.diff(times) <= 0):
        return None
    return _Packets(
        timestamps=times,
        is_key=np.frombuffer(is_key, dtype=np.int8)[order] != 0,
        durations=np.frombuffer(durations, dtype=np.int64)[order],
        expected=max(len(times), stream.frames - hidden),
        whole=not damaged and stream.frames == len(times) + hidden,
    )


def _checked(
    path: Path, packets: _Packets, first: av.VideoFrame
) -> tuple[NDArray[np.int64], NDArray[np.int64], int] | None:
    """The packets' frames less a tail that does not decode; None where decoding tells another story."""
    keyframes = np.flatnonzero(packets.is_key)
    if first.pts != packets.timestamps[0] or not len(keyframes) or keyframes[0] != 0:
        return None
    if packets.whole:
        return packets.timestamps, keyframes, int(packets.durations[-1])
    start = int(keyframes[-1])
    with open_media(path) as container:
        stream = picture_stream(container, path)
        stream.thread_type = "AUTO"
        if start > 0:
            container.seek(int(packets.timestamps[start]), stream=stream)
        tail = np.array([frame.pts for frame in decoded(container, stream) if frame.pts is not None], dtype=np.int64)
    tail = tail[tail >= packets.timestamps[start]]
    expected = packets.timestamps[start:]
    if not len(tail) or len(tail) > len(expected) or np.any(tail != expected[: len(tail)]):
        return None
    count = start + len(tail)
    return packets.timestamps[:count], keyframes, int(packets.durations[count - 1])


def _decode_all(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], int, bool]:
    timestamps, keys = array("q"), array("q")
    usable, last_duration, count = True, 0, 0
    with open_media(path) as container:
        stream = picture_stream(container, path)
        stream.thread_type = "AUTO"
        for frame in decoded(container, stream):
            if frame.pts is None or (timestamps and frame.pts <= timestamps[-1]):
                usable = False
            timestamps.append(frame.pts or 0)
            if frame.key_frame:
                keys.append(count)
            last_duration = frame.duration
            count += 1
    if not count:
        raise InputError(f"{path} has no frame that decodes: the file is damaged, copy or record it again")
    if not usable:
        return np.arange(count, dtype=np.int64), np.zeros(1, dtype=np.int64), 1, True
    keyframes = np.frombuffer(keys, dtype=np.int64) if keys else np.zeros(1, dtype=np.int64)
    return np.frombuffer(timestamps, dtype=np.int64), keyframes, last_duration, False
