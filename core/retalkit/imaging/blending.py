"""Seamless blending of two images with a smooth colour offset and a Laplacian pyramid."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]


def low_frequency_offset(
    target: Float, moved: Float, weight: Float, sigma: float, limit: float = 60.0, reduce: int = 4
) -> Float:
    """Compute a smooth colour offset that matches the lighting of ``moved`` to the lighting of ``target``.

    The offset is the normalised convolution (Knutsson and Westin, CVPR 1993) of ``target - moved`` with a Gaussian.
    Pixels with weight 0, such as lips and hands, do not contribute to the offset, but receive the offset of their
    neighbourhood.

    ``target`` and ``moved``: images, float32 [H, W, 3]. ``weight``: non-negative pixel weights, float32 [H, W].
    ``sigma``: standard deviation in pixels. ``limit``: maximum offset in grey levels. ``reduce``: downsampling factor
    for the computation. Returns float32 [H, W, 3].
    """
    height, width = weight.shape
    spread = max(sigma / reduce, 0.3)
    weighted = cv2.merge([cv2.multiply(cv2.subtract(target, moved), cv2.merge([weight] * 3)), weight])
    # Padding to complete cells with weight 0 allows the downsampling to be computed as a plain mean.
    padding = (-height % reduce, -width % reduce)
    weighted = cv2.copyMakeBorder(
        weighted, 0, padding[0], 0, padding[1], cv2.BORDER_CONSTANT, value=(0.0, 0.0, 0.0, 0.0)
    )
    reduced_size = ((width + padding[1]) // reduce, (height + padding[0]) // reduce)
    *difference, density = cv2.split(
        cv2.GaussianBlur(cv2.resize(weighted, reduced_size, interpolation=cv2.INTER_AREA), (0, 0), spread)
    )
    density = density + np.float32(1e-3)
    offset = cv2.merge([np.clip(channel / density, -limit, limit) for channel in difference])
    full_size = (reduced_size[0] * reduce, reduced_size[1] * reduce)
    full = cv2.resize(offset, full_size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(full[:height, :width], np.float32)


_LIGHT_RAMP = (0.10, 0.25)
"""Differences in the logarithm of the brightness at which ``light_gain`` starts to differ from 1 and at which it
compensates for the whole difference."""
_GAIN_LIMITS = (1 / 32, 6.0)


def light_gain(target: Float, moved: Float, skin: NDArray[np.uint8]) -> Float:
    """Return the gain of each channel that adapts ``moved`` to the light on ``target``, float32 [3].

    An additive offset is sufficient for small differences, for which the gain is exactly 1. In a fade or at another
    exposure, however, it would keep the contrast and the saturation of ``moved``.

    ``target`` and ``moved``: images, float32 [H, W, 3] in [0, 255]. ``skin``: mask that is non-zero on skin, uint8
    [H, W].
    """
    if not cv2.countNonZero(skin):
        return np.ones(3, np.float32)
    wanted, found = (np.array(cv2.mean(image, skin)[:3]) + 1.0 for image in (target, moved))
    difference = np.log(wanted / found)
    low, high = _LIGHT_RAMP
    share = float(np.clip((np.abs(difference).max() - low) / (high - low), 0, 1))
    share = share * share * (3 - 2 * share)
    return np.clip(np.exp(difference * share), *_GAIN_LIMITS).astype(np.float32)


def band_count(height: int, width: int, limit: int, coarsest: int) -> int:
    """Compute the number of pyramid bands, from 1 to ``limit``, for an image of the given size.

    The shorter side of the coarsest band has at least ``coarsest`` pixels, unless the image itself is smaller.
    """
    halvings = int(np.log2(max(1, min(height, width)) / coarsest))
    return max(1, min(limit, halvings + 1))


def pyramid_blend(base: Float, top: Float, mask: Float, bands: int) -> Float:
    """Blend ``top`` over ``base`` with ``mask``. Coarse bands have wider transitions than fine bands.

    The method is described in Burt and Adelson, "A multiresolution spline with application to image mosaics", ACM TOG
    1983.

    ``top`` and ``base``: images of any size, float32 [H, W, 3]. ``mask``: blend weights in [0, 1], float32 [H, W].
    ``bands``: number of pyramid bands, at least 1. Returns float32 [H, W, 3] without clipping. Where the mask is 0, the
    result differs from ``base`` within the support of the coarsest band. Callers must therefore limit the pasted
    region.
    """
    # The blend is linear and equals base + reconstruct(mask pyramid * Laplacian pyramid of the difference).
    differences, masks = [np.asarray(cv2.subtract(top, base), np.float32)], [mask]
    for _ in range(bands - 1):
        differences.append(np.asarray(cv2.pyrDown(differences[-1]), np.float32))
        masks.append(np.asarray(cv2.pyrDown(masks[-1]), np.float32))
    result = np.asarray(cv2.multiply(differences[-1], cv2.merge([masks[-1]] * 3)), np.float32)
    for level in range(bands - 2, -1, -1):
        detail = cv2.subtract(differences[level], _upsample(differences[level + 1], masks[level]))
        detail = cv2.multiply(detail, cv2.merge([masks[level]] * 3))
        result = np.asarray(cv2.add(_upsample(result, masks[level]), detail), np.float32)
    return np.asarray(cv2.add(base, result), np.float32)


def _upsample(image: Float, like: Float) -> Float:
    """Upsample the image by a factor of 2 and crop the result to the size of ``like``."""
    return np.asarray(cv2.pyrUp(image, dstsize=(like.shape[1], like.shape[0])), np.float32)
