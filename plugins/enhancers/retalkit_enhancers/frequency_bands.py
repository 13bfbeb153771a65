"""Fine frequency bands of an image, and local estimates of the energy that an edit lacks in these bands."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

STEP = 4
"""Cell size, in pixels, of the grid on which band energies are compared."""
NOISE_FLOOR = 0.15
"""Variance, in squared grey levels, below which a band is considered empty. The value is close to the 8-bit rounding
variance.
"""
_ZERO = (0.0, 0.0, 0.0, 0.0)
_SUBSAMPLE_FROM = 4000
"""Number of pixels above which medians are computed only from every second row and column."""


def fine_bands(grey: Float) -> tuple[Float, Float]:
    """Return the two finest bands of a Laplacian pyramid without subsampling, float32 [h, w] each, in grey levels.

    Reference: Burt and Adelson, "The Laplacian pyramid as a compact image code", 1983.
    """
    fine = cv2.GaussianBlur(grey, (3, 3), 0.8)
    coarse = cv2.GaussianBlur(fine, (5, 5), 1.3)
    return grey - fine, fine - coarse


def whole_cells(length: int, limit: int) -> int:
    """Return ``length``, rounded up to complete grid cells if the result does not exceed ``limit``."""
    rounded = length + -length % STEP
    return rounded if rounded <= limit else length


def shrink(image: Float) -> Float:
    """Return the mean of each grid cell of ``STEP`` x ``STEP`` pixels. Cells that extend beyond the image are padded
    with 0.
    """
    high, wide = image.shape[:2]
    fill = (-high % STEP, -wide % STEP)
    if any(fill):
        image = np.asarray(
            cv2.copyMakeBorder(image, 0, fill[0], 0, fill[1], cv2.BORDER_CONSTANT, value=_ZERO), np.float32
        )
    size = (image.shape[1] // STEP, image.shape[0] // STEP)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)


def enlarge(small: Float, shape: tuple[int, ...]) -> Float:
    """Upsample grid cells bilinearly to an image with the shape ``shape``."""
    size = (small.shape[1] * STEP, small.shape[0] * STEP)
    full = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(full[: shape[0], : shape[1]], np.float32)


def limited(band: Float, limit: float) -> Float:
    """Return ``band``, clipped to [-``limit``, ``limit``] grey levels."""
    # Two ufuncs are faster than np.clip.
    clipped = np.maximum(band, np.float32(-limit))
    return np.minimum(clipped, np.float32(limit), out=clipped)


def laplacian(grey: Float) -> Float:
    """Return the Laplacian of an image, float32 [h, w].

    The energy of the Laplacian represents the finest band. Softening removes the highest frequencies first, and the
    energy of the band itself does not reflect this loss.
    """
    return np.asarray(cv2.Laplacian(grey, cv2.CV_32F), np.float32)


class Support:
    """Set of pixels on which the detail of edit and original is compared."""

    def __init__(self, pixels: Image) -> None:
        """Create the pixel set. ``pixels``: uint8 [h, w], 1 for pixels in the set and 0 elsewhere."""
        self.pixels = pixels
        self.count = cv2.countNonZero(pixels)
        self._every = 2 if self.count > _SUBSAMPLE_FROM else 1
        self._sampled = np.flatnonzero(self._thinned(pixels))

    def _thinned(self, image: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.ascontiguousarray(image[:: self._every, :: self._every])

    def texture_limit(self, band: Float) -> float:
        """Return four robust standard deviations of ``band``.

        Values beyond this limit are considered edges instead of texture.
        """
        values = np.abs(self._thinned(band).take(self._sampled))
        if not len(values):
            return 4 * float(np.sqrt(NOISE_FLOOR))
        middle = float(np.partition(values, len(values) // 2)[len(values) // 2])
        return 4 * max(1.48 * middle, float(np.sqrt(NOISE_FLOOR)))

    def energy(self, values: Float) -> float:
        """Return the mean square of ``values``, float32 [h, w]."""
        return cv2.norm(values, cv2.NORM_L2SQR, self.pixels) / max(self.count, 1)


class LocalMean:
    """Weighted local averages on the coarse grid. Cells with a total weight of 0 receive the average of the surrounding
    cells.
    """

    def __init__(self, weight: Float, radius: float) -> None:
        """Create the average.

        ``weight``: float32 [h, w] with values 0 or 1. ``radius``: standard deviation of the averaging window in image
        pixels.
        """
        self.weight = weight
        self._sigma = max(0.5, radius / STEP)
        cells = shrink(weight)
        self._total = float(cells.sum())
        self._share = self._blur(cells) + np.float32(1e-3)

    def _blur(self, small: Float) -> Float:
        return np.asarray(cv2.GaussianBlur(small, (0, 0), self._sigma), np.float32)

    def average(self, *products: Float) -> list[Float]:
        """Return the local averages of up to four full-size images on the coarse grid.

        The images must be 0 where the weight is 0.
        """
        cells = shrink(np.asarray(cv2.merge(products), np.float32))
        return [
            self._filled(each, values) for each, values in zip(_split(self._blur(cells)), _split(cells), strict=True)
        ]

    def _filled(self, blurred: Float, cells: Float) -> Float:
        everywhere = float(cells.sum()) / self._total if self._total > 0 else 0.0
        return (blurred + np.float32(1e-3 * everywhere)) / self._share


def _split(image: Float) -> list[Float]:
    return [np.asarray(channel, np.float32) for channel in cv2.split(image)]


@dataclass(frozen=True, slots=True)
class BandGain:
    """Gain and grain factors on the coarse grid, which restore the energy of one band."""

    gain: Float
    """Factor that is applied to the edit's band. The value is at least 1."""
    grain: Float
    """Factor that is applied to the original's band before the band is added. The value is at least 0."""
    level: Float
    """Root mean square of the original's texture on the surrounding skin, in grey levels."""
    needed: bool


def match_band_energy(
    mean: LocalMean,
    edited: Float,
    original: Float,
    texture: Float,
    strength: float,
    max_gain: float,
    start: float,
) -> BandGain:
    """Return factors that raise the energy of ``edited`` to the energy of ``original``.

    ``edited``, ``original``: values whose energy represents the band, float32 [h, w]. The function first applies a
    limited gain to the edit. The original's band supplies the remaining energy, with a factor that accounts for the
    correlation between the two bands: var(g e + a o) = g^2 E_e + a^2 E_o + 2 g a E_eo = E_o. Cells with an amplitude
    ratio below ``start`` remain unchanged. ``texture``: texture of the original's band, float32 [h, w].
    """
    edited, original, texture = edited * mean.weight, original * mean.weight, texture * mean.weight
    have, want, shared, around = mean.average(
        edited * edited, original * original, edited * original, texture * texture
    )
    ratio = np.sqrt((want + NOISE_FLOOR) / (have + NOISE_FLOOR))
    onset = np.clip((ratio - 1) / (start - 1) - 1, 0, 1) * strength
    gain = 1 + (np.minimum(ratio, max_gain) - 1) * onset
    missing = np.maximum(want - gain**2 * have, 0) * onset
    agree = gain * shared
    grain = (np.sqrt(agree**2 + missing * np.maximum(want, 1e-3)) - agree) / np.maximum(want, 1e-3)
    grain = np.clip(grain, 0, 1) * (want > NOISE_FLOOR)
    return BandGain(gain, grain, np.sqrt(around), bool((onset > 0).any()))
