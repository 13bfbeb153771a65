"""The difference that a restoration makes, and how it is added to the frame.

Only the difference between the restored and the unrestored face is warped back from the template and added to the
frame. The frame therefore loses nothing on the way to 512 x 512 and back: pixels that the network does not change stay
bit-identical, and a face larger than 512 pixels keeps detail that the network never saw. The finest detail that
resampling removes from the unrestored face, about a third of what lies within two pixels, also stays in the frame.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.imaging.blending import band_count, pyramid_blend

from retalkit_enhancers.restoration.template import Matrix, warp_from_template

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

COARSE: Final = 32.0
"""Standard deviation, in pixels of 512, of the low-pass that separates coarse colours from detail: a quarter of the
distance of the eyes. Half of it removes hardly more flicker of tint, but twice as much of what brightens teeth, and
leaves a deeper shadow around them (``benchmarks/restoration_flicker.py``)."""
_REDUCTION: Final = 8
_RESIZE_VARIANCE: Final = 1 / 12 + 1 / 6
"""Variance, in small pixels, of averaging over one pixel and of interpolating between two."""
BANDS: Final = 10
"""Bands of the published mouth blend over 512 x 512; a smaller crop has fewer."""
_LEAST_MASK: Final = 1 / 512
"""A smaller mask value changes no grey level by half unless the difference is the largest possible."""


def reduce_flicker(difference: Float, steadiness: float) -> Float:
    """Return the difference float32 [512, 512, 3] with the share ``steadiness`` of its low-pass removed.

    This replaces that share of the restored face's low-pass with the unrestored face's. It reduces flicker of tint and
    light; flicker of fine detail stays.
    """
    if steadiness <= 0:
        return difference
    return difference - np.float32(steadiness) * low_pass(difference, COARSE)


def low_pass(plane: Float, sigma: float) -> Float:
    """Return ``plane`` float32 [H, W, C] after a Gaussian of ``sigma`` pixels (at least 12), with replicated borders.

    Computed at an eighth of the size, in a fraction of the time. The error is below a hundredth of the plane's range,
    except at noisy borders, where this result is the smoother one.
    """
    height, width = plane.shape[:2]
    small = cv2.resize(plane, (max(1, width // _REDUCTION), max(1, height // _REDUCTION)), interpolation=cv2.INTER_AREA)
    # Both resizes blur as well.
    own = np.sqrt(max((sigma / _REDUCTION) ** 2 - _RESIZE_VARIANCE, 0.01))
    smooth = cv2.GaussianBlur(small, (0, 0), float(own), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def face_difference(difference: Float, mask: Float, matrix: Matrix, width: int, height: int) -> tuple[Float, Float]:
    """Return what to add to a ``width`` x ``height`` crop, and where it is not zero.

    ``difference`` float32 [512, 512, 3] in grey levels and ``mask`` float32 [512, 512], both in the template;
    ``matrix`` [2, 3] maps the crop to the template. Returns float32 [height, width, 3] in grey levels, and float32
    [height, width] in [0, 1].
    """
    both = np.concatenate([difference * mask[:, :, None], mask[:, :, None]], axis=2)
    back = warp_from_template(both, matrix, width, height)
    support = back[:, :, 3]
    support = np.where(support > _LEAST_MASK, support, np.float32(0))
    return back[:, :, :3] * (support > 0)[:, :, None], support


def mouth_difference(crop: Image, difference: Float, mouth: Float, soft: Float, matrix: Matrix) -> tuple[Float, Float]:
    """Return the same as ``face_difference`` for the mouth alone, blended band by band over the crop.

    ``crop`` RGB uint8 [height, width, 3]; ``mouth`` float32 [512, 512], 1 on mouth and lips; ``soft``: the softened
    mask. Coarse bands reach further than the mouth; twice ``soft`` (1 at the border of the mouth) limits their reach.
    """
    height, width = crop.shape[:2]
    base = crop.astype(np.float32)
    mask = warp_from_template(mouth, matrix, width, height)
    bands = band_count(height, width, limit=BANDS, coarsest=2)
    blended = pyramid_blend(base, base + warp_from_template(difference, matrix, width, height), mask, bands)
    support = np.minimum(2 * warp_from_template(soft, matrix, width, height), np.float32(1))
    support = np.where(support > _LEAST_MASK, support, np.float32(0))
    return (blended - base) * support[:, :, None], support


def add_difference(crop: Image, difference: Float, strength: float) -> Image:
    """Return ``crop`` plus ``strength`` times ``difference`` (grey levels), rounded, clipped: RGB uint8 [h, w, 3]."""
    return np.clip(np.rint(crop + np.float32(strength) * difference), 0, 255).astype(np.uint8)
