"""Seamless blending of two images with a smooth colour offset and a Laplacian pyramid."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]


class LightMatch:
    """Adaptation of images to the light on the skin of a target image.

    Only skin pixels are compared. Pixels outside the mask, such as lips and hands, receive the offset of their
    neighbourhood.
    """

    def __init__(self, target: Float, skin: NDArray[np.uint8], sigma: float, reduce: int = 4) -> None:
        """Measure the target image.

        ``target``: float32 [H, W, 3] in [0, 255]. ``skin``: mask with the value 1 on skin and 0 elsewhere, uint8
        [H, W]. ``sigma``: standard deviation of the smoothing in pixels. ``reduce``: size of the cells, in pixels, for
        which all values are computed.
        """
        self._size, self._reduce, self._spread = skin.shape, reduce, max(sigma / reduce, 0.3)
        weight = skin.astype(np.float32)
        self._weight = cv2.merge([weight] * 3)
        density = self._cell_means(weight)
        self._total = float(cv2.sumElems(density)[0])
        smooth = self._blurred(density) + np.float32(1e-3)
        self._density = cv2.merge([smooth] * 3)
        self._target = self.means(target)

    def means(self, image: Float) -> Float:
        """Return the mean of each cell's skin pixels times the fraction of skin in the cell, float32 [h, w, 3]."""
        return self._cell_means(np.asarray(cv2.multiply(image, self._weight), np.float32))

    def gain(self, means: Float) -> Float:
        """Return the ``light_gain`` of an image with the given ``means``, float32 [3]."""
        if self._total <= 0:
            return np.ones(3, np.float32)
        return _light_gain(*(np.array(cv2.sumElems(cells)[:3]) / self._total for cells in (self._target, means)))

    def offset(self, means: Float, limit: float = 60.0) -> Float:
        """Return the smooth colour offset that matches an image to the target, float32 [H, W, 3].

        The offset is the normalised convolution (Knutsson and Westin, CVPR 1993) of the difference with a Gaussian.
        ``means``: ``means`` of the image. ``limit``: maximum offset in grey levels.
        """
        difference = self._blurred(np.asarray(cv2.subtract(self._target, means), np.float32))
        offset = np.clip(cv2.divide(difference, self._density), -limit, limit)
        size = (offset.shape[1] * self._reduce, offset.shape[0] * self._reduce)
        full = cv2.resize(offset, size, interpolation=cv2.INTER_LINEAR)
        return np.asarray(full[: self._size[0], : self._size[1]], np.float32)

    def _cell_means(self, weighted: Float) -> Float:
        # Padding to complete cells with weight 0 allows the downsampling to be computed as a plain mean.
        height, width = (-(-length // self._reduce) for length in self._size)
        down, across = height * self._reduce - self._size[0], width * self._reduce - self._size[1]
        padded = cv2.copyMakeBorder(weighted, 0, down, 0, across, cv2.BORDER_CONSTANT, value=(0.0, 0.0, 0.0, 0.0))
        return np.asarray(cv2.resize(padded, (width, height), interpolation=cv2.INTER_AREA), np.float32)

    def _blurred(self, cells: Float) -> Float:
        return np.asarray(cv2.GaussianBlur(cells, (0, 0), self._spread), np.float32)


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
    return _light_gain(*(np.array(cv2.mean(image, skin)[:3]) for image in (target, moved)))


def _light_gain(wanted: NDArray[np.float64], found: NDArray[np.float64]) -> Float:
    """Return the ``light_gain`` for the mean RGB values of the target and the moved image, [3] each."""
    difference = np.log((wanted + 1.0) / (found + 1.0))
    low, high = _LIGHT_RAMP
    share = min(max((float(np.abs(difference).max()) - low) / (high - low), 0.0), 1.0)
    share = share * share * (3 - 2 * share)
    return np.clip(np.exp(difference * share), *_GAIN_LIMITS).astype(np.float32)


def band_count(height: int, width: int, limit: int, coarsest: float) -> int:
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
