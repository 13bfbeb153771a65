"""Helper functions and classes for metric sessions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from retalkit.errors import InputError
from retalkit.metrics import Scores
from retalkit.metrics.scene import ScoredFrame

Image = NDArray[np.uint8]


class FramelessSession:
    """Session of a metric that requires no frames and computes all measures at the end."""

    def __init__(self, compute: Callable[[], Scores]) -> None:
        self._compute = compute

    def add(self, frame: ScoredFrame) -> None:
        """Do nothing. This method is not called, because the metric does not require ``frames``."""

    def result(self) -> Scores:
        return self._compute()


def frame_pair(frame: ScoredFrame) -> tuple[Image, Image]:
    """Return the unedited frame and the output frame, RGB uint8 [H, W, 3].

    Raises InputError if there is no unedited frame or if the frames differ in size.
    """
    if frame.original is None:
        raise InputError(
            "the scene has no unedited clip, which the metric compares with the output; "
            "add the unedited clip to the scene",
            code="missing-original",
        )
    if frame.original.shape != frame.image.shape:
        sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in (frame.image, frame.original)]
        raise InputError(
            f"the frame sizes differ: the video is {sizes[0]} and the unedited clip is {sizes[1]}; scale both videos "
            "to the same size",
            code="size-mismatch",
        )
    return frame.original, frame.image
