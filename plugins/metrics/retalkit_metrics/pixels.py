"""Metric ``pixels``, which computes PSNR and SSIM for the whole frame and the mouth rectangle.

PSNR is computed from the mean squared error over all frames, so that a few identical frames do not dominate the mean.
Identical videos, whose PSNR is infinite, score 100 dB. SSIM is the mean over greyscale frames, with the Gaussian window
(standard deviation 1.5 pixels) and the constants from Wang et al. The SSIM of the whole frame takes most of the time,
so it is computed only for every fourth frame. The mouth rectangle bounds the skin ring from the base of the nose to the
chin in the unedited frame. SSIM windows extend beyond the edge of the rectangle.
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

from retalkit_metrics.face_regions import Window, bounding_window, is_found
from retalkit_metrics.meters.patches import Mean
from retalkit_metrics.sessions import frame_pair

IDENTICAL: Final = 100.0
"""PSNR in dB that is assigned to identical images."""
SSIM_STEP: Final = 4
"""Interval in frames at which the SSIM of the whole frame is computed."""
SSIM_WINDOW: Final = 11
"""Side of the SSIM window in pixels. SSIM is undefined for smaller images."""

Image = NDArray[np.uint8]
Float = NDArray[np.float32]


class PixelsMetric:
    """Metric ``pixels``, which evaluates every frame."""

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
        similarity = ssim_map(original, image) if frame.index % SSIM_STEP == 0 else None
        if similarity is not None:
            self._ssim.add(float(_without_border(similarity).mean()))
        if not is_found(frame.original_landmarks):
            return
        mouth = bounding_window(frame.original_landmarks[list(mesh478.AROUND_MOUTH)], image.shape)
        if mouth is None:
            return
        self._mouth_error.add(float(error[mouth].mean()), float(error[mouth].size))
        mouth_ssim = ssim_in(original, image, mouth)
        if mouth_ssim is not None:
            self._mouth_ssim.add(mouth_ssim)

    def result(self) -> Scores:
        return {
            "psnr": decibels(self._error.value),
            "ssim": self._ssim.value,
            "mouth_psnr": decibels(self._mouth_error.value),
            "mouth_ssim": self._mouth_ssim.value,
        }


def decibels(error: float) -> float:
    """Return the PSNR in dB, at most 100, for a mean squared error in squared grey levels.

    If ``error`` is NaN, the result is NaN.
    """
    if np.isnan(error):
        return error
    return min(IDENTICAL, float(10.0 * np.log10(255.0**2 / error))) if error > 0 else IDENTICAL


def squared_error(first: Image, second: Image) -> Float:
    """Return the squared difference in squared grey levels, averaged over the channels, float32 [H, W]."""
    difference = cv2.absdiff(first, second).astype(np.float32)
    return cast(Float, np.square(difference).mean(-1, dtype=np.float32))


def ssim_map(first: Image, second: Image) -> Float | None:
    """Return the SSIM at each pixel, float32 [H, W], or None if the image is smaller than the window."""
    if min(first.shape[:2]) < SSIM_WINDOW:
        return None
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in (first, second)]
    result: Any = structural_similarity(
        *grey, data_range=255.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    return cast(Float, result[1])


def ssim_in(first: Image, second: Image, region: Window) -> float | None:
    """Return the mean SSIM in ``region``. SSIM windows extend beyond the region up to the image border."""
    radius = SSIM_WINDOW // 2
    rows, columns = region
    top, left = max(rows.start - radius, 0), max(columns.start - radius, 0)
    padded = slice(top, rows.stop + radius), slice(left, columns.stop + radius)
    similarity = ssim_map(first[padded], second[padded])
    if similarity is None:
        return None
    return float(similarity[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left].mean())


def _without_border(similarity: Float) -> Float:
    """Return the similarity map without border pixels whose window extends beyond the image."""
    radius = SSIM_WINDOW // 2
    return similarity[radius:-radius, radius:-radius]
