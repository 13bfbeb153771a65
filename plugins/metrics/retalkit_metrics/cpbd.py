"""CPBD: the share of edges that are too narrow to be seen as blurred.

Narvekar and Karam, "A no-reference image blur metric based on the cumulative probability of blur detection (CPBD)",
IEEE Transactions on Image Processing 20 (9), 2011. In short: an edge of width w is seen as blurred with the
probability 1 - exp(-(w / w_jnb) ** 3.6), where w_jnb, the width that is just noticed, is 5 pixels in blocks of low
contrast and 3 in others (Ferzli and Karam, IEEE TIP 2009); CPBD is the share of edge pixels whose probability is at
most 63 %. Widths are those of Marziliano et al., "A no-reference perceptual blur metric", ICIP 2002: along the row,
from the local minimum to the local maximum around a pixel of a vertical edge. Only blocks of 64 x 64 with enough edges
count. The edge detectors' thresholds are not in the paper; ours are those of the usual Sobel and Canny detectors, so
numbers of other programs differ by some hundredths.

It depends on the size of the picture: compare frames of one size only.
"""

from __future__ import annotations

from typing import Any, Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.feature import canny

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]

BLOCK: Final = 64
ENOUGH_EDGES: Final = 0.002
"""Share of a block's pixels on edges above which it counts."""
BETA: Final = 3.6
LOW_CONTRAST: Final = 50.0
"""Grey levels between the brightest and the darkest pixel of a block, up to which its contrast is low."""
WIDTH_LOW, WIDTH_HIGH = 5.0, 3.0
"""Pixels: just noticed width at low and at higher contrast."""
NOTICED: Final = 63.5
"""Percent below which the probability rounds to at most 63, that of an edge of just noticed width."""


def cpbd(grey: NDArray[np.uint8]) -> float:
    """CPBD of a grey picture, uint8 [H, W]: 0 to 1, higher is sharper; NaN where no block of 64 x 64 has edges."""
    image = grey.astype(np.float64)
    widths = edge_widths(image)
    lines = _canny_edges(image)
    narrow = total = 0
    for top in range(0, image.shape[0] - BLOCK + 1, BLOCK):
        for left in range(0, image.shape[1] - BLOCK + 1, BLOCK):
            block = slice(top, top + BLOCK), slice(left, left + BLOCK)
            if np.count_nonzero(lines[block]) <= ENOUGH_EDGES * BLOCK * BLOCK:
                continue
            found = widths[block][widths[block] > 0]
            just_noticed = WIDTH_LOW if np.ptp(image[block]) < LOW_CONTRAST + 1 else WIDTH_HIGH
            percent = 100.0 * (1.0 - np.exp(-((found / just_noticed) ** BETA)))
            narrow += int((percent <= NOTICED).sum())
            total += len(found)
    return narrow / total if total else float("nan")


def edge_widths(image: Values) -> Values:
    """float64 [H, W]: width in pixels of the edge at each pixel of a vertical edge, 0 elsewhere. At least 2."""
    down, across = np.gradient(image)
    # The gradient points along the row within 22.5 degrees.
    edges = _vertical_edges(image) & (np.abs(down) < np.tan(np.pi / 8) * np.abs(across))
    rises = edges & (across > 0)
    falls = edges & (across < 0)
    widths = np.zeros(image.shape)
    for picture, chosen in ((image, rises), (-image, falls)):
        to_left, to_right = _runs(picture)
        width = np.zeros(image.shape)
        # One step to each side, and on from there as long as the row keeps falling or rising.
        width[:, 1:-1] = 2 + to_left[:, :-2] + to_right[:, 2:]
        widths[chosen] = width[chosen]
    return widths


def _runs(image: Values) -> tuple[Values, Values]:
    """How many steps in a row lead down to the left, and up to the right, from each pixel; float64 [H, W] each."""
    columns = np.ascontiguousarray(image.T)
    rising = np.diff(columns, axis=0) > 0
    left, right = np.zeros(columns.shape), np.zeros(columns.shape)
    for column in range(1, len(columns)):
        left[column] = (left[column - 1] + 1) * rising[column - 1]
    for column in range(len(columns) - 2, -1, -1):
        right[column] = (right[column + 1] + 1) * rising[column]
    return left.T, right.T


def _vertical_edges(image: Values) -> Mask:
    """Pixels where the Sobel gradient along the row is strong (its square above four times the mean) and a local
    maximum of the row."""
    strength = cv2.Sobel(image, cv2.CV_64F, 1, 0, ksize=3, borderType=cv2.BORDER_REPLICATE) ** 2
    edges = np.zeros(image.shape, np.bool_)
    middle = strength[:, 1:-1]
    edges[:, 1:-1] = (middle > 4.0 * strength.mean()) & (middle >= strength[:, :-2]) & (middle > strength[:, 2:])
    edges[[0, -1]] = False
    return edges


def _canny_edges(image: Values) -> Mask:
    """Canny's edges, only to see which blocks have any. Thresholds are quantiles of the picture's own gradients, so
    that blur alone takes no block out."""
    found: Any = canny(image, sigma=np.sqrt(2), low_threshold=0.5, high_threshold=0.7, use_quantiles=True)
    return cast(Mask, found)
