"""Pixel measurements of a mouth: lip gap, sharpness, skin colour and appearance.

Landmarks may indicate closed lips although teeth are visible, so lip closure is measured from the image pixels. The lip
gap is the thickness of the region between the lips that does not have lip colour. Lip colour varies between people, so
a linear discriminant is fitted for each clip (Fisher, "The use of multiple measurements in taxonomic problems", 1936).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.geometry.pose import HeadPose, to_pixels

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

PATCH = (48, 32)
"""Width and height, in pixels, of the greyscale patch with which exemplars are compared at jumps."""
_PATCH_EXTENT = (0.75, 0.5)
STRIP = (16, 60)
"""Width and height, in pixels, of the RGB strip through the middle of the lips."""
STRIP_EXTENT = (0.16, 0.34)
"""Width and height of the strip in IOD."""
_MIN_SAMPLES = 200
_NOT_LIP_REDNESS = 0.62
_NOT_LIP_LIGHT = 0.45


def _plane_patch(image: Image, offset: tuple[int, int], pose: HeadPose, centre: Float, extent: tuple[float, float],
                 size: tuple[int, int]) -> Image:  # fmt: skip
    """Return the image of a frontal rectangle in the head frame.

    ``offset``: position of the top-left corner of ``image`` in the frame.
    """
    width, height = extent
    left, top = centre[0] - width / 2, centre[1] - height / 2
    corners = np.array(
        [[left, top, centre[2]], [left + width, top, centre[2]], [left, top + height, centre[2]]], np.float32
    )
    pixels = to_pixels(corners, pose)[0, :, :2] - np.array(offset, np.float32)
    matrix = cv2.getAffineTransform(
        np.array([[0, 0], [size[0], 0], [0, size[1]]], np.float32), pixels.astype(np.float32)
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)


def mouth_patch(image: Image, offset: tuple[int, int], pose: HeadPose, rest: Float) -> Float:
    """Return the greyscale mouth patch, aligned with the head, float32 [32, 48] in [0, 255].

    ``pose``: head pose (T = 1).
    """
    centre = rest[[13, 14, mesh478.LEFT_CORNER, mesh478.RIGHT_CORNER]].mean(0)
    # Blurring prevents aliasing, because the patch resolution is lower than the image resolution.
    soft = cv2.GaussianBlur(image, (0, 0), max(0.3, float(pose.scale[0]) * _PATCH_EXTENT[0] / PATCH[0] / 2.5))
    patch = _plane_patch(soft.astype(np.uint8), offset, pose, centre, _PATCH_EXTENT, PATCH)
    return cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY).astype(np.float32)


def lip_strip(image: Image, offset: tuple[int, int], pose: HeadPose, head: Float) -> Image:
    """Return a vertical strip through the mouth centre for head-frame landmarks [478, 3], RGB uint8 [60, 16, 3]."""
    return _plane_patch(image, offset, pose, head[[13, 14]].mean(0), STRIP_EXTENT, STRIP)


def skin_appearance(image: Image, offset: tuple[int, int], landmarks: Float) -> tuple[float, Float]:
    """Return the sharpness and the median colour of the skin around the lips for landmarks [478, 3].

    Sharpness is the standard deviation of the Laplacian in grey levels. The colour is RGB float32 [3]. Both are zero if
    the image contains no skin around the lips.
    """
    mask = np.zeros(image.shape[:2], np.uint8)
    around = landmarks[list(mesh478.AROUND_MOUTH), :2] - offset
    lips = landmarks[list(mesh478.OUTER_LIPS), :2] - offset
    cv2.fillPoly(mask, [np.round(around).astype(np.int32)], (1.0,))
    cv2.fillPoly(mask, [np.round(lips).astype(np.int32)], (0.0,))
    left, top, width, height = cv2.boundingRect(mask)
    part = (slice(top, top + height), slice(left, left + width))
    skin = cv2.erode(mask, np.ones((3, 3), np.uint8))[part]
    if cv2.countNonZero(skin) <= 20:
        return 0.0, np.zeros(3, np.float32)
    detail = cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[part], cv2.CV_32F, ksize=3)
    _, spread = cv2.meanStdDev(detail, mask=skin)
    inside = skin > 0
    colour = [_median(np.ascontiguousarray(channel, np.uint8)[inside]) for channel in cv2.split(image[part])]
    return float(spread[0, 0]), np.array(colour, np.float32)


def _median(values: NDArray[np.uint8]) -> float:
    """Return the exact median, which is computed from a histogram."""
    below = np.cumsum(np.bincount(values, minlength=256))
    low, high = np.searchsorted(below, [(len(values) - 1) // 2, len(values) // 2], side="right")
    return float(low + high) / 2


def to_lab(colours: Float) -> Float:
    """Convert RGB float32 [K, 3] in [0, 255] to CIE Lab float32 [K, 3]."""
    return cv2.cvtColor(colours[None] / np.float32(255), cv2.COLOR_RGB2LAB)[0]


@dataclass(frozen=True, slots=True)
class LipClassifier:
    """Pixel classifier with a linear score in Lab. Pixels with a positive score are classified as lips."""

    weights: NDArray[np.float64]
    """Weights of the linear score, float64 [3]."""
    bias: float
    fitted: bool
    """Whether the weights were fitted. If there are too few open frames, the classifier uses a fixed redness threshold
    instead.
    """


def _strip_rows(head: Float) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return row masks of the strip for the lips, the region between the lips, and this region with a margin."""
    middle = (head[13, 1] + head[14, 1]) / 2
    rows = (np.arange(STRIP[1]) + 0.5) / STRIP[1] * STRIP_EXTENT[1] - STRIP_EXTENT[1] / 2 + middle
    lip = ((rows > head[0, 1] + 0.008) & (rows < head[13, 1] - 0.012)) | (
        (rows > head[14, 1] + 0.012) & (rows < head[17, 1] - 0.008)
    )
    between = (rows > head[13, 1] + 0.012) & (rows < head[14, 1] - 0.012)
    around = (rows > head[13, 1] - 0.03) & (rows < head[14, 1] + 0.03)
    return lip, between, around


def strip_labs(strips: Sequence[Image]) -> Float:
    """Return the strips in Lab, float32 [K, 60, 16, 3]."""
    if not strips:
        return np.zeros((0, STRIP[1], STRIP[0], 3), np.float32)
    # One call for all strips is several times faster than one call per strip.
    joined = np.concatenate(strips).astype(np.float32) / 255
    return np.asarray(cv2.cvtColor(joined, cv2.COLOR_RGB2LAB), np.float32).reshape(-1, STRIP[1], STRIP[0], 3)


def fit_lip_classifier(labs: Float, heads: Float) -> LipClassifier:
    """Fit the classifier to a clip's ``strip_labs`` and head-frame landmarks [K, 478, 3]."""
    lip_samples: list[Float] = []
    other_samples: list[Float] = []
    for lab, head in zip(labs, heads, strict=True):
        lip, between, _ = _strip_rows(head)
        lip_samples.append(lab[lip].reshape(-1, 3)[::3])
        other_samples.append(lab[between].reshape(-1, 3))
    lips = np.concatenate(lip_samples) if lip_samples else np.zeros((0, 3), np.float32)
    others = np.concatenate(other_samples) if other_samples else np.zeros((0, 3), np.float32)
    if min(len(lips), len(others)) < _MIN_SAMPLES:
        return LipClassifier(np.zeros(3), 0.0, False)
    # Teeth are lighter and the mouth cavity is darker than the lips. The classifier therefore uses only the channels a
    # and b.
    lips, others = lips[:, 1:].astype(np.float64), others[:, 1:].astype(np.float64)
    scatter = np.cov(lips.T) + np.cov(others.T) + np.eye(2)
    weights = np.linalg.solve(scatter, lips.mean(0) - others.mean(0))
    return LipClassifier(np.array([0.0, *weights]), -float((lips.mean(0) + others.mean(0)) / 2 @ weights), True)


def pixel_gap(lab: Float, head: Float, classifier: LipClassifier) -> float:
    """Return the thickness of the non-lip region between the lips in IOD, which is about 0 for a closed mouth.

    ``lab``: strip in Lab, float32 [60, 16, 3]. ``head``: head-frame landmarks [478, 3].
    """
    lip, _, around = _strip_rows(head)
    known = lab[lip]
    if not lip.any() or not around.any():
        return 0.0
    redness = float(np.median(known[..., 1]))
    light = float(np.percentile(known[..., 0], 10))
    inside = lab[around]
    dark = inside[..., 0] < _NOT_LIP_LIGHT * light
    other = inside[..., 1] < _NOT_LIP_REDNESS * redness
    if classifier.fitted:
        other = (inside @ classifier.weights + classifier.bias) < 0
    return float((other | dark).sum(0).mean()) * STRIP_EXTENT[1] / STRIP[1]
