"""Decoding of source frames that the output shows several times, such as those of a clip shorter than the speech."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import av
import numpy as np

from retalkit.media.pixel_format import PixelFormat
from retalkit.media.sources import MediaSource

KEPT_BYTES = 128 << 20
"""Maximum size of the decoded frames that are kept."""


def decode_once(
    source: MediaSource, indexes: Iterable[int], distinct: int, pixel_format: PixelFormat
) -> Iterator[av.VideoFrame]:
    """Yield the frames ``indexes`` in the requested order, and decode every frame only once if all frames fit into
    ``KEPT_BYTES``.

    ``distinct``: number of different frames in ``indexes``, or an upper limit. Callers must not modify the frames.
    """
    width, height = source.size
    samples = width * height + 2 * (width // pixel_format.chroma_x) * (height // pixel_format.chroma_y)
    if distinct * samples * np.dtype(pixel_format.dtype).itemsize > KEPT_BYTES:
        for _, frame in source.read_video_frames(indexes, pixel_format):
            yield frame
        return
    kept: dict[int, av.VideoFrame] = {}
    requested: set[int] = set()
    waiting: deque[int] = deque()

    def missing() -> Iterator[int]:
        for index in indexes:
            waiting.append(index)
            if index not in requested:
                requested.add(index)
                yield index

    # The reader requests descending frames in advance, so that a frame may be repeated before it has been decoded.
    for index, frame in source.read_video_frames(missing(), pixel_format):
        kept[index] = frame
        while waiting and waiting[0] in kept:
            yield kept[waiting.popleft()]
    while waiting:
        yield kept[waiting.popleft()]
