"""Small videos that a page can hold: H.264 and AAC, square pixels, the index in front."""

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
from retalkit.media.containers import open_media, reason

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the video; may reach outside the frame."""

_SOUND_RATE = 48000
_SOUND_BITS = 96_000
_AAC_FRAME = 1024
_MARGIN = 0.35
"""Part of the box's longer side that is kept around it, so that neck and hair show where a seam would be."""


@dataclass(frozen=True, slots=True)
class PreviewSettings:
    """How small previews are made."""

    height: int = 360
    """Pixels at most."""
    seconds: float = 30.0
    """Longer videos are cut there; the page says so."""
    crf: int = 24
    """Quality of libx264."""


@dataclass(frozen=True, slots=True)
class Preview:
    """One preview as it lies in its folder."""

    path: Path
    width: int
    height: int
    times: tuple[float, ...]
    """Seconds at which each frame is shown, ascending; the first is 0."""
    end: float
    """Seconds at which the last frame ends."""
    cut: bool
    """The video goes on after the preview's end."""
    has_sound: bool

    @property
    def size(self) -> int:
        """Bytes."""
        return self.path.stat().st_size


def crop_around(box: Box, width: int, height: int, margin: float = _MARGIN) -> tuple[int, int, int, int]:
    """Left, top, width, height of the even-sized part of a frame of ``width`` x ``height`` pixels around ``box``;
    ``margin`` is a part of the box's longer side."""
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
    """Writes ``out``, unless it is there and was made with the same settings.

    Args:
        video: a finished video; upright, as the encoder of a run leaves it.
        out: an ``.mp4``; it is there whole or not at all.
        settings: size and length.
        face: the part of the frame to show; None: all of it.

    Raises:
        InputError: the video cannot be read.
    """
    wanted = f"retalkit preview 2 {settings.height} {settings.seconds:g} {settings.crf} {face}"
    if out.is_file():
        try:
            return _look(out, wanted)
        except (InputError, _OutdatedError):
            out.unlink()
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.stem}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial")
    try:
        cut = _encode(video, partial, settings, face, wanted)
        partial.replace(out)
    except (FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{video} cannot be shown: {reason(error)}; make its cell again") from error
    finally:
        partial.unlink(missing_ok=True)
    return _look(out, wanted + (" cut" if cut else ""))


class _OutdatedError(Exception):
    """The preview was made with other settings."""


def _look(path: Path, wanted: str) -> Preview:
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
    """Whether the preview ends before the video does."""
    with open_media(video) as source:
        picture = source.streams.video[0]
        sound = source.streams.audio[0] if source.streams.audio else None
        streams = [picture] if sound is None else [picture, sound]
        cut = source.duration is not None and source.duration / 1e6 > settings.seconds + 0.1
        options = {"movflags": "faststart"}
        with av.open(str(out), "w", format="mp4", options=options) as target:
            target.metadata["comment"] = comment + (" cut" if cut else "")
            graph, width, height = _scaling(picture, settings, face)
            coded = target.add_stream("libx264", rate=picture.average_rate or 25)
            coded.width, coded.height, coded.pix_fmt = width, height, "yuv420p"
            coded.time_base = picture.time_base
            coded.codec_context.time_base = picture.time_base or Fraction(1, 90000)
            # No B-frames and a keyframe each second: a page steps backward frame by frame.
            # One thread: several gave another stream now and then, and equal videos must give equal previews.
            coded.codec_context.thread_count = 1
            coded.codec_context.gop_size = 25
            coded.codec_context.max_b_frames = 0
            coded.options = {"crf": str(settings.crf), "preset": "veryfast"}
            for name in ("colorspace", "color_range", "color_primaries", "color_trc"):
                setattr(coded.codec_context, name, getattr(picture.codec_context, name))
            heard, resampler = None, None
            if sound is not None:
                heard = target.add_stream("aac", rate=_SOUND_RATE)
                layout = "mono" if sound.codec_context.channels == 1 else "stereo"
                heard.codec_context.layout = layout
                heard.codec_context.bit_rate = _SOUND_BITS
                resampler = AudioResampler(format="fltp", layout=layout, rate=_SOUND_RATE, frame_size=_AAC_FRAME)
            for packet in source.demux(*streams):
                for frame in packet.decode():
                    if not isinstance(frame, av.VideoFrame | av.AudioFrame):
                        continue
                    if frame.time is not None and frame.time >= settings.seconds:
                        continue
                    if isinstance(frame, av.VideoFrame):
                        graph.push(frame)
                        for small in _pulled(graph):
                            small.pict_type = 0  # the source's choice of keyframes is not ours
                            target.mux(coded.encode(small))
                    elif heard is not None and resampler is not None:
                        for piece in resampler.resample(frame):
                            target.mux(heard.encode(piece))
            graph.push(None)
            for small in _pulled(graph):
                small.pict_type = 0
                target.mux(coded.encode(small))
            target.mux(coded.encode(None))
            if heard is not None and resampler is not None:
                for piece in resampler.resample(None):
                    target.mux(heard.encode(piece))
                target.mux(heard.encode(None))
        return cut


def _scaling(picture: VideoStream, settings: PreviewSettings, face: Box | None) -> tuple[Graph, int, int]:
    """Crops, scales and makes pixels square; with the size that comes out."""
    x, y, w, h = 0, 0, picture.width, picture.height
    if face is not None:
        x, y, w, h = crop_around(face, picture.width, picture.height)
    aspect = float(picture.sample_aspect_ratio or 1) or 1.0
    height = min(settings.height, h) & ~1 or 2
    width = max(round(w * aspect * height / h / 2) * 2, 2)
    graph = Graph()
    nodes: list[Any] = [
        graph.add_buffer(template=picture),
        graph.add("crop", f"{w}:{h}:{x}:{y}"),
        # Exact, so that equal videos give equal previews wherever their pixels lie in memory.
        graph.add("scale", f"{width}:{height}:flags=bicubic+accurate_rnd+bitexact"),
        graph.add("setsar", "1"),
        graph.add("format", "yuv420p"),
        graph.add("buffersink"),
    ]
    for first, second in zip(nodes[:-1], nodes[1:], strict=True):
        first.link_to(second)
    graph.configure()
    return graph, width, height


def _pulled(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return
        if isinstance(frame, av.VideoFrame):
            yield frame


def nearest_frames(times: Sequence[float], count: int) -> list[int]:
    """Positions of ``count`` frames that lie evenly in time; each once."""
    if not times:
        return []
    end = times[-1] + (times[-1] - times[0]) / max(len(times) - 1, 1)
    chosen: list[int] = []
    for step in range(count):
        wanted = end * (step + 0.5) / count
        at = max((index for index, time in enumerate(times) if time <= wanted), default=0)
        if not chosen or at > chosen[-1]:
            chosen.append(at)
    return chosen
