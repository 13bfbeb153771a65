"""Conversion of interlaced frames to progressive frames with FFmpeg's filter ``bwdif``."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction

import av
from av.error import BlockingIOError, EOFError
from av.filter import Graph

_TIME_BASE = Fraction(1, 1000)
_Shape = tuple[str, int, int]


def deinterlaced(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Yield one progressive frame with the same timestamp for each frame.

    Frames that are not marked as interlaced keep their samples. The missing lines of a frame are interpolated from the
    frame and its two neighbours, so the first frame is less accurate than the others.
    """
    graph: Graph | None = None
    current: _Shape | None = None
    waiting: deque[av.VideoFrame] = deque()
    for frame in frames:
        shape = (frame.format.name, frame.width, frame.height)
        if shape != current:
            if graph is not None:
                yield from _results(graph, waiting, ended=True)
            graph, current = _graph(shape), shape
        assert graph is not None
        waiting.append(frame)
        graph.vpush(frame)
        yield from _results(graph, waiting)
    if graph is not None:
        yield from _results(graph, waiting, ended=True)


def _graph(shape: _Shape) -> Graph:
    name, width, height = shape
    graph = Graph()
    # The time base has no effect, because each result gets the timestamp of its frame.
    source = graph.add_buffer(width=width, height=height, format=av.VideoFormat(name), time_base=_TIME_BASE)
    interpolation = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
    graph.link_nodes(source, interpolation, graph.add("buffersink")).configure()
    return graph


def _results(graph: Graph, waiting: deque[av.VideoFrame], *, ended: bool = False) -> Iterator[av.VideoFrame]:
    """Yield the results that the graph has computed, or all results if the input has ``ended``."""
    if ended:
        graph.vpush(None)
    with suppress(BlockingIOError, EOFError):
        while waiting:
            result = graph.vpull()
            frame = waiting.popleft()
            result.pts, result.duration = frame.pts, frame.duration
            # Frames that the decoder returns at the end of the file have no time base.
            if frame.time_base is not None:
                result.time_base = frame.time_base
            yield result
