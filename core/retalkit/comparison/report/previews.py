"""Preview videos for the HTML pages, encoded as H.264 and AAC with square pixels and a leading moov atom."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.resampler import AudioResampler
from av.error import FFmpegError
from av.filter import Graph
from av.video.stream import VideoStream

from retalkit.errors import InputError
from retalkit.media.containers import file_url, open_media, reason

Box = tuple[float, float, float, float]
"""Box (left, top, right and bottom) in video pixels. The box may extend beyond the frame."""

_SOUND_RATE = 48000
_SOUND_BITS = 96_000
_AAC_FRAME = 1024
_MARGIN = 0.35
"""Margin around the face box, relative to the longer side of the box. The margin includes the neck and the hair, where
seams are visible."""


@dataclass(frozen=True, slots=True)
class PreviewSettings:
    """Encoding settings of previews."""

    height: int = 360
    """Maximum height in pixels."""
    seconds: float = 30.0
    """Maximum duration in seconds. The page marks previews that are truncated."""
    crf: int = 24
    """Constant rate factor (CRF) of libx264."""


@dataclass(frozen=True, slots=True)
class Preview:
    """Preview video stored in a file."""

    path: Path
    width: int
    height: int
    times: tuple[float, ...]
    """Start timestamp of each frame in seconds, in ascending order from 0."""
    end: float
    """End timestamp of the last frame in seconds."""
    cut: bool
    """Whether the preview is shorter than the original video."""
    has_sound: bool

    @property
    def size(self) -> int:
        """File size in bytes."""
        return self.path.stat().st_size


def face_crop(box: Box, width: int, height: int, margin: float = _MARGIN) -> tuple[int, int, int, int]:
    """Return the left, top, width and height of the crop around ``box`` in a frame of ``width`` x ``height`` pixels.

    All four values are even. ``margin`` is relative to the longer side of the box. If the crop would be smaller than 16
    pixels, the full frame is returned.
    """
    left, top, right, bottom = box
    margin *= max(right - left, bottom - top)
    x = max(0, int(left - margin)) & ~1
    y = max(0, int(top - margin)) & ~1
    w = (min(width, int(right + margin)) - x) & ~1
    h = (min(height, int(bottom + margin)) - y) & ~1
    if w < 16 or h < 16:
        return 0, 0, max(width & ~1, 2), max(height & ~1, 2)
    return x, y, w, h


def make_preview(video: Path, out: Path, settings: PreviewSettings, face: Box | None = None) -> Preview:
    """Encode the preview ``out`` unless it already exists with the same settings.

    Args:
        video: finished video without rotation metadata, as written by a run.
        out: path of the ``.mp4`` file, which is written atomically.
        settings: size, duration and quality.
        face: crop rectangle, or None for the full frame.

    Raises:
        InputError: the video cannot be read.
    """
    wanted = f"retalkit preview 2 {settings.height} {settings.seconds:g} {settings.crf} {face}"
    if out.is_file():
        try:
            return _inspect(out, wanted)
        except (InputError, _OutdatedError):
            out.unlink()
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.stem}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial")
    try:
        cut = _encode(video, partial, settings, face, wanted)
        partial.replace(out)
    except (FFmpegError, OSError, ValueError) as error:
        message = f"{video}: cannot create a preview: {reason(error)}: delete the video and run the comparison again"
        raise InputError(message, code="unreadable-file") from error
    finally:
        partial.unlink(missing_ok=True)
    return _inspect(out, wanted + (" cut" if cut else ""))


class _OutdatedError(Exception):
    """Exception for an existing preview that was encoded with different settings."""


def _inspect(path: Path, wanted: str) -> Preview:
    with open_media(path) as container:
        found = container.metadata.get("comment", "")
        if found.removesuffix(" cut") != wanted.removesuffix(" cut"):
            raise _OutdatedError
        stream = container.streams.video[0]
        base = stream.time_base or Fraction(1, 1000)
        shown = sorted((packet.pts or 0, packet.duration or 0) for packet in container.demux(stream) if packet.size)
        if not shown:
            raise _OutdatedError
        first = shown[0][0]
        return Preview(
            path=path,
            width=stream.width,
            height=stream.height,
            times=tuple(round(float((pts - first) * base), 4) for pts, _ in shown),
            end=round(float((shown[-1][0] + max(shown[-1][1], 1) - first) * base), 4),
            cut=found.endswith(" cut"),
            has_sound=bool(container.streams.audio),
        )


def _encode(video: Path, out: Path, settings: PreviewSettings, face: Box | None, comment: str) -> bool:
    """Encode a preview and return whether the preview is shorter than the original video."""
    with open_media(video) as source:
        images = source.streams.video[0]
        sound = source.streams.audio[0] if source.streams.audio else None
        streams = [images] if sound is None else [images, sound]
        cut = source.duration is not None and source.duration / 1e6 > settings.seconds + 0.1
        options = {"movflags": "faststart"}
        with av.open(file_url(out), "w", format="mp4", options=options) as target:
            target.metadata["comment"] = comment + (" cut" if cut else "")
            graph, width, height = _scaling_graph(images, settings, face)
            coded = target.add_stream("libx264", rate=images.average_rate or 25)
            coded.width, coded.height, coded.pix_fmt = width, height, "yuv420p"
            coded.time_base = images.time_base
            coded.codec_context.time_base = images.time_base or Fraction(1, 90000)
            # B-frames are disabled and GOPs are short, so that the page can step backward frame by frame. Encoding is
            # single-threaded, because multithreaded encoding is not always deterministic, and identical videos must
            # have identical previews.
            coded.codec_context.thread_count = 1
            coded.codec_context.gop_size = 25
            coded.codec_context.max_b_frames = 0
            coded.options = {"crf": str(settings.crf), "preset": "veryfast"}
            for name in ("colorspace", "color_range", "color_primaries", "color_trc"):
                setattr(coded.codec_context, name, getattr(images.codec_context, name))
            audio, resampler = None, None
            if sound is not None:
                audio = target.add_stream("aac", rate=_SOUND_RATE)
                layout = "mono" if sound.codec_context.channels == 1 else "stereo"
                audio.codec_context.layout = layout
                audio.codec_context.bit_rate = _SOUND_BITS
                resampler = AudioResampler(format="fltp", layout=layout, rate=_SOUND_RATE, frame_size=_AAC_FRAME)
            for packet in source.demux(*streams):
                for frame in packet.decode():
                    if not isinstance(frame, av.VideoFrame | av.AudioFrame):
                        continue
                    if frame.time is not None and frame.time >= settings.seconds:
                        continue
                    if isinstance(frame, av.VideoFrame):
                        graph.push(frame)
                        for scaled in _pull_frames(graph):
                            scaled.pict_type = 0  # let the encoder select keyframes independently of the source
                            target.mux(coded.encode(scaled))
                    elif audio is not None and resampler is not None:
                        for piece in resampler.resample(frame):
                            target.mux(audio.encode(piece))
            graph.push(None)
            for scaled in _pull_frames(graph):
                scaled.pict_type = 0
                target.mux(coded.encode(scaled))
            target.mux(coded.encode(None))
            if audio is not None and resampler is not None:
                for piece in resampler.resample(None):
                    target.mux(audio.encode(piece))
                target.mux(audio.encode(None))
        return cut


def _scaling_graph(stream: VideoStream, settings: PreviewSettings, face: Box | None) -> tuple[Graph, int, int]:
    """Return a filter graph that crops frames and scales them to square pixels, and the output width and height."""
    x, y, w, h = 0, 0, stream.width, stream.height
    if face is not None:
        x, y, w, h = face_crop(face, stream.width, stream.height)
    aspect = float(stream.sample_aspect_ratio or 1) or 1.0
    height = min(settings.height, h) & ~1 or 2
    width = max(round(w * aspect * height / h / 2) * 2, 2)
    graph = Graph()
    nodes: list[Any] = [
        graph.add_buffer(template=stream),
        graph.add("crop", f"{w}:{h}:{x}:{y}"),
        # The flag bitexact is required because SIMD code paths depend on memory alignment, and identical videos must
        # have identical previews.
        graph.add("scale", f"{width}:{height}:flags=bicubic+accurate_rnd+bitexact"),
        graph.add("setsar", "1"),
        graph.add("format", "yuv420p"),
        graph.add("buffersink"),
    ]
    for first, second in zip(nodes[:-1], nodes[1:], strict=True):
        first.link_to(second)
    graph.configure()
    return graph, width, height


def _pull_frames(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return
        if isinstance(frame, av.VideoFrame):
            yield frame


def evenly_spaced_frames(times: Sequence[float], count: int) -> list[int]:
    """Return the indices of up to ``count`` distinct frames that are evenly spaced in time."""
    if not times:
        return []
    end = times[-1] + (times[-1] - times[0]) / max(len(times) - 1, 1)
    chosen: list[int] = []
    for step in range(count):
        wanted = end * (step + 0.5) / count
        nearest = max((index for index, time in enumerate(times) if time <= wanted), default=0)
        if not chosen or nearest > chosen[-1]:
            chosen.append(nearest)
    return chosen
