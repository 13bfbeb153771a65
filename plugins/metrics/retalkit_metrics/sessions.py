"""What sessions of these metrics share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from retalkit.errors import InputError
from retalkit.metrics import Scores
from retalkit.metrics.scene import ScoredFrame

Image = NDArray[np.uint8]


class WithoutFrames:
    """Session of a metric that looks at no frame: all is computed at the end."""

    def __init__(self, compute: Callable[[], Scores]) -> None:
        self._compute = compute

    def add(self, frame: ScoredFrame) -> None:
        """Is not called."""

    def result(self) -> Scores:
        return self._compute()


def frame_pair(frame: ScoredFrame) -> tuple[Image, Image]:
    """The unedited frame and the video's, RGB uint8 [H, W, 3].

    Raises InputError where there is none, or where they differ in size.
    """
    if frame.original is None:
        raise InputError("there is no unedited clip to compare the frames with")
    if frame.original.shape != frame.image.shape:
        sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in (frame.image, frame.original)]
        raise InputError(f"the video is {sizes[0]} and the unedited clip {sizes[1]}: scale one to the other's size")
    return frame.original, frame.image
