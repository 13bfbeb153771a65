"""Fine bands of a picture and where their energy is missing."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

STEP = 4
"""Energies are compared on a grid this much coarser than the picture."""
NOISE_FLOOR = 0.15
"""Variance in squared grey levels (about that of rounding to 8 bits) below which a band counts as empty."""


def fine_bands(grey: Float) -> tuple[Float, Float]:
    """The two finest bands of a Laplacian pyramid at full size, float32 [h, w] each, in grey levels.

    Burt and Adelson, "The Laplacian pyramid as a compact image code", 1983, without the subsampling.
    """
    fine = cv2.GaussianBlur(grey, (3, 3), 0.8)
    coarse = cv2.GaussianBlur(fine, (5, 5), 1.3)
    return grey - fine, fine - coarse


def shrink(picture: Float) -> Float:
    """Mean over cells of ``STEP`` x ``STEP`` pixels."""
    high, wide = picture.shape[:2]
    size = (max(1, wide // STEP), max(1, high // STEP))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)


def enlarge(small: Float, shape: tuple[int, ...]) -> Float:
    """Back to ``shape``, smoothly."""
    return np.asarray(cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)


def probe(grey: Float, band: Float, level: int) -> Float:
    """What a band's energy is measured by. The finest one by the Laplacian, because softening takes the highest
    frequencies first and the band's own energy hides that; the next one by itself."""
    return np.asarray(cv2.Laplacian(grey, cv2.CV_32F), np.float32) if level == 0 else band


def usual_limit(band: Float, support: NDArray[np.bool_]) -> float:
    """Four robust standard deviations of a band over ``support``: what lies beyond is an edge, not texture."""
    middle = float(np.median(np.abs(band[support])))
    return 4 * max(1.48 * middle, np.sqrt(NOISE_FLOOR))


def laplacian_energy(grey: Float, support: NDArray[np.bool_], limit: float) -> float:
    """Mean squared Laplacian over ``support``, edges beyond ``limit`` counted as the limit."""
    values = cv2.Laplacian(grey, cv2.CV_32F)[support]
    return float(np.square(np.clip(values, -limit, limit)).mean())


@dataclass(frozen=True, slots=True)
class LocalMean:
    """Weighted local averages on the coarse grid; places without weight take over their surroundings' value."""

    weight: Float
    radius: float
    """Standard deviation of the average, pixels of the full picture."""

    def _blur(self, small: Float) -> Float:
        return cv2.GaussianBlur(small, (0, 0), max(0.5, self.radius / STEP))

    def of(self, product: Float) -> Float:
        """Average of ``product`` (full size) on the coarse grid."""
        cells = shrink(self.weight)
        total = float(cells.sum())
        values = shrink(product * self.weight)
        everywhere = float(values.sum()) / total if total > 0 else 0.0
        return (self._blur(values) + 1e-3 * everywhere) / (self._blur(cells) + 1e-3)


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
    have, want = mean.of(edited * edited), mean.of(original * original)
    shared = mean.of(edited * original)
    ratio = np.sqrt((want + NOISE_FLOOR) / (have + NOISE_FLOOR))
    onset = np.clip((ratio - 1) / (start - 1) - 1, 0, 1) * strength
    gain = 1 + (np.minimum(ratio, max_gain) - 1) * onset
    missing = np.maximum(want - gain**2 * have, 0) * onset
    agree = gain * shared
    grain = (np.sqrt(agree**2 + missing * np.maximum(want, 1e-3)) - agree) / np.maximum(want, 1e-3)
    grain = np.clip(grain, 0, 1) * (want > NOISE_FLOOR)
    return Lift(gain, grain, bool((onset > 0).any()))
