"""Muxer that combines encoded segments and audio into the output file without re-encoding the video."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream
from numpy.typing import NDArray

from retalkit.errors import OutputError
from retalkit.media.colour import Colour
from retalkit.media.containers import file_url
from retalkit.media.encoding import SEGMENT_LEAD, write_error
from retalkit.media.kept_streams import KeptStreams
from retalkit.media.sound_encoding import EncodedSound, SoundTrack, add_audio_stream
from retalkit.media.video_codec import container_format
from retalkit.paths import check_encoding, check_name_length, is_any_of, link_target, missing, partial_path


def check_output(path: Path, force: bool = False, inputs: Iterable[Path] = ()) -> None:
    """Check that the output can be written before processing starts.

    Raises:
        OutputError: the suffix is unknown, the directory is missing or not writable, the file exists and ``force`` is
            False, or the output file is also an input file (regardless of ``force``).
    """
    if path.name:
        container_format(path)
    check_output_path(path, force, inputs)


def check_output_path(path: Path, force: bool = False, inputs: Iterable[Path] = ()) -> None:
    """Check that a file of any format can be written to ``path``.

    A symbolic link stands for the file to which the link refers.

    Raises OutputError if ``path`` is a directory or a special file, its name is too long or not text, its parent
    directory does not exist, the file exists and ``force`` is False, or the output file is also an input file
    (regardless of ``force``).
    """
    check_encoding(path, OutputError)
    # The path "." has an empty name.
    if not path.name:
        raise OutputError(f"{path}: expected a file path, got a directory", code="path-is-directory")
    try:
        target = link_target(path)
        if target.is_symlink():
            raise OutputError(f"{path}: the symbolic link refers to itself; remove the link", code="broken-link")
        if target.is_dir():
            raise OutputError(f"{path}: expected a file path, got a directory", code="path-is-directory")
        folder = target.parent
        if not folder.is_dir():
            problem = f"directory {folder} does not exist; create the directory or choose another output path"
            if folder.exists():
                problem = f"{folder} is not a directory; choose another output path"
            raise OutputError(missing(path, problem), code="directory-not-found")
        check_name_length(target)
        exists = target.exists()
    except OSError as error:
        raise write_error(path, error) from error
    if exists and not target.is_file():
        raise OutputError(
            f"{path}: expected a file path, got a special file; choose another output path", code="not-a-regular-file"
        )
    if exists and is_any_of(target, inputs):
        raise OutputError(
            f"{path}: the output file is also an input file; choose another output path", code="output-is-input"
        )
    if exists and not force:
        raise OutputError(
            f"{path}: the file already exists; use --force to replace the file, or choose another output path",
            code="output-exists",
        )
    try:
        # A permission check is not sufficient because root has write permission on read-only file systems.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise write_error(path, error) from error


def assemble(
    segments: Sequence[Path],
    sound: SoundTrack | None,
    out: Path,
    *,
    duration: float,
    time_base: Fraction,
    frames: int | None = None,
    colour: Colour | None = None,
    kept: KeptStreams | None = None,
) -> None:
    """Copy the segments' video packets to a temporary file, add the audio, and rename the complete file to ``out``.

    An existing file is replaced. Presentation times equal those passed to ``SegmentWriter.write_frame``, except that
    mkv rounds them to 1 ms. The last frame ends at ``duration`` seconds. Audio and video both start at 0 s, and an edit
    list hides the encoder's priming samples. In mp4 files, the index precedes the data.

    Raises:
        OutputError: the suffix is unknown, or the file cannot be written.
        ValueError: the segment list is empty, the segments are incompatible, or the total frame count differs from
            ``frames``.
    """
    partial = partial_path(out)
    encoded = None if sound is None else EncodedSound(sound)
    try:
        mux(segments, encoded, partial, duration=duration, time_base=time_base, frames=frames, colour=colour, kept=kept)
        partial.replace(link_target(out))
    except OSError as error:
        raise write_error(out, error) from error
    finally:
        partial.unlink(missing_ok=True)


def mux(
    segments: Sequence[Path],
    sound: EncodedSound | None,
    out: Path,
    *,
    duration: float,
    time_base: Fraction,
    frames: int | None = None,
    colour: Colour | None = None,
    kept: KeptStreams | None = None,
) -> None:
    """Write segments and audio to ``out`` like ``assemble``, but without a temporary file.

    The output file may be incomplete after an error.

    Raises:
        OutputError: the suffix is unknown, or the file cannot be written.
        ValueError: the segment list is empty, the segments are incompatible, or the total frame count differs from
            ``frames``.
    """
    if not segments:
        raise ValueError("no segments to concatenate")
    format_name = container_format(out)
    clock = _scan_segments(segments, time_base)
    if frames is not None and len(clock.presentation) != frames:
        raise ValueError(f"segments: expected {frames} frames, got {len(clock.presentation)}")
    options = {"movflags": "faststart"} if format_name in ("mp4", "mov") else {}
    try:
        with av.open(file_url(out), "w", format=format_name, options=options) as target:
            with av.open(file_url(segments[0])) as first:
                video = add_video_stream(target, first.streams.video[0], colour)
            video.time_base = time_base
            audio = None if sound is None else add_audio_stream(target, sound.track)
            added = kept.add_to(target, video) if kept is not None else {}
            if kept is not None:
                kept.add_chapters(target, duration)
            sources: list[Iterator[av.Packet[Any]]] = [
                _video_packets(segments, video, clock, round(duration / time_base), time_base)
            ]
            if sound is not None and audio is not None:
                sources.append(_audio_packets(audio, sound))
            if kept is not None:
                sources.append(kept.packets(added, duration))
            # Packets are muxed in decoding order, so that the muxer does not buffer packets of any stream.
            for packet in heapq.merge(*sources, key=_decode_time):
                target.mux(packet)
    except (FFmpegError, OSError) as error:
        raise write_error(out, error) from error


@dataclass(frozen=True, slots=True, eq=False)
class _Clock:
    """Packet timestamps in ticks. An instance uses 8 bytes per frame."""

    presentation: NDArray[np.int64]
    """Presentation timestamps in ticks, int64 [frames], ascending."""
    delay: int
    """Number of frames by which decoding precedes presentation."""
    step: int
    """Median step between frames in ticks."""

    def decode_time(self, position: int) -> int:
        """Return the decoding time in ticks of the packet at ``position`` in decoding order.

        Decoding timestamps are the presentation timestamps shifted by ``delay`` frames. The shifted timestamps ascend
        across all segments and never exceed the packets' presentation timestamps.
        """
        if position >= self.delay:
            return int(self.presentation[position - self.delay])
        return int(self.presentation[0]) - (self.delay - position) * self.step


def _open_packets(segment: Path) -> InputContainer:
    """Open a segment whose frames are not decoded. FFmpeg would otherwise decode several frames of every segment."""
    options: Any = [{"skip_frame": "all"}]  # The annotation of PyAV is wrong.
    return av.open(file_url(segment), stream_options=options)


def _scan_segments(segments: Sequence[Path], time_base: Fraction) -> _Clock:
    pieces: list[NDArray[np.int64]] = []
    delay, previous, settings = 0, -1, None
    for path in segments:
        with _open_packets(path) as container:
            stream = container.streams.video[0]
            current = (stream.codec_context.extradata, stream.width, stream.height)
            if settings is not None and current != settings:
                raise ValueError(f"segment {path.name}: the encoder settings differ from those of the first segment")
            settings = current
            times = np.array(
                [_ticks(packet, time_base) for packet in container.demux(stream) if packet.size], dtype=np.int64
            )
        if not len(times):
            raise ValueError(f"segment {path.name}: expected at least one frame, got none")
        order = np.argsort(times, kind="stable")
        ranks = np.empty_like(order)
        ranks[order] = np.arange(len(order))
        delay = max(delay, int((np.arange(len(times)) - ranks).max()))
        times = times[order]
        if times[0] <= previous or np.any(np.diff(times) <= 0):
            raise ValueError(f"segment {path.name}: frame times must ascend within and across segments")
        previous = int(times[-1])
        pieces.append(times)
    presentation = np.concatenate(pieces)
    step = int(np.median(np.diff(presentation))) if len(presentation) > 1 else 1
    return _Clock(presentation, delay, max(step, 1))


def _ticks(packet: av.Packet[VideoStream], time_base: Fraction) -> int:
    if packet.pts is None:
        raise ValueError("a segment has a packet without a timestamp")
    return round((packet.pts * packet.time_base - SEGMENT_LEAD) / time_base)


def _video_packets(
    segments: Sequence[Path], stream: VideoStream, clock: _Clock, end: int, time_base: Fraction
) -> Iterator[av.Packet[VideoStream]]:
    position = 0
    presentation = clock.presentation
    for path in segments:
        with _open_packets(path) as container:
            for packet in container.demux(container.streams.video[0]):
                if not packet.size:
                    continue
                pts = _ticks(packet, time_base)
                rank = int(np.searchsorted(presentation, pts))
                following = int(presentation[rank + 1]) if rank + 1 < len(presentation) else end
                packet.pts = pts
                packet.dts = clock.decode_time(position)
                packet.duration = max(following - pts, 1)
                packet.time_base = time_base
                packet.stream = stream
                position += 1
                yield packet


def add_video_stream(target: OutputContainer, stored: VideoStream, colour: Colour | None) -> VideoStream:
    """Add a stream with the parameters of a segment's stream. ``colour`` replaces the stored colour description."""
    video = target.add_stream_from_template(stored)
    if stored.codec_context.name == "hevc" and target.format.name != "matroska":
        # Apple's players do not play HEVC with FFmpeg's default tag hev1.
        video.codec_context.codec_tag = "hvc1"
    if colour is not None:
        # FFV1 segments do not contain the colour description.
        context = video.codec_context
        context.colorspace, context.color_range = colour.matrix, colour.range
        context.color_primaries, context.color_trc = colour.primaries, colour.transfer
    return video


def _audio_packets(stream: AudioStream, sound: EncodedSound) -> Iterator[av.Packet[AudioStream]]:
    for packet in sound.packets:
        packet.stream = stream
        yield packet


def _decode_time(packet: av.Packet[Any]) -> Fraction:
    return (packet.dts or 0) * packet.time_base
