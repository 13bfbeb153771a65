"""Scene cuts, found frame by frame without looking ahead.

A cut is a frame whose picture cannot be explained by moving the one before it: on small thumbnails, the best normalised
cross-correlation over all shifts up to a twelfth of the width stays low. Motion, pans and changes of exposure (flashes,
fades) keep it high; PySceneDetect's content detector, which compares pixels in place, does not forgive them.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

WIDTH: Final = 48
HEIGHT: Final = 27
SHIFT: Final = 4
"""Largest shift in thumbnail pixels, both ways."""

SAME: Final = 5.0
"""Mean absolute difference in grey levels below which two thumbnails show one shot without further looking."""
CONTRAST: Final = 6.0
"""Standard deviation of luma below which a frame (a white flash, black between shots) cannot be judged."""
LOWEST: Final = 0.42
"""Dissimilarity from which on a frame may be a cut. Real cuts measured 0.55 to 1.05, fast motion at most 0.27."""
HIGHEST: Final = 0.85
"""Dissimilarity that is always a cut, however restless the frames before: whip pans stay below it mostly."""
RESTLESS: Final = 2.5
"""A cut stands out from the mean dissimilarity of the last frames by this factor."""

Float = NDArray[np.float32]


def thumbnail(image: NDArray[np.uint8]) -> Float:
    """RGB uint8 [H, W, 3] of any size -> float32 [27, 48, 3], area means over a regular subset of the pixels."""
    height, width = image.shape[:2]
    step = max(1, min(height, width) // 108)
    small = image[step // 2 :: step, step // 2 :: step].astype(np.float32)
    for axis, count in ((0, HEIGHT), (1, WIDTH)):
        length = small.shape[axis]
        starts = np.arange(count) * length // count
        sizes = np.maximum(np.diff(starts, append=length), 1).astype(np.float32)
        sums = np.add.reduceat(small, starts, axis=axis)
        small = (sums / np.expand_dims(sizes, 1 - axis)[..., None]).astype(np.float32, copy=False)
    return small


def dissimilarity(before: Float, after: Float) -> float:
    """1 minus the best normalised cross-correlation of two luma thumbnails [27, 48] over shifts.

    0: the same picture; about 1: unrelated.
    """
    core = after[SHIFT:-SHIFT, SHIFT:-SHIFT]
    core = core - core.mean()
    windows = np.lib.stride_tricks.sliding_window_view(before, core.shape)
    centred = windows - windows.mean((2, 3), keepdims=True)
    energy = (centred**2).sum((2, 3)) * (core**2).sum()
    correlation = (centred * core).sum((2, 3)) / np.sqrt(energy + 1e3)
    return float(1 - correlation.max())


class CutDetector:
    """Says of each frame of a clip, in order, whether a new shot begins with it. Holds a thumbnail, no frames."""

    def __init__(self) -> None:
        self._colours: Float | None = None
        self._luma: Float | None = None
        self._recent: deque[float] = deque(maxlen=5)

    def is_cut(self, image: NDArray[np.uint8]) -> bool:
        """Takes the next frame, RGB uint8 [H, W, 3]. The first frame of a clip is no cut."""
        colours = thumbnail(image)
        luma = colours @ np.array([0.299, 0.587, 0.114], np.float32)
        if luma.std() < CONTRAST and self._luma is not None:
            # The last frame that shows something stays the one to compare with, so that a flash does not cut twice.
            return False
        cut = False
        if self._luma is not None and self._colours is not None:
            score = 0.0
            if np.abs(colours - self._colours).mean() >= SAME:
                score = dissimilarity(self._luma, luma)
                usual = sum(self._recent) / len(self._recent) if self._recent else 0.0
                cut = score >= min(max(LOWEST, RESTLESS * usual), HIGHEST)
            # A cut says little about the motion around it, but several in a row are one wild movement.
            self._recent.append(min(score, LOWEST) if cut else score)
        self._colours, self._luma = colours, luma
        return cut
