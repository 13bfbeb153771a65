"""Difference between restored and unrestored faces, which is added to the frame.

The enhancer warps only this difference from the aligned face to the frame and adds it. The frame itself is therefore
not resampled to 512 x 512 and back. Pixels that the network does not change stay bit-identical, and a face larger than
512 pixels keeps detail beyond the network's resolution. The frame also keeps the fine detail that resampling to 512 x
512 and back would remove: about a third of the image detail at scales below two pixels.
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
"""Standard deviation, in pixels of the 512-pixel template, of the low-pass filter that separates coarse colours from
detail. The value is a quarter of the eye distance. Half of this value would remove only slightly more tint flicker.
It would also remove twice as much of an intended brightening of the teeth, and leave a darker shadow around the
teeth (``benchmarks/restoration_flicker.py``).
"""
_REDUCTION: Final = 8
_RESIZE_VARIANCE: Final = 1 / 12 + 1 / 6
"""Variance of averaging over one pixel plus variance of interpolating between two pixels, in squared pixels of the
reduced image.
"""
BANDS: Final = 10
"""Number of bands of the published mouth blend at 512 x 512. A smaller crop uses fewer bands."""
_LEAST_MASK: Final = 1 / 512
"""Minimum mask value. Smaller values change a pixel by less than half a grey level, except at the largest difference.
"""


def reduce_flicker(difference: Float, steadiness: float) -> Float:
    """Return ``difference``, float32 [512, 512, 3], after subtracting the fraction ``steadiness`` of its low-pass
    component.

    The subtraction replaces this fraction of the restored face's low-pass component with that of the unrestored face.
    It reduces the flicker of tint and brightness and does not affect the flicker of fine detail.
    """
    if steadiness <= 0:
        return difference
    return difference - np.float32(steadiness) * low_pass(difference, COARSE)


def low_pass(plane: Float, sigma: float) -> Float:
    """Return ``plane``, float32 [H, W, C], after a Gaussian filter with replicated borders.

    ``sigma``: standard deviation in pixels, at least 12. The filter is computed at an eighth of the resolution, which
    is several times faster. The error is below a hundredth of the plane's range, except at noisy borders, where the
    result is smoother.
    """
    height, width = plane.shape[:2]
    small = cv2.resize(plane, (max(1, width // _REDUCTION), max(1, height // _REDUCTION)), interpolation=cv2.INTER_AREA)
    # Subtract the variance of both resize operations, because they also blur the plane.
    own = np.sqrt(max((sigma / _REDUCTION) ** 2 - _RESIZE_VARIANCE, 0.01))
    smooth = cv2.GaussianBlur(small, (0, 0), float(own), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def face_difference(difference: Float, mask: Float, matrix: Matrix, width: int, height: int) -> tuple[Float, Float]:
    """Return the values to add to a ``width`` x ``height`` crop, and the mask of nonzero values.

    ``difference``: difference in the template, float32 [512, 512, 3] in grey levels. ``mask``: mask in the template,
    float32 [512, 512]. ``matrix``: crop-to-template transform, [2, 3]. Returns the values, float32 [height, width, 3]
    in grey levels, and the mask, float32 [height, width] in [0, 1].
    """
    both = np.concatenate([difference * mask[:, :, None], mask[:, :, None]], axis=2)
    back = warp_from_template(both, matrix, width, height)
    support = back[:, :, 3]
    support = np.where(support > _LEAST_MASK, support, np.float32(0))
    return back[:, :, :3] * (support > 0)[:, :, None], support


def mouth_difference(crop: Image, difference: Float, mouth: Float, soft: Float, matrix: Matrix) -> tuple[Float, Float]:
    """Return the values to add to the mouth and their mask, computed by a band-wise blend over the crop.

    ``crop``: RGB uint8 [height, width, 3]. ``mouth``: mask of mouth and lips, float32 [512, 512]. ``soft``: softened
    mask, float32 [512, 512]. The results have the format of ``face_difference``. Coarse bands extend beyond the mouth.
    The mask 2 * ``soft``, which is 1 at the mouth border, limits this extent.
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
    """Return ``crop`` after adding the weighted difference, rounded and clipped: RGB uint8 [h, w, 3].

    ``difference``: values in grey levels, float32 [h, w, 3]. ``strength``: weight of the difference.
    """
    return np.clip(np.rint(crop + np.float32(strength) * difference), 0, 255).astype(np.uint8)
