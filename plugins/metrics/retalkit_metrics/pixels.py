"""The metric ``pixels``: PSNR and SSIM of the whole frame and of the rectangle around the mouth.

PSNR is made of the squared error of all frames together, so that a few frames without any difference do not carry the
mean away; no difference at all would be infinite and counts as 100 dB. SSIM is the mean over frames, on grey, with the
Gaussian window (standard deviation 1.5 pixels) and the constants of Wang et al.; of the whole frame it is taken in
every fourth frame, since it costs more than everything else here. The mouth's rectangle is that around the ring of skin
from the nose's base to the chin in the unedited frame; windows reach over its edge.
"""

from __future__ import annotations

from typing import Any, Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.metrics import Scores
from retalkit.metrics.scene import MetricSession, Scene, ScoredFrame
from skimage.metrics import structural_similarity

from retalkit_metrics.face_regions import Window, is_found, window
from retalkit_metrics.meters.patches import Mean
from retalkit_metrics.sessions import frame_pair

IDENTICAL: Final = 100.0
"""dB that stand for no difference."""
EVERY: Final = 4
"""Of so many frames one gives the SSIM of the whole frame."""
SMALLEST: Final = 11
"""Pixels: side of SSIM's window; smaller frames have none."""

Image = NDArray[np.uint8]
Float = NDArray[np.float32]


class PixelsMetric:
    """Looks at every frame."""

    def open(self, scene: Scene) -> MetricSession:
        return _Session()


class _Session:
    def __init__(self) -> None:
        self._error, self._mouth_error = Mean(), Mean()
        self._ssim, self._mouth_ssim = Mean(), Mean()

    def add(self, frame: ScoredFrame) -> None:
        original, image = frame_pair(frame)
        error = squared_error(original, image)
        self._error.add(float(error.mean()), float(error.size))
        similar = similarity_map(original, image) if frame.index % EVERY == 0 else None
        if similar is not None:
            self._ssim.add(float(_inner(similar).mean()))
        if not is_found(frame.original_landmarks):
            return
        mouth = window(frame.original_landmarks[list(mesh478.AROUND_MOUTH)], image.shape)
        if mouth is None:
            return
        self._mouth_error.add(float(error[mouth].mean()), float(error[mouth].size))
        there = mouth_similarity(original, image, mouth)
        if there is not None:
            self._mouth_ssim.add(there)

    def result(self) -> Scores:
        return {
            "psnr": decibels(self._error.value),
            "ssim": self._ssim.value,
            "mouth_psnr": decibels(self._mouth_error.value),
            "mouth_ssim": self._mouth_ssim.value,
        }


def decibels(error: float) -> float:
    """PSNR in dB of a mean squared error in grey levels, at most 100; NaN stays."""
    if np.isnan(error):
        return error
    return min(IDENTICAL, float(10.0 * np.log10(255.0**2 / error))) if error > 0 else IDENTICAL


def squared_error(first: Image, second: Image) -> Float:
    """float32 [H, W]: mean over the channels of the squared difference in grey levels."""
    apart = cv2.absdiff(first, second).astype(np.float32)
    return cast(Float, np.square(apart).mean(-1, dtype=np.float32))


def similarity_map(first: Image, second: Image) -> Float | None:
    """SSIM around every pixel, float32 [H, W]; None where the picture is smaller than its window."""
    if min(first.shape[:2]) < SMALLEST:
        return None
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in (first, second)]
    found: Any = structural_similarity(
        *grey, data_range=255.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    return cast(Float, found[1])


def mouth_similarity(first: Image, second: Image, mouth: Window) -> float | None:
    """Mean SSIM of a rectangle (rows, columns), its windows reaching over the edge as far as the picture does."""
    reach = SMALLEST // 2
    rows, columns = mouth
    top, left = max(rows.start - reach, 0), max(columns.start - reach, 0)
    around = slice(top, rows.stop + reach), slice(left, columns.stop + reach)
    similar = similarity_map(first[around], second[around])
    if similar is None:
        return None
    return float(similar[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left].mean())


def _inner(similar: Float) -> Float:
    """Without the border, where the window hangs over the edge of the picture."""
    reach = SMALLEST // 2
    return similar[reach:-reach, reach:-reach]
