"""Causal frame-by-frame detection of scene cuts.

The detector reports a cut if no translation of the previous frame matches the current frame. The detector computes the
normalised cross-correlation of small thumbnails for all shifts up to a twelfth of the width and compares the maximum
with a threshold. Motion, pans and exposure changes (flashes, fades) preserve a high correlation. PySceneDetect's
content detector, which compares pixels without shifts, reports such frames as cuts.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

WIDTH: Final = 48
HEIGHT: Final = 27
SHIFT: Final = 4
"""Maximum shift in thumbnail pixels, in both directions."""

SAME_SHOT_DIFFERENCE: Final = 5.0
"""Mean absolute difference in grey levels below which two thumbnails belong to one shot without further tests."""
MIN_CONTRAST: Final = 6.0
"""Minimum standard deviation of luma. Frames with lower contrast, such as white flashes or black frames between shots,
are skipped.
"""
LOWEST_THRESHOLD: Final = 0.42
"""Minimum dissimilarity of a cut. The measured dissimilarity was 0.55 to 1.05 for cuts and at most 0.27 for fast
motion."""
HIGHEST_THRESHOLD: Final = 0.85
"""Dissimilarity at which a frame is a cut regardless of the previous frames. The dissimilarity of most whip pans is
below this value."""
MOTION_FACTOR: Final = 2.5
"""Minimum ratio of the dissimilarity at a cut to the mean dissimilarity of the last five frames."""

Float = NDArray[np.float32]


def thumbnail(image: NDArray[np.uint8]) -> Float:
    """Reduce RGB uint8 [H, W, 3] of any size to float32 [27, 48, 3].

    Values are area means over a regular pixel subset.
    """
    step = sampling_step(image.shape[1], image.shape[0])
    return thumbnail_of_samples(image[step // 2 :: step, step // 2 :: step])


def sampling_step(width: int, height: int) -> int:
    """Return the distance in pixels between the samples that ``thumbnail`` reads from an image."""
    return max(1, min(height, width) // 108)


def thumbnail_of_samples(samples: NDArray[np.uint8]) -> Float:
    """Return the thumbnail, float32 [27, 48, 3], of an image of which every ``sampling_step``-th pixel is given, RGB
    uint8 [h, w, 3]."""
    small = samples.astype(np.float32)
    for axis, count in ((0, HEIGHT), (1, WIDTH)):
        length = small.shape[axis]
        starts = np.arange(count) * length // count
        sizes = np.maximum(np.diff(starts, append=length), 1).astype(np.float32)
        sums = np.add.reduceat(small, starts, axis=axis)
        small = (sums / np.expand_dims(sizes, 1 - axis)[..., None]).astype(np.float32, copy=False)
    return small


def dissimilarity(before: Float, after: Float) -> float:
    """Compute 1 minus the maximum normalised cross-correlation between two luma thumbnails [27, 48] over all shifts.

    The value is 0 for identical images and approximately 1 for unrelated images.
    """
    core = after[SHIFT:-SHIFT, SHIFT:-SHIFT]
    core = core - core.mean()
    windows = np.lib.stride_tricks.sliding_window_view(before, core.shape)
    centred = windows - windows.mean((2, 3), keepdims=True)
    energy = (centred**2).sum((2, 3)) * (core**2).sum()
    correlation = (centred * core).sum((2, 3)) / np.sqrt(energy + 1e3)
    return float(1 - correlation.max())


class CutDetector:
    """Streaming scene-cut detector.

    An instance stores a thumbnail of the previous frame instead of the frame itself.
    """

    def __init__(self) -> None:
        self._colours: Float | None = None
        self._luma: Float | None = None
        self._recent: deque[float] = deque(maxlen=5)

    def is_cut(self, image: NDArray[np.uint8]) -> bool:
        """Process the next frame, RGB uint8 [H, W, 3], and return whether a new shot starts at this frame.

        The first frame is not a cut.
        """
        return self.starts_shot(thumbnail(image))

    def starts_shot(self, colours: NDArray[np.float32]) -> bool:
        """Process the thumbnail of the next frame, float32 [27, 48, 3]. See ``is_cut``."""
        luma = colours @ np.array([0.299, 0.587, 0.114], np.float32)
        if luma.std() < MIN_CONTRAST and self._luma is not None:
            # The reference frame is not replaced, so a flash does not cause two cuts.
            return False
        cut = False
        if self._luma is not None and self._colours is not None:
            score = 0.0
            if np.abs(colours - self._colours).mean() >= SAME_SHOT_DIFFERENCE:
                score = dissimilarity(self._luma, luma)
                usual = sum(self._recent) / len(self._recent) if self._recent else 0.0
                cut = score >= min(max(LOWEST_THRESHOLD, MOTION_FACTOR * usual), HIGHEST_THRESHOLD)
            # The score of a cut does not measure motion and is therefore limited. Several consecutive high scores still
            # raise the threshold, because they indicate one fast movement.
            self._recent.append(min(score, LOWEST_THRESHOLD) if cut else score)
        self._colours, self._luma = colours, luma
        return cut
