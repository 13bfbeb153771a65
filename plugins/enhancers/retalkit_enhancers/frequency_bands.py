"""Fine frequency bands of an image, and where their energy is missing."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

STEP = 4
"""Size in pixels of a cell of the grid on which energies are compared."""
NOISE_FLOOR = 0.15
"""Variance in squared grey levels (about that of rounding to 8 bits) below which a band counts as empty."""
_SUBSAMPLE_FROM = 4000
"""Number of pixels from which medians use every second row and column only."""


def fine_bands(grey: Float) -> tuple[Float, Float]:
    """Return the two finest bands of a Laplacian pyramid at full size, float32 [h, w] each, in grey levels.

    Burt and Adelson, "The Laplacian pyramid as a compact image code", 1983, without the subsampling.
    """
    fine = cv2.GaussianBlur(grey, (3, 3), 0.8)
    coarse = cv2.GaussianBlur(fine, (5, 5), 1.3)
    return grey - fine, fine - coarse


def shrink(image: Float) -> Float:
    """Return the mean over cells of ``STEP`` x ``STEP`` pixels; cells beyond the edge are padded with 0."""
    high, wide = image.shape[:2]
    fill = (-high % STEP, -wide % STEP)
    filled = cv2.copyMakeBorder(image, 0, fill[0], 0, fill[1], cv2.BORDER_CONSTANT, value=(0.0, 0.0, 0.0, 0.0))
    size = (filled.shape[1] // STEP, filled.shape[0] // STEP)
    return np.asarray(cv2.resize(filled, size, interpolation=cv2.INTER_AREA), np.float32)


def enlarge(small: Float, shape: tuple[int, ...]) -> Float:
    """Upsample cells bilinearly to the pixels of an image of ``shape``."""
    size = (small.shape[1] * STEP, small.shape[0] * STEP)
    full = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(full[: shape[0], : shape[1]], np.float32)


def limited(band: Float, limit: float) -> Float:
    """Return ``band`` clipped to ``limit`` grey levels on both sides."""
    return np.clip(band, np.float32(-limit), np.float32(limit))


def probe(grey: Float, band: Float, level: int) -> Float:
    """Return the signal whose energy represents a band.

    For the finest band it is the Laplacian: softening removes the highest frequencies first, which the energy of the
    band itself hides. For the next band it is the band.
    """
    return np.asarray(cv2.Laplacian(grey, cv2.CV_32F), np.float32) if level == 0 else band


class Support:
    """The pixels whose detail is compared."""

    def __init__(self, pixels: Image) -> None:
        """``pixels`` uint8 [h, w]: 1 where a pixel counts, else 0."""
        self.pixels = pixels
        self.count = cv2.countNonZero(pixels)
        self._every = 2 if self.count > _SUBSAMPLE_FROM else 1
        self._sampled = np.flatnonzero(self._thinned(pixels))

    def _thinned(self, image: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.ascontiguousarray(image[:: self._every, :: self._every])

    def texture_limit(self, band: Float) -> float:
        """Return four robust standard deviations of a band: values beyond are edges, not texture."""
        values = np.abs(self._thinned(band).take(self._sampled))
        if not len(values):
            return 4 * float(np.sqrt(NOISE_FLOOR))
        middle = float(np.partition(values, len(values) // 2)[len(values) // 2])
        return 4 * max(1.48 * middle, float(np.sqrt(NOISE_FLOOR)))

    def laplacian_energy(self, grey: Float, limit: float) -> float:
        """Return the mean squared Laplacian, clipped at ``limit``."""
        values = limited(np.asarray(cv2.Laplacian(grey, cv2.CV_32F), np.float32), limit)
        return cv2.norm(values, cv2.NORM_L2SQR, self.pixels) / max(self.count, 1)


class LocalMean:
    """Weighted local averages on the coarse grid; cells without weight get the value of their surroundings."""

    def __init__(self, weight: Float, radius: float) -> None:
        """``weight`` float32 [h, w], 0 or 1; ``radius`` standard deviation of the average, in pixels of the image."""
        self.weight = weight
        self._sigma = max(0.5, radius / STEP)
        cells = shrink(weight)
        self._total = float(cells.sum())
        self._share = self._blur(cells) + np.float32(1e-3)

    def _blur(self, small: Float) -> Float:
        return np.asarray(cv2.GaussianBlur(small, (0, 0), self._sigma), np.float32)

    def average(self, *products: Float) -> list[Float]:
        """Return the local average of up to four images (full size, 0 where the weight is 0) on the coarse grid."""
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
    """How to restore the energy of one band, on the coarse grid."""

    gain: Float
    """Factor of the edit's band, at least 1."""
    grain: Float
    """Factor of the original's band that is added, at least 0."""
    needed: bool


def match_band_energy(
    mean: LocalMean, edited: Float, original: Float, strength: float, max_gain: float, start: float
) -> BandGain:
    """Return factors that raise the energy of ``edited`` to that of ``original``, both through the same ``probe``.

    A limited gain first; the rest comes from the band of the original, with a factor that accounts for the correlation
    of both: var(g e + a o) = g^2 E_e + a^2 E_o + 2 g a E_eo = E_o. Nothing is needed where the amplitude ratio is below
    ``start``.
    """
    edited, original = edited * mean.weight, original * mean.weight
    have, want, shared = mean.average(edited * edited, original * original, edited * original)
    ratio = np.sqrt((want + NOISE_FLOOR) / (have + NOISE_FLOOR))
    onset = np.clip((ratio - 1) / (start - 1) - 1, 0, 1) * strength
    gain = 1 + (np.minimum(ratio, max_gain) - 1) * onset
    missing = np.maximum(want - gain**2 * have, 0) * onset
    agree = gain * shared
    grain = (np.sqrt(agree**2 + missing * np.maximum(want, 1e-3)) - agree) / np.maximum(want, 1e-3)
    grain = np.clip(grain, 0, 1) * (want > NOISE_FLOOR)
    return BandGain(gain, grain, bool((onset > 0).any()))
