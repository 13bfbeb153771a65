"""Short crossfades at jumps between exemplars. The crossfades are aligned by optical flow and limited to the lip
interior.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

_INCOMING = {-1: 0.25, 0: 0.6, 1: 0.85}
"""Weights of the new exemplar in the frame before a jump, at the jump and after the jump."""

_PATCH = 6
"""Width and height in pixels of the patches that optical flow matches."""
_FINEST_SCALE = 1
"""Number of halvings of the resolution at which optical flow is computed."""


@dataclass(frozen=True, slots=True)
class ExemplarMix:
    """Exemplars that are blended in one output frame."""

    primary: int
    """Bank row of the primary exemplar. Skin pixels are copied only from the primary exemplar."""
    secondary: int | None = None
    share: float = 0.0
    """Weight of the secondary exemplar inside the lips, which is less than 1."""


def exemplar_mix(exemplars: NDArray[np.int32], sources: NDArray[np.int64], position: int) -> ExemplarMix:
    """Return the exemplar mix at ``position`` for the plan's ``exemplars`` [T].

    ``sources``: source frame indexes of the bank rows, int64 [K]. A transition between consecutive source frames is not
    a jump.
    """
    primary = int(exemplars[position])
    mix = ExemplarMix(primary)
    for offset in (0, -1, 1):
        jump = position - offset
        if jump < 1 or jump >= len(exemplars) or not _jumps(exemplars, sources, jump):
            continue
        incoming = _INCOMING[offset]
        if offset < 0:
            secondary, share = _play(sources, int(exemplars[jump]), offset), incoming
        else:
            secondary, share = _play(sources, int(exemplars[jump - 1]), offset + 1), 1 - incoming
        if secondary != primary and share > mix.share:
            mix = ExemplarMix(primary, secondary, share)
    return mix


def _jumps(exemplars: NDArray[np.int32], sources: NDArray[np.int64], position: int) -> bool:
    previous, current = int(exemplars[position - 1]), int(exemplars[position])
    return previous >= 0 and current >= 0 and abs(int(sources[current]) - int(sources[previous])) > 1


def _play(sources: NDArray[np.int64], number: int, steps: int) -> int:
    """Return the bank row ``steps`` source frames after ``number``, limited to the last row of the consecutive run."""
    direction = 1 if steps > 0 else -1
    for _ in range(abs(steps)):
        following = number + direction
        if not 0 <= following < len(sources) or sources[following] - sources[number] != direction:
            break
        number = following
    return number


def morph(first: Float, second: Float, share: float) -> Float:
    """Blend two images of the same lips, float32 [h, w, 3] each. ``share``: weight of the second image.

    Both images are first warped towards each other by optical flow (Kroeger et al., "Fast optical flow using dense
    inverse search", ECCV 2016).
    """
    height, width = first.shape[:2]
    if min(height, width) < 16:
        return first * (1 - share) + second * share
    grey = [
        cv2.cvtColor(cv2.convertScaleAbs(np.maximum(image, np.float32(0))), cv2.COLOR_RGB2GRAY)
        for image in (first, second)
    ]
    flow = _flow_finder(width, height).calc(grey[0], grey[1], np.zeros((height, width, 2), np.float32))
    # Optical flow between dissimilar images is unreliable, so only small displacements are allowed.
    limit = 0.08 * width
    across, down = cv2.split(np.clip(cv2.GaussianBlur(flow, (0, 0), 2.0), -limit, limit))
    columns = np.arange(width, dtype=np.float32)
    rows = np.arange(height, dtype=np.float32)[:, None]
    moved = [
        cv2.remap(image, columns - np.float32(part) * across, rows - np.float32(part) * down, cv2.INTER_LINEAR,
                  borderMode=cv2.BORDER_REPLICATE)
        for image, part in ((first, share), (second, share - 1))
    ]  # fmt: skip
    return np.asarray(cv2.addWeighted(moved[0], 1 - share, moved[1], share, 0), np.float32)


def _flow_finder(width: int, height: int) -> cv2.DISOpticalFlow:
    """Return the optical flow estimator for images of the given size, at least 16 x 16 pixels."""
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    finder.setPatchSize(_PATCH)
    # Both images have the same colours, so that the mean of a patch is evidence.
    finder.setUseMeanNormalization(False)
    # OpenCV selects other scales if the coarsest scale, at which a patch fits into the image, is finer than the finest
    # scale. It crashes at these scales for some image sizes.
    coarsest = min(
        int(math.log2(max(width, height) / (4 * _PATCH)) + 0.5), int(math.log2(min(width, height) // _PATCH))
    )
    finder.setFinestScale(min(_FINEST_SCALE, coarsest))
    return finder
