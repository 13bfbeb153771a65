"""Layer of a run: the edits alone, which are stored next to the rendered segments."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retalkit.imaging.compositing import placed_edit
from retalkit.media.encoding import SegmentWriter
from retalkit.media.layer import add_to_layer, layer_frame
from retalkit.photo_motion.animator import PhotoAnimator
from retalkit.stages import FrameResult, PassedThrough
from retalkit.storage.cache import Folder


class LayerSegment:
    """Writer for the edits of one segment."""

    def __init__(self, writer: SegmentWriter, size: tuple[int, int]) -> None:
        """Initialise the segment. ``size``: width and height of the frames in pixels."""
        self._writer = writer
        self._size = size

    def write(
        self,
        results: Sequence[FrameResult],
        animators: Sequence[PhotoAnimator],
        image: NDArray[np.uint8] | None,
        time: float,
        duration: float,
    ) -> None:
        """Write the edits of the next frame.

        ``image``: RGB image of the frame with all edits and animated heads, uint8 [H, W, 3], or None if there are no
        ``animators``.
        """
        width, height = self._size
        layer = np.zeros((height, width, 4), np.uint8)
        for result in results:
            placed = None if isinstance(result, PassedThrough) else placed_edit(width, height, result)
            if placed is not None:
                add_to_layer(layer, *placed)
        for animator in animators:
            left, top, columns, rows = animator.rectangle
            if image is not None and columns and rows:
                part = np.s_[top : top + rows, left : left + columns]
                add_to_layer(layer, image[part], animator.changed.astype(np.float32), left, top)
        self._writer.write_frame(layer_frame(layer), time, duration)


def layer_name(number: int) -> str:
    """Return the file name of a segment's layer."""
    return f"layer-{number:06d}.nut"


@contextmanager
def layer_segment(
    folder: Folder, number: int, size: tuple[int, int], open_layer: Callable[[Path], SegmentWriter] | None
) -> Generator[LayerSegment | None]:
    """Yield the writer of a segment's layer, or None if ``open_layer`` is None. The file is written atomically."""
    if open_layer is None:
        yield None
        return
    with folder.write(layer_name(number)) as path, open_layer(path) as writer:
        yield LayerSegment(writer, size)
