"""Segments and sound joined into the file that the user asked for, without encoding the picture again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream
from numpy.typing import NDArray

from retalkit.errors import OutputError
from retalkit.media.containers import reason
from retalkit.media.encoding import SEGMENT_LEAD
from retalkit.media.sound import SoundSource

_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_AAC_FRAME = 1024
SOUND_BIT_RATE = 192_000
"""Bits a second of the AAC sound; less where AAC does not allow as much at a low sample rate."""


@dataclass(frozen=True, slots=True)
class SoundTrack:
    """The sound of the output: as given, not the cleaned speech that drives the mouth."""

    source: SoundSource
    duration: float | None = None
    """Seconds after which it is cut; None: to its end."""


def check_output(path: Path, force: bool = False, inputs: Iterable[Path] = ()) -> None:
    """Tells before any work whether the result can be written.

    Raises:
        OutputError: unknown suffix; the folder is missing or cannot be written to; the file exists and ``force`` is
            not given; or it is one of the inputs, which ``force`` does not allow either.
    """
    _format_of(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder: name a file in it, such as {path / 'out.mp4'}")
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(f"{folder} is not a folder that exists: make it first or write elsewhere")
    for given in inputs:
        if path.exists() and given.exists() and path.samefile(given):
            raise OutputError(f"{path} is one of the inputs: write to another file")
    if path.exists() and not force:
        raise OutputError(f"{path} exists already: use --force to replace it, or write to another file")
    try:
        # Asking for permission is not enough: root has it on read-only file systems too.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{folder} cannot be written to ({reason(error)}): write elsewhere") from error


def assemble(
    segments: Sequence[Path],
    sound: SoundTrack | None,
    out: Path,
    *,
    duration: float,
    time_base: Fraction,
    frames: int | None = None,
) -> None:
    """Copies the segments' H.264 packets in order into ``out``, adds the sound as AAC, and gives ``out`` its name when
    it is whole (an existing file is replaced).

    Presentation times are those given to ``SegmentWriter.write_frame`` (mkv rounds them to 1 ms); the last frame ends
    at ``duration`` seconds. Sound and picture both start at 0; the encoder's lead-in is cut by an edit list. The mp4
    has its index in front.

    Raises:
        OutputError: unknown suffix, or the file cannot be written.
        ValueError: no segments, segments that do not belong together, or not ``frames`` frames in all.
    """
    partial = out.with_name(f".{out.stem}.{os.getpid()}.partial{out.suffix}")
    try:
        mux(segments, sound, partial, duration=duration, time_base=time_base, frames=frames)
        partial.replace(out)
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {reason(error)}", code="unwritable-output") from error
    finally:
        partial.unlink(missing_ok=True)


def mux(
    segments: Sequence[Path],
    sound: SoundTrack | None,
    out: Path,
    *,
    duration: float,
    time_base: Fraction,
    frames: int | None = None,
) -> None:
    """Write segments and sound to ``out`` as ``assemble`` does, without a temporary file.

    After an error ``out`` may be incomplete. Raises OutputError and ValueError like ``assemble``.
    """
    if not segments:
        raise ValueError("no segments to join")
    container_format = _format_of(out)
    clock = _scan_segments(segments, time_base)
    if frames is not None and len(clock.shown) != frames:
        raise ValueError(f"the segments have {len(clock.shown)} frames, expected {frames}")
    options = {"movflags": "faststart"} if container_format in ("mp4", "mov") else {}
    try:
        with av.open(str(out), "w", format=container_format, options=options) as target:
            with av.open(str(segments[0])) as first:
                video = target.add_stream_from_template(first.streams.video[0])
            video.time_base = time_base
            audio = _sound_stream(target, sound.source) if sound is not None else None
            packets = _video_packets(segments, video, clock, round(duration / time_base), time_base)
            if sound is None or audio is None:
                for packet in packets:
                    target.mux(packet)
            else:
                _interleave(target, packets, _sound_packets(audio, sound))
    except (FFmpegError, OSError) as error:
        raise OutputError(f"{out} cannot be written: {reason(error)}", code="unwritable-output") from error


def _format_of(path: Path) -> str:
    name = _FORMATS.get(path.suffix.lower())
    if name is None:
        raise OutputError(f"{path} ends with {path.suffix or 'no suffix'}: name an .mp4, .mov or .mkv file")
    return name


@dataclass(frozen=True, slots=True, eq=False)
class _Clock:
    """Times of all packets together, in ticks: 8 bytes for each frame twice."""

    shown: NDArray[np.int64]
    """Presentation times, ascending."""
    delay: int
    """Frames by which decoding runs ahead of showing."""
    step: int
    """A usual step between frames."""

    def decode_time(self, position: int) -> int:
        """Of the packet at ``position`` in decoding order: the times of showing, ``delay`` frames earlier. They ascend
        and never lie after the packet's own time of showing, whatever segment it comes from."""
        if position >= self.delay:
            return int(self.shown[position - self.delay])
        return int(self.shown[0]) - (self.delay - position) * self.step


def _scan_segments(segments: Sequence[Path], time_base: Fraction) -> _Clock:
    pieces: list[NDArray[np.int64]] = []
    delay, previous, setup = 0, -1, None
    for path in segments:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            own = (stream.codec_context.extradata, stream.width, stream.height)
            if setup is not None and own != setup:
                raise ValueError(f"segment {path.name} was encoded with other settings than the first one")
            setup = own
            times = np.array(
                [_ticks(packet, time_base) for packet in container.demux(stream) if packet.size], dtype=np.int64
            )
        if not len(times):
            raise ValueError(f"segment {path.name} has no frames")
        order = np.argsort(times, kind="stable")
        ranks = np.empty_like(order)
        ranks[order] = np.arange(len(order))
        delay = max(delay, int((np.arange(len(times)) - ranks).max()))
        times = times[order]
        if times[0] <= previous or np.any(np.diff(times) <= 0):
            raise ValueError(f"segment {path.name} does not follow in time on the one before it")
        previous = int(times[-1])
        pieces.append(times)
    shown = np.concatenate(pieces)
    step = int(np.median(np.diff(shown))) if len(shown) > 1 else 1
    return _Clock(shown, delay, max(step, 1))


def _ticks(packet: av.Packet[VideoStream], time_base: Fraction) -> int:
    if packet.pts is None:
        raise ValueError("a segment has a packet without a time")
    return round((packet.pts * packet.time_base - SEGMENT_LEAD) / time_base)


def _video_packets(
    segments: Sequence[Path], stream: VideoStream, clock: _Clock, end: int, time_base: Fraction
) -> Iterator[av.Packet[VideoStream]]:
    position = 0
    shown = clock.shown
    for path in segments:
        with av.open(str(path)) as container:
            for packet in container.demux(container.streams.video[0]):
                if not packet.size:
                    continue
                pts = _ticks(packet, time_base)
                rank = int(np.searchsorted(shown, pts))
                following = int(shown[rank + 1]) if rank + 1 < len(shown) else end
                packet.pts = pts
                packet.dts = clock.decode_time(position)
                packet.duration = max(following - pts, 1)
                packet.time_base = time_base
                packet.stream = stream
                position += 1
                yield packet


def _sound_stream(target: OutputContainer, source: SoundSource) -> AudioStream:
    rate = next((rate for rate in _AAC_RATES if rate >= source.rate), _AAC_RATES[-1])
    stream = target.add_stream("aac", rate=rate)
    stream.codec_context.layout = "mono" if source.channels == 1 else "stereo"
    # AAC holds at most 6144 bits for each channel in a frame of 1024 samples.
    stream.codec_context.bit_rate = min(SOUND_BIT_RATE, 6 * rate * source.channels)
    stream.codec_context.time_base = Fraction(1, rate)
    return stream


def _sound_packets(stream: AudioStream, sound: SoundTrack) -> Iterator[av.Packet[AudioStream]]:
    source, rate = sound.source, stream.codec_context.sample_rate
    layout = "mono" if source.channels == 1 else "stereo"
    left = source.length_at(rate)
    if sound.duration is not None:
        left = min(left, round(sound.duration * rate))
    position = 0
    for block in source.chunks(rate, mono=False):
        for start in range(0, min(len(block), left), _AAC_FRAME):
            piece = np.ascontiguousarray(block[start : min(start + _AAC_FRAME, left)].T)
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
            frame.sample_rate = rate
            frame.time_base = Fraction(1, rate)
            frame.pts = position
            position += piece.shape[1]
            yield from stream.encode(frame)
        left -= min(len(block), left)
        if not left:
            break
    yield from stream.encode(None)


def _interleave(
    target: OutputContainer, video: Iterator[av.Packet[VideoStream]], audio: Iterator[av.Packet[AudioStream]]
) -> None:
    """Feeds both in order of time, so that the muxer need not hold one back for the other."""
    picture, tone = next(video, None), next(audio, None)
    while picture is not None or tone is not None:
        if tone is None or (picture is not None and _decode_time(picture) <= _decode_time(tone)):
            assert picture is not None
            target.mux(picture)
            picture = next(video, None)
        else:
            target.mux(tone)
            tone = next(audio, None)


def _decode_time(packet: av.Packet[VideoStream] | av.Packet[AudioStream]) -> Fraction:
    return (packet.dts or 0) * packet.time_base
