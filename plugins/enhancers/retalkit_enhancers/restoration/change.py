"""What a restored face changes, and how the change gets into the picture.

Only the difference between restored and unrestored face is brought back from the template, and added to the picture. So
the picture loses nothing on the way to 512 x 512 and back: where the network changes nothing every bit stays, and a
face of more than 512 pixels keeps detail that the network never saw. What resampling takes from the finest detail of
the unrestored face, about a third of what lies within two pixels, stays in the picture, too.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.imaging.blending import band_count, pyramid_blend

from retalkit_enhancers.restoration.template import Matrix, warped_back

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

COARSE: Final = 32.0
"""Standard deviation in pixels of 512 of the low-pass that tells coarse colours from detail: a quarter of the distance
of the eyes. Half of it takes hardly more flicker of tint, but twice as much of what makes teeth lighter, and leaves a
deeper shadow around them (``benchmarks/restoration_flicker.py``)."""
_SMALLER: Final = 8
_RESIZED: Final = 1 / 12 + 1 / 6
"""Variance, in small pixels, of the mean over one and of the interpolation between two."""
BANDS: Final = 10
"""Bands of the published mouth blend over 512 x 512; a smaller crop has fewer."""
_LEAST: Final = 1 / 512
"""A mask below this changes no grey level by a half unless the difference is the largest possible."""


def steadied(difference: Float, steadiness: float) -> Float:
    """float32 [512, 512, 3]: the difference that a restoration makes, with ``steadiness`` of its coarse part taken out.

    That is the restored face with this share of its low-pass replaced by the unrestored face's. Flicker of tint and
    light shrinks by it; flicker of fine detail stays.
    """
    if steadiness <= 0:
        return difference
    return difference - np.float32(steadiness) * low_pass(difference, COARSE)


def low_pass(plane: Float, sigma: float) -> Float:
    """float32 [H, W, C]: a Gaussian of ``sigma`` pixels (at least 12) over ``plane``, its borders repeated.

    Computed at an eighth of the size, which takes a fraction of the time. Off by less than a hundredth of the plane's
    range, other than at noisy borders, where it is the steadier one.
    """
    height, wide = plane.shape[:2]
    small = cv2.resize(plane, (max(1, wide // _SMALLER), max(1, height // _SMALLER)), interpolation=cv2.INTER_AREA)
    # Making it small and large again blurs as well.
    own = np.sqrt(max((sigma / _SMALLER) ** 2 - _RESIZED, 0.01))
    smooth = cv2.GaussianBlur(small, (0, 0), float(own), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(smooth, (wide, height), interpolation=cv2.INTER_LINEAR), np.float32)


def face_change(difference: Float, mask: Float, matrix: Matrix, wide: int, height: int) -> tuple[Float, Float]:
    """What to add to a ``wide`` x ``height`` crop, float32 [height, wide, 3] in grey levels, and where it is more than
    nothing, float32 [height, wide] in [0, 1].

    ``difference`` float32 [512, 512, 3] in grey levels and ``mask`` float32 [512, 512] in the template, into which
    ``matrix`` [2, 3] brings the crop.
    """
    both = np.concatenate([difference * mask[:, :, None], mask[:, :, None]], axis=2)
    back = warped_back(both, matrix, wide, height)
    support = back[:, :, 3]
    support = np.where(support > _LEAST, support, np.float32(0))
    return back[:, :, :3] * (support > 0)[:, :, None], support


def mouth_change(crop: Image, difference: Float, mouth: Float, soft: Float, matrix: Matrix) -> tuple[Float, Float]:
    """As ``face_change``, for the mouth alone: blended band by band over the crop (RGB uint8 [height, wide, 3]).

    ``mouth`` float32 [512, 512], 1 on mouth and lips; ``soft`` the same, softened. Coarse bands reach further than the
    mouth; twice ``soft`` (1 at the mouth's border) ends their reach.
    """
    height, wide = crop.shape[:2]
    base = crop.astype(np.float32)
    mask = warped_back(mouth, matrix, wide, height)
    bands = band_count(height, wide, limit=BANDS, coarsest=2)
    blended = pyramid_blend(base, base + warped_back(difference, matrix, wide, height), mask, bands)
    support = np.minimum(2 * warped_back(soft, matrix, wide, height), np.float32(1))
    support = np.where(support > _LEAST, support, np.float32(0))
    return (blended - base) * support[:, :, None], support


def added(crop: Image, change: Float, share: float) -> Image:
    """RGB uint8 [h, w, 3]: ``crop`` with ``share`` of ``change`` (grey levels), rounded and cut."""
    return np.clip(np.rint(crop + np.float32(share) * change), 0, 255).astype(np.uint8)
