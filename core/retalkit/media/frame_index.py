"""Frame index of a video, which contains timestamps and keyframes and is built from a packet scan."""

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
from retalkit.media.clean_aperture import clean_aperture
from retalkit.media.clip_clock import ClipClock, read_clock
from retalkit.media.colour import Colour, colour_of
from retalkit.media.containers import demux, open_media, reason, video_stream
from retalkit.media.hdr import HdrMetadata, hdr_metadata_of
from retalkit.media.matroska_crop import matroska_crop
from retalkit.media.pixel_format import YUV420P, PixelFormat, format_like
from retalkit.media.yuv_frames import Orientation, orientation_of

_LONGEST_LAST_FRAME = 10
"""Maximum duration of the last frame, in mean frame intervals, if only the end of the stream is known."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameIndex:
    """Index of all frames of a video in presentation order."""

    timestamps: NDArray[np.int64]
    """Presentation timestamps of the container in units of ``time_base``, int64 [frames], strictly ascending."""
    ticks: NDArray[np.int64]
    """Presentation times of the clip in units of ``time_base``, int64 [frames], strictly ascending."""
    keyframes: NDArray[np.int64]
    """Positions in ``timestamps`` at which decoding can start, int64 [keyframes], ascending."""
    time_base: Fraction
    end: int
    """End time of the last frame in units of ``time_base``, on the scale of ``ticks``."""
    origin: Fraction
    """Time in seconds of the clip's time 0 on the container's clock."""
    counted: bool
    """Whether frames are identified by counting from the start because timestamps are missing or not ascending."""
    width: int
    """Width of the stored frames in pixels, before rotation."""
    height: int
    """Height of the stored frames in pixels, before rotation."""
    colour: Colour
    orientation: Orientation
    rate: Fraction
    """Mean frame rate in frames per second."""
    sample_aspect: Fraction
    """Sample aspect ratio: width of a stored pixel divided by its height. Square pixels have the ratio 1."""
    warnings: tuple[str, ...]
    missing: int = 0
    """Number of frames that the container declares, and that the index omits because they cannot be decoded."""
    pixel_format: PixelFormat = YUV420P
    """Smallest supported format that represents all stored samples."""
    hdr: HdrMetadata = HdrMetadata()
    stored_size: tuple[int, int] | None = None
    """Size of the frames before cropping, or None if the frames are not cropped."""
    interlaced: bool = False
    """Whether the frames are deinterlaced."""
    crop: tuple[int, int, int, int] | None = None
    """Left, top, width and height of the shown part of the stored frames, or None for the whole frames."""


def read_packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet[VideoStream] | None]:
    """Yield the packets of a stream, followed by None.

    In a truncated file, reading stops after the last complete packet.
    """
    packets = demux(container, stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, FFmpegError):
            yield None
            return
        if packet.size:
            yield packet


def decode_frames(
    container: InputContainer, stream: VideoStream, clock: ClipClock | None = None
) -> Iterator[av.VideoFrame]:
    """Yield frames in presentation order from the current position. Packets that cannot be decoded are skipped.

    ``clock``: clock that makes the timestamps continuous. Decoding must then start at the first packet.
    """
    packets = read_packets(container, stream)
    for packet in packets if clock is None else clock.continuous(packets, stream):
        try:
            frames = stream.decode(packet)
        except FFmpegError:
            continue
        for frame in frames:
            if not frame.is_corrupt:
                yield frame


def scan_video(path: Path) -> FrameIndex:
    """Build the index of a video from its packets and its first frame.

    If the container does not declare the frame count, or some packets are damaged, the function decodes the last group
    of pictures to verify the index. If the decoded frames contradict the packets, the function decodes the complete
    video.

    Raises:
        InputError: ``open_media`` cannot open the file, or the file has no video stream, no timestamps or no frame that
            can be decoded.
    """
    with open_media(path) as container:
        stream = video_stream(container, path)
        if stream.time_base is None:
            raise InputError(
                f"{path}: the video stream has no time base; convert the file to mp4", code="no-timestamps"
            )
        packets = _packet_index(container, stream)

    with open_media(path) as container:
        stream = video_stream(container, path)
        stream.thread_type = "AUTO"
        try:
            first = next(decode_frames(container, stream), None)
        except FFmpegError as error:
            raise InputError(
                f"{path}: the video cannot be decoded ({reason(error)}); convert the file to mp4",
                code="undecodable-video",
            ) from error
        if first is None:
            raise _no_frames_error(path)
        time_base = Fraction(stream.time_base or Fraction(1, 90000))
        rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        stream_end = None
        if stream.duration and stream.start_time is not None:
            stream_end = stream.start_time + stream.duration
        sample_aspect = Fraction(stream.sample_aspect_ratio or 1)
        alpha = _has_alpha(container, stream, first)
        tracks = [each.index for each in container.streams.video]
        crop = clean_aperture(path, stream.id, first.width, first.height)
        crop = crop or matroska_crop(path, tracks.index(stream.index), first.width, first.height)

    clock = read_clock(path)
    warnings: list[str] = list(clock.warnings)
    located = True
    verified = _verify(path, packets, first) if packets is not None and not clock.jumps else None
    usable = True
    if verified is None:
        timestamps, keyframes, last_duration, usable, located = _decode_all(path, clock)
        if not usable:
            time_base = 1 / rate
        if not located:
            stream_end = None
    else:
        timestamps, keyframes, last_duration = verified
    expected = 0 if packets is None else packets.expected
    if len(timestamps) < expected:
        warnings.append(
            f"{path.name}: {expected - len(timestamps)} of {expected} frames cannot be decoded; "
            f"the remaining {len(timestamps)} frames are used"
        )
        stream_end = None
    last = int(timestamps[-1])
    step = max(round(1 / rate / time_base), 1)
    end = last + (last_duration or step)
    longest = end if last_duration else last + _LONGEST_LAST_FRAME * step
    if stream_end is not None and last < stream_end < longest:
        end = stream_end
    if len(timestamps) > 1:
        rate = Fraction(len(timestamps)) / (time_base * (end - int(timestamps[0])))
    warnings += _picture_warnings(path, first, alpha)
    warnings += rate_warnings(path, np.diff(timestamps) * float(time_base))
    # Files without usable timestamps start at time 0.
    start = round(clock.origin / time_base) if usable else 0
    return FrameIndex(
        timestamps=timestamps if located else np.arange(len(timestamps), dtype=np.int64),
        ticks=timestamps - start,
        keyframes=keyframes,
        time_base=time_base,
        end=end - start,
        origin=start * time_base,
        counted=not located,
        width=crop[2] if crop else first.width,
        height=crop[3] if crop else first.height,
        stored_size=(first.width, first.height) if crop else None,
        crop=crop,
        colour=colour_of(first),
        orientation=orientation_of(first),
        rate=rate.limit_denominator(100000),
        sample_aspect=sample_aspect if sample_aspect > 0 else Fraction(1),
        warnings=tuple(warnings),
        missing=max(expected - len(timestamps), 0),
        interlaced=first.interlaced_frame,
        pixel_format=format_like(first.format.name),
        hdr=hdr_metadata_of(first),
    )


LOWEST_RATE = 15
"""Frame rate in frames per second below which lip motion is not recognisable."""


def rate_warnings(path: Path, steps: NDArray[np.float64]) -> list[str]:
    """Return a warning if the frame rate is too low for lip motion. ``steps``: intervals between frames in seconds,
    float64 [frames - 1]. Pauses have no effect on the median."""
    rate = 1 / float(np.median(steps)) if len(steps) else LOWEST_RATE
    # Rounded timestamps must not lower the rate.
    if rate >= LOWEST_RATE * 0.995:
        return []
    return [
        f"{path.name}: the video has only {rate:.3g} frames per second, which is too few for lip motion; "
        "convert it to 25 frames per second"
    ]


def _picture_warnings(path: Path, first: av.VideoFrame, alpha: bool) -> list[str]:
    """Return warnings about properties of the picture that the output does not have."""
    warnings: list[str] = []
    if first.interlaced_frame:
        warnings.append(f"{path.name}: the video is interlaced; it is deinterlaced, and the frame rate is kept")
    if alpha:
        warnings.append(f"{path.name}: the transparency of the video is not kept")
    return warnings


def _has_alpha(container: InputContainer, stream: VideoStream, first: av.VideoFrame) -> bool:
    """Return whether the video has transparent pixels."""
    if stream.metadata.get("alpha_mode") == "1":
        # FFmpeg's decoders of VP8 and VP9 ignore the alpha channel.
        return True
    if not any(component.is_alpha for component in first.format.components):
        return False
    # All GIF files are decoded with an alpha channel.
    return container.format.name != "gif" or int(first.to_ndarray(format="rgba")[..., 3].min()) < 255


@dataclass(frozen=True, slots=True, eq=False)
class _Packets:
    timestamps: NDArray[np.int64]
    is_key: NDArray[np.bool_]
    durations: NDArray[np.int64]
    """Durations in ticks. The duration of the last packet is 0 if the packets do not tell when its frame ends."""
    expected: int
    """Expected frame count."""
    complete: bool
    """Whether the container declares the packet count and all packets are undamaged."""


def _packet_index(container: InputContainer, stream: VideoStream) -> _Packets | None:
    """Return all displayed packets in presentation order, or None if timestamps are missing or duplicated."""
    timestamps, durations, is_key = array("q"), array("q"), array("b")
    reliable, hidden, damaged = True, 0, 0
    for packet in read_packets(container, stream):
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
    shown = np.frombuffer(durations, dtype=np.int64)[order]
    if order[-1] != len(order) - 1:
        # The duration of a packet in mp4 is the distance to the next packet in decoding order.
        shown[-1] = 0
    if np.any(np.diff(times) <= 0):
        return None
    return _Packets(
        timestamps=times,
        is_key=np.frombuffer(is_key, dtype=np.int8)[order] != 0,
        durations=shown,
        expected=max(len(times), stream.frames - hidden),
        complete=not damaged and stream.frames == len(times) + hidden,
    )


def _verify(
    path: Path, packets: _Packets, first: av.VideoFrame
) -> tuple[NDArray[np.int64], NDArray[np.int64], int] | None:
    """Return timestamps, keyframes and last duration, excluding trailing frames that cannot be decoded.

    The function returns None if the decoded frames contradict the packets.
    """
    keyframes = np.flatnonzero(packets.is_key)
    if first.pts != packets.timestamps[0] or not len(keyframes) or keyframes[0] != 0:
        return None
    if packets.complete:
        return packets.timestamps, keyframes, int(packets.durations[-1])
    start = int(keyframes[-1])
    with open_media(path) as container:
        stream = video_stream(container, path)
        stream.thread_type = "AUTO"
        if start > 0:
            try:
                container.seek(int(packets.timestamps[start]), stream=stream)
            except FFmpegError:
                # Streams without a container cannot be searched.
                return None
        tail = np.array(
            [frame.pts for frame in decode_frames(container, stream) if frame.pts is not None], dtype=np.int64
        )
    tail = tail[tail >= packets.timestamps[start]]
    expected = packets.timestamps[start:]
    if not len(tail) or len(tail) > len(expected) or np.any(tail != expected[: len(tail)]):
        return None
    count = start + len(tail)
    return packets.timestamps[:count], keyframes, int(packets.durations[count - 1])


def _decode_all(path: Path, clock: ClipClock) -> tuple[NDArray[np.int64], NDArray[np.int64], int, bool, bool]:
    """Decode the complete file and return continuous timestamps, keyframes, last duration, whether the timestamps are
    usable, and whether they locate the frames in the file. Unusable timestamps are replaced by the positions of the
    frames."""
    timestamps, keys, missing = array("q"), array("q"), array("q")
    last_duration, count = 0, 0
    with open_media(path) as container:
        stream = video_stream(container, path)
        stream.thread_type = "AUTO"
        for frame in decode_frames(container, stream, clock):
            shown = frame.pts
            if shown is None:
                missing.append(count)
                shown = 0
            elif clock.jumps and timestamps and shown <= timestamps[-1]:
                # The parts before and after a jump can overlap by one frame.
                shown = timestamps[-1] + 1
            timestamps.append(shown)
            if frame.key_frame:
                keys.append(count)
            last_duration = frame.duration
            count += 1
    if not count:
        raise _no_frames_error(path)
    times = np.frombuffer(timestamps, dtype=np.int64)
    if missing and 2 * len(missing) <= count:
        times = _fill(times, np.array(missing))
    elif missing:
        times = np.zeros(count, np.int64)
    located = not clock.jumps and not missing
    if np.any(np.diff(times) <= 0) or (missing and count == 1):
        return np.arange(count, dtype=np.int64), np.zeros(1, dtype=np.int64), 1, False, False
    keyframes = np.frombuffer(keys, dtype=np.int64) if keys and located else np.zeros(1, dtype=np.int64)
    return times, keyframes, last_duration, True, located


def _fill(times: NDArray[np.int64], missing: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the timestamps with the ``missing`` ones interpolated, or extrapolated at the start and the end.

    mkv files can store packets before time 0, for which FFmpeg returns no timestamps.
    """
    known = np.setdiff1d(np.arange(len(times)), missing)
    step = float(np.median(np.diff(times[known]) / np.diff(known))) if len(known) > 1 else 1.0
    filled = np.interp(np.arange(len(times)), known, times[known])
    before, after = np.arange(known[0]), np.arange(known[-1] + 1, len(times))
    filled[before] = times[known[0]] - (known[0] - before) * step
    filled[after] = times[known[-1]] + (after - known[-1]) * step
    return np.rint(filled).astype(np.int64)


def _no_frames_error(path: Path) -> InputError:
    return InputError(
        f"{path}: no frame can be decoded (the file is damaged); copy or record the file again",
        code="undecodable-video",
    )
