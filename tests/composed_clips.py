"""Clips with two people, composed from clips with one person."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.media.sources import open_source

Image = NDArray[np.uint8]
RATE = 25
Positions = Callable[[int], tuple[float, float]]
"""Function from the frame number to the left edges of both people, in widths of a person's image."""


def people(clip: Path, side: int, count: int) -> Iterator[Image]:
    """Yield ``count`` frames of a clip at 25 frames/s, scaled to a square. The clip plays forward and backward."""
    source = open_source(clip)
    times = source.times(0, source.info.frame_count)
    phase = np.arange(count) / RATE % (2 * times[-1])
    shown = np.where(phase <= times[-1], phase, 2 * times[-1] - phase)
    rows = np.abs(times[None] - shown[:, None]).argmin(1)
    kept: dict[int, Image] = {}
    for index, image in source.read(range(int(rows.max()) + 1)):
        edge = min(image.shape[:2])
        top, left = (image.shape[0] - edge) // 2, (image.shape[1] - edge) // 2
        square = image[top : top + edge, left : left + edge]
        kept[index] = cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)
    for row in rows:
        yield kept[int(row)]


def compose(
    path: Path, first: Path, second: Path, positions: Positions, *, side: int = 256, count: int = 75, width: float = 2.0
) -> Path:
    """Write a lossless-looking clip of two people on a grey background. The second person is in front of the first."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "14", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = round(side * width), side, "yuv420p"
        for number, images in enumerate(zip(people(first, side, count), people(second, side, count), strict=True)):
            canvas = np.full((side, stream.width, 3), 96, np.uint8)
            for image, position in zip(images, positions(number), strict=True):
                left = round(position * side)
                start, stop = max(left, 0), min(left + side, stream.width)
                if stop > start:
                    canvas[:, start:stop] = image[:, start - left : stop - left]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(canvas, format="rgb24")))
        container.mux(stream.encode())
    return path
