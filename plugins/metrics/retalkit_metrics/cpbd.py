"""CPBD, a no-reference sharpness metric, which is the share of edges that are too narrow to appear blurred.

Reference: Narvekar and Karam, "A no-reference image blur metric based on the cumulative probability of blur detection
(CPBD)", IEEE Transactions on Image Processing 20 (9), 2011. An edge of width w appears blurred with probability 1 -
exp(-(w/w_jnb)**3.6). The just noticeable width w_jnb is 5 pixels in low-contrast blocks and 3 pixels in other blocks
(Ferzli and Karam, IEEE TIP 2009). CPBD is the share of edge pixels whose probability is at most 63 %. The edge width is
defined by Marziliano et al., "A no-reference perceptual blur metric", ICIP 2002. It is the distance along the row from
the local minimum to the local maximum around a vertical edge pixel. Only 64 x 64 blocks with enough edges are
evaluated. The paper does not specify the thresholds of its edge detectors. This module uses common defaults for the
Sobel and Canny detectors. Its results therefore differ by a few hundredths from those of other implementations.

CPBD depends on the image size, so only compare frames of equal size.
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
"""Minimum share of edge pixels in an evaluated block."""
BETA: Final = 3.6
LOW_CONTRAST: Final = 50.0
"""Maximum difference, in grey levels, between the brightest and the darkest pixel of a low-contrast block."""
WIDTH_LOW, WIDTH_HIGH = 5.0, 3.0
"""Just noticeable edge widths in pixels for low and high contrast."""
NOTICED: Final = 63.5
"""Probability threshold in percent. Lower probabilities round to at most 63 %, which is the probability at the just
noticeable width.
"""


def cpbd(grey: NDArray[np.uint8]) -> float:
    """Return the CPBD of a greyscale image, from 0 to 1 (sharpest), or NaN if no 64 x 64 block has enough edges.

    ``grey``: uint8 [H, W].
    """
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
    """Return the width in pixels of the vertical edge at each pixel, float64 [H, W].

    The width is at least 2 for edge pixels and 0 for other pixels.
    """
    down, across = np.gradient(image)
    # The gradient direction is within 22.5 degrees of the row direction.
    edges = _vertical_edges(image) & (np.abs(down) < np.tan(np.pi / 8) * np.abs(across))
    rises = edges & (across > 0)
    falls = edges & (across < 0)
    widths = np.zeros(image.shape)
    for values, selected in ((image, rises), (-image, falls)):
        to_left, to_right = _monotonic_runs(values)
        width = np.zeros(image.shape)
        # Extend each run by one pixel per iteration while the row's values keep falling or rising.
        width[:, 1:-1] = 2 + to_left[:, :-2] + to_right[:, 2:]
        widths[selected] = width[selected]
    return widths


def _monotonic_runs(image: Values) -> tuple[Values, Values]:
    """Return the length of the falling run to the left and of the rising run to the right of each pixel.

    Both arrays are float64 [H, W].
    """
    columns = np.ascontiguousarray(image.T)
    rising = np.diff(columns, axis=0) > 0
    left, right = np.zeros(columns.shape), np.zeros(columns.shape)
    for column in range(1, len(columns)):
        left[column] = (left[column - 1] + 1) * rising[column - 1]
    for column in range(len(columns) - 2, -1, -1):
        right[column] = (right[column + 1] + 1) * rising[column]
    return left.T, right.T


def _vertical_edges(image: Values) -> Mask:
    """Return a mask of local maxima of the squared Sobel row gradient that exceed four times the mean."""
    strength = cv2.Sobel(image, cv2.CV_64F, 1, 0, ksize=3, borderType=cv2.BORDER_REPLICATE) ** 2
    edges = np.zeros(image.shape, np.bool_)
    middle = strength[:, 1:-1]
    edges[:, 1:-1] = (middle > 4.0 * strength.mean()) & (middle >= strength[:, :-2]) & (middle > strength[:, 2:])
    edges[[0, -1]] = False
    return edges


def _canny_edges(image: Values) -> Mask:
    """Return a mask of Canny edges, which determine the evaluated blocks.

    The thresholds are quantiles of the image's gradients, so that blur alone does not exclude a block.
    """
    edges: Any = canny(image, sigma=np.sqrt(2), low_threshold=0.5, high_threshold=0.7, use_quantiles=True)
    return cast(Mask, edges)
