"""Fine bands of a picture and where their energy is missing."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

STEP = 4
"""Energies are compared on a grid this much coarser than the picture."""
NOISE_FLOOR = 0.15
"""Variance in squared grey levels (about that of rounding to 8 bits) below which a band counts as empty."""
_MANY = 4000
"""Of more pixels than these every second row and column says enough about a median."""


def fine_bands(grey: Float) -> tuple[Float, Float]:
    """The two finest bands of a Laplacian pyramid at full size, float32 [h, w] each, in grey levels.

    Burt and Adelson, "The Laplacian pyramid as a compact image code", 1983, without the subsampling.
    """
    fine = cv2.GaussianBlur(grey, (3, 3), 0.8)
    coarse = cv2.GaussianBlur(fine, (5, 5), 1.3)
    return grey - fine, fine - coarse


def shrink(picture: Float) -> Float:
    """Mean over cells of ``STEP`` x ``STEP`` pixels; cells over the edge are filled up with 0."""
    high, wide = picture.shape[:2]
    fill = (-high % STEP, -wide % STEP)
    filled = cv2.copyMakeBorder(picture, 0, fill[0], 0, fill[1], cv2.BORDER_CONSTANT, value=(0.0, 0.0, 0.0, 0.0))
    size = (filled.shape[1] // STEP, filled.shape[0] // STEP)
    return np.asarray(cv2.resize(filled, size, interpolation=cv2.INTER_AREA), np.float32)


def enlarge(small: Float, shape: tuple[int, ...]) -> Float:
    """From cells back to pixels of a picture of ``shape``, smoothly."""
    size = (small.shape[1] * STEP, small.shape[0] * STEP)
    full = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(full[: shape[0], : shape[1]], np.float32)


def limited(band: Float, limit: float) -> Float:
    """``band`` cut off at ``limit`` grey levels on both sides."""
    return np.asarray(cv2.max(cv2.min(band, limit), -limit), np.float32)


def probe(grey: Float, band: Float, level: int) -> Float:
    """What a band's energy is measured by. The finest one by the Laplacian, because softening takes the highest
    frequencies first and the band's own energy hides that; the next one by itself."""
    return np.asarray(cv2.Laplacian(grey, cv2.CV_32F), np.float32) if level == 0 else band


class Support:
    """The pixels whose detail is compared."""

    def __init__(self, pixels: Image) -> None:
        """``pixels`` uint8 [h, w]: 1 where a pixel counts, else 0."""
        self.pixels = pixels
        self.count = cv2.countNonZero(pixels)
        self._every = 2 if self.count > _MANY else 1
        self._sampled = np.flatnonzero(self._thinned(pixels))

    def _thinned(self, picture: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.ascontiguousarray(picture[:: self._every, :: self._every])

    def usual_limit(self, band: Float) -> float:
        """Four robust standard deviations of a band: what lies beyond is an edge, not texture."""
        values = np.abs(self._thinned(band).take(self._sampled))
        if not len(values):
            return 4 * float(np.sqrt(NOISE_FLOOR))
        middle = float(np.partition(values, len(values) // 2)[len(values) // 2])
        return 4 * max(1.48 * middle, float(np.sqrt(NOISE_FLOOR)))

    def laplacian_energy(self, grey: Float, limit: float) -> float:
        """Mean squared Laplacian, edges beyond ``limit`` counted as the limit."""
        values = limited(np.asarray(cv2.Laplacian(grey, cv2.CV_32F), np.float32), limit)
        return cv2.norm(values, cv2.NORM_L2SQR, self.pixels) / max(self.count, 1)


class LocalMean:
    """Weighted local averages on the coarse grid; places without weight take over their surroundings' value."""

    def __init__(self, weight: Float, radius: float) -> None:
        """``weight`` float32 [h, w], 0 or 1; ``radius`` standard deviation of the average, pixels of the picture."""
        self.weight = weight
        self._sigma = max(0.5, radius / STEP)
        cells = shrink(weight)
        self._total = float(cells.sum())
        self._share = self._blur(cells) + np.float32(1e-3)

    def _blur(self, small: Float) -> Float:
        return np.asarray(cv2.GaussianBlur(small, (0, 0), self._sigma), np.float32)

    def of(self, *products: Float) -> list[Float]:
        """Average of each of up to four pictures (full size, 0 where the weight is 0) on the coarse grid."""
        cells = shrink(cv2.merge(products))
        return [
            self._filled(each, values) for each, values in zip(_split(self._blur(cells)), _split(cells), strict=True)
        ]

    def _filled(self, blurred: Float, cells: Float) -> Float:
        everywhere = float(cells.sum()) / self._total if self._total > 0 else 0.0
        return (blurred + np.float32(1e-3 * everywhere)) / self._share


def _split(picture: Float) -> list[Float]:
    return [np.asarray(channel, np.float32) for channel in cv2.split(picture)]


@dataclass(frozen=True, slots=True)
class Lift:
    """What one band needs, on the coarse grid."""

    gain: Float
    """Factor for the band that is there, at least 1."""
    grain: Float
    """Factor for the original's band, at least 0."""
    needed: bool


def plan_lift(mean: LocalMean, edited: Float, original: Float, strength: float, max_gain: float, start: float) -> Lift:
    """How to bring the energy of ``edited`` to that of ``original``, both seen through the same ``probe``.

    A limited gain first; what is still missing comes from the original's own band, with a factor that takes into
    account how much both agree already: var(g e + a o) = g^2 E_e + a^2 E_o + 2 g a E_eo = E_o. Nothing is needed where
    the amplitude ratio stays below ``start``.
    """
    edited, original = edited * mean.weight, original * mean.weight
    have, want, shared = mean.of(edited * edited, original * original, edited * original)
    ratio = np.sqrt((want + NOISE_FLOOR) / (have + NOISE_FLOOR))
    onset = np.clip((ratio - 1) / (start - 1) - 1, 0, 1) * strength
    gain = 1 + (np.minimum(ratio, max_gain) - 1) * onset
    missing = np.maximum(want - gain**2 * have, 0) * onset
    agree = gain * shared
    grain = (np.sqrt(agree**2 + missing * np.maximum(want, 1e-3)) - agree) / np.maximum(want, 1e-3)
    grain = np.clip(grain, 0, 1) * (want > NOISE_FLOOR)
    return Lift(gain, grain, bool((onset > 0).any()))
