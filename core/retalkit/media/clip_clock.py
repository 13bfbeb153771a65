"""Clock of a media file. It maps the timestamps of all streams to the clip's time.

Time 0 of a clip is the start of its earliest video or audio stream, so the delay between the streams is preserved. All
readers of a file use this clock: frames, sound, copied streams and chapters.

Timestamps that jump are made continuous. In transport streams, the clock restarts where recordings were joined, and it
wraps after 26.5 hours. Recorders of live streams also write wrong clocks. A jump shifts all streams by the same amount,
so the streams stay synchronous.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from numpy.typing import NDArray

from retalkit.media.containers import demux, has_pictures, open_media, video_stream

_LONGEST_GAP = 10.0
"""Gap in seconds of all streams that is attributed to the clock. FFmpeg uses the same limit for transport streams."""
_LONGEST_STILL = 600.0
"""Limit as ``_LONGEST_GAP`` for files without sound. A recording of a screen can show one frame for minutes."""
_BACKWARD = 1.0
"""Backward step of presentation times in seconds that is attributed to the clock and not to the order of the frames."""
_BACKWARD_STREAMED = 0.1
"""Backward step of decoding times in seconds that is attributed to the clock. Only the decoding times of transport
streams are reliable. FFmpeg estimates those of mkv files."""
_REORDERED = 16
"""Maximum number of frames by which the order of the file differs from the presentation order (H.264, annex A.3.1)."""
_DENSITY = 0.1
"""Fraction of the usual number of packets above which a stream continues within the gap of a different stream."""
_DISCONTINUITIES = 0x0200
"""FFmpeg's flag AVFMT_TS_DISCONT of formats in which timestamps can jump."""
_MOST_PACKETS = 5000
"""Number of packets after which streams without packets are ignored."""
_NEAR = 1.0
"""Tolerance in seconds for the assignment of a stream to a jump that occurred in a different stream."""


@dataclass(frozen=True, slots=True)
class ClipClock:
    """Mapping from container timestamps to clip time."""

    origin: Fraction = Fraction(0)
    """Container time in seconds of the clip's time 0."""
    shifts: dict[int, list[tuple[int, Fraction]]] = field(default_factory=dict[int, list[tuple[int, Fraction]]])
    """Mapping from stream index to pairs of a packet position and the shift in seconds that applies from this packet.
    The dictionary is empty if no timestamp jumps."""
    warnings: tuple[str, ...] = ()

    @property
    def jumps(self) -> bool:
        return bool(self.shifts)

    def continuous(self, packets: Iterator[Any], stream: Any) -> Iterator[Any]:
        """Yield the packets of one stream from its first packet, with continuous timestamps."""
        changes = self.shifts.get(stream.index, [])
        if not changes:
            yield from packets
            return
        position, change, ticks = 0, 0, 0
        for packet in packets:
            if packet is not None and packet.size:
                while change < len(changes) and changes[change][0] <= position:
                    ticks = round(changes[change][1] / packet.time_base)
                    change += 1
                position += 1
                if packet.pts is not None:
                    packet.pts += ticks
                if packet.dts is not None:
                    packet.dts += ticks
            yield packet


@dataclass(frozen=True, slots=True)
class _Limits:
    forward: float
    backward: float
    reordered: bool
    """Whether the times are presentation times, which are not ascending in the order of the file."""

    def at(self, step: float) -> tuple[float, float]:
        """Return the forward and backward limits of a stream with the usual ``step`` in seconds between packets."""
        widest = _REORDERED * step if self.reordered else 0.0
        return max(self.forward, widest), max(self.backward, widest)


def read_clock(path: Path, track: int | None = None) -> ClipClock:
    """Read the clock of a media file. ``track``: index of the audio stream among the file's audio streams.

    Raises InputError if the file cannot be opened.
    """
    with open_media(path) as container:
        origin = min(_starts(container, path).values(), default=Fraction(0))
    with open_media(path) as container:
        streams = [container.streams[index] for index in _chosen(container, path, track)]
        if not streams:
            return ClipClock(origin)
        streamed = bool(container.format.flags & _DISCONTINUITIES)
        packets = _packets(container, streams, streamed)
        pictures_only = not streamed and len(streams) == 1 and streams[0].type == "video"
    longest = _LONGEST_STILL if pictures_only else _LONGEST_GAP
    limits = _Limits(longest, _BACKWARD_STREAMED if streamed else _BACKWARD, reordered=not streamed)
    if not _may_jump(packets, limits):
        return ClipClock(origin)
    shifts, count = _shifts(packets, limits)
    if not count:
        return ClipClock(origin)
    places = "a place" if count == 1 else f"{count} places"
    warning = (
        f"{path.name}: the timestamps jump at {places}; the parts before and after a jump are joined without a gap"
    )
    return ClipClock(origin, shifts, (warning,))


def _chosen(container: InputContainer, path: Path, track: int | None) -> list[int]:
    """Return the indexes of the video stream and of the selected audio stream."""
    chosen: list[int] = []
    if has_pictures(container):
        chosen.append(video_stream(container, path).index)
    sounds = container.streams.audio
    if sounds:
        default = next((stream for stream in sounds if stream.disposition & Disposition.default), sounds[0])
        chosen.append(default.index if track is None or not 0 <= track < len(sounds) else sounds[track].index)
    return chosen


def _starts(container: InputContainer, path: Path) -> dict[int, Fraction]:
    """Return the time in seconds of the first decoded frame of the video stream and of all audio streams.

    The first decoded audio frame excludes the priming samples of the encoder, in contrast to the stream's start time.
    """
    streams: dict[int, Any] = {stream.index: stream for stream in container.streams.audio}
    if has_pictures(container):
        picture = video_stream(container, path)
        picture.thread_type = "AUTO"
        streams[picture.index] = picture
    starts: dict[int, Fraction] = {}
    packets = demux(container, list(streams.values())) if streams else iter(())
    for _ in range(_MOST_PACKETS):
        if len(starts) == len(streams):
            break
        try:
            packet: Any = next(packets)
            frames: list[Any] = [] if packet.stream.index in starts else packet.decode()
        except StopIteration:
            break
        except FFmpegError:
            continue
        for frame in frames:
            if frame.pts is not None and not frame.is_corrupt:
                starts[packet.stream.index] = frame.pts * Fraction(frame.time_base)
                break
    return starts


def _packets(container: InputContainer, streams: list[Any], streamed: bool) -> NDArray[np.float64]:
    """Return stream index, time, presentation time and duration of all packets in the order of the file, float64
    [packets, 4], times in seconds. Missing times are NaN. The second column contains decoding times if ``streamed`` is
    True, otherwise presentation times."""
    rows: list[tuple[float, float, float, float]] = []
    bases = {stream.index: float(stream.time_base or 0) for stream in streams}
    packets = demux(container, streams)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, FFmpegError):
            break
        if not packet.size:
            continue
        base = bases[packet.stream.index]
        decoded = np.nan if packet.dts is None else packet.dts * base
        shown = decoded if packet.pts is None else packet.pts * base
        decoded = decoded if streamed and packet.dts is not None else shown
        rows.append((packet.stream.index, decoded, shown, (packet.duration or 0) * base))
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def _may_jump(packets: NDArray[np.float64], limits: _Limits) -> bool:
    for index in np.unique(packets[:, 0]):
        times = packets[packets[:, 0] == index, 1]
        forward, backward = limits.at(_usual_step(np.sort(times)))
        steps = np.diff(times[np.isfinite(times)])
        if len(steps) and (steps.min() < -backward or steps.max() > forward):
            return True
    return False


def _shifts(packets: NDArray[np.float64], limits: _Limits) -> tuple[dict[int, list[tuple[int, Fraction]]], int]:
    """Return the shifts of each stream, see ``ClipClock.shifts``, and the number of jumps."""
    parts, lengths = _continuous_parts(packets, limits)
    indexes = [int(index) for index in np.unique(packets[:, 0])]
    reached = dict.fromkeys(indexes, -np.inf)
    shifts: list[Fraction] = []
    for part in range(int(parts.max()) + 1):
        inside = (parts == part) & np.isfinite(packets[:, 2])
        members = {index: inside & (packets[:, 0] == index) for index in indexes}
        members = {index: own for index, own in members.items() if own.any()}
        # A stream that does not jump with the others is joined with its own end.
        end = max((reached[index] for index in members), default=-np.inf)
        shift = end - float(packets[inside, 2].min()) if part and np.isfinite(end) else 0.0
        shifts.append(Fraction(round(shift * 1_000_000), 1_000_000))
        for index, own in members.items():
            reached[index] = float((packets[:, 2] + lengths)[own].max()) + shift
    found: dict[int, list[tuple[int, Fraction]]] = {}
    for index in indexes:
        own_parts = parts[packets[:, 0] == index]
        starts = np.flatnonzero(np.diff(own_parts, prepend=-1))
        found[index] = [(int(start), shifts[own_parts[start]]) for start in starts]
    return found, len(shifts) - 1


def _continuous_parts(packets: NDArray[np.float64], limits: _Limits) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return for each packet the number of its part between two jumps, and its duration in seconds."""
    indexes = [int(index) for index in np.unique(packets[:, 0])]
    times = {index: np.sort(packets[packets[:, 0] == index, 1]) for index in indexes}
    usual = {index: _usual_step(values) for index, values in times.items()}
    bounds = {index: limits.at(step) for index, step in usual.items()}
    parts, lengths = np.zeros(len(packets), np.int64), np.zeros(len(packets))
    part_of, expected = dict.fromkeys(indexes, 0), dict.fromkeys(indexes, np.nan)
    ends = [-np.inf]
    """Latest time of each part."""
    for row, (number, time, _, duration) in enumerate(packets.tolist()):
        index = int(number)
        # The duration of a packet can contain the jump.
        length = min(duration, usual[index]) if duration and usual[index] else duration or usual[index]
        lengths[row] = length
        if np.isfinite(time):
            step = time - expected[index]
            forward, backward = bounds[index]
            if step < -backward or (step > forward and not _others_continue(times, usual, index, time, step)):
                part_of[index] = _part_at(ends, part_of[index], time, limits)
                expected[index] = -np.inf
            expected[index] = np.fmax(expected[index], time + length) if limits.reordered else time + length
            ends[part_of[index]] = max(ends[part_of[index]], time + length)
        parts[row] = part_of[index]
    return parts, lengths


def _part_at(ends: list[float], current: int, time: float, limits: _Limits) -> int:
    """Return the part to which a stream jumps: a part that ends near ``time``, or a new part.

    In the order of the file, frames before a jump can follow frames after the jump.
    """
    first = 0 if limits.reordered else len(ends) - 1
    for part in range(len(ends) - 1, first - 1, -1):
        if part != current and abs(time - ends[part]) <= _NEAR:
            return part
    ends.append(-np.inf)
    return len(ends) - 1


def _usual_step(times: NDArray[np.float64]) -> float:
    """Return the median step of ascending times."""
    steps = np.diff(times[np.isfinite(times)])
    steps = steps[steps > 0]
    return float(np.median(steps)) if len(steps) else 0.0


def _others_continue(
    times: dict[int, NDArray[np.float64]], usual: dict[int, float], index: int, decoded: float, step: float
) -> bool:
    """Return whether a different stream has packets throughout a gap of one stream."""
    for other, values in times.items():
        if other == index:
            continue
        inside = np.searchsorted(values, [decoded - step + _NEAR, decoded - _NEAR])
        if (inside[1] - inside[0]) * usual[other] > _DENSITY * step:
            return True
    return False
