"""Detection of objects in front of the mouth, such as a microphone, a hand or a glass.

Occluding objects must not be warped like skin. The detector learns the appearance of the skin around the mouth from
frames of one track. A large deviation from the learned appearance indicates an occlusion. Lips, teeth and the mouth
interior change with speech and are never used as evidence. The detector does not classify smooth shadows and beards as
occlusions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry.pose import HeadPose, to_head_frame

from retalkit_renderers.exemplar.face_grid import COLUMNS, ROWS, FaceGrid

Float = NDArray[np.float32]
Image = NDArray[np.uint8]
Rectangle = tuple[int, int, int, int]

MAX_SAMPLES = 64
MIN_SAMPLES = 5
"""Minimum number of samples. If there are fewer samples, the detector is not fitted and detects no occlusion."""
ANCHOR_ROWS = 16
"""Number of upper grid rows that define the reference brightness.

These rows cover nose and cheeks and are seldom occluded.
"""
CHANGING = 0.10
"""Median temporal deviation of the brightness above which a cell is considered intermittently occluded."""
BRIGHTNESS, COLOUR, EDGE = 0.10, 0.012, 0.05
"""Minimum tolerances for relative brightness, chromaticity, and brightness gradient per cell."""
SPREADS, CLIP_SPREADS = 3.0, 2.0
"""Additional tolerance as multiples of the cell's temporal spread and of the clip's typical spread."""
PEAK = 1.4
"""Minimum peak evidence of an occluded blob, in units of the tolerance."""
LIP_MARGIN = 1.5
MIN_BLOB = 0.02
"""Minimum size of an occluded blob as a fraction of the visible skin."""


def _features(colours: Float, cells: NDArray[np.bool_]) -> Float:
    """Return the features of each cell, float32 [ROWS, COLUMNS, 4].

    The features are the brightness relative to the upper cells, two chromaticities and the gradient.
    """
    red, green, blue = cv2.split(cv2.GaussianBlur(colours, (0, 0), 0.8))
    total = red + green + blue
    light = total * np.float32(1 / 3)
    anchor = cells.copy()
    anchor[ANCHOR_ROWS:] = False
    level = max(_median(light[anchor] if anchor.any() else light.ravel()), 0.05)
    total += np.float32(0.3 * level)
    across, down = cv2.Sobel(light, cv2.CV_32F, 1, 0, scale=0.25), cv2.Sobel(light, cv2.CV_32F, 0, 1, scale=0.25)
    scale = np.float32(1 / level)
    channels = [light * scale, red / total, blue / total, cv2.magnitude(across, down) * scale]
    return np.asarray(cv2.merge(channels), np.float32)


def _median(values: Float) -> float:
    """Return the median of values [K]. The function is several times faster than ``np.median`` for few values."""
    middle = [(len(values) - 1) // 2, len(values) // 2]
    return float(np.partition(values, middle)[middle].mean())


@dataclass(frozen=True, slots=True)
class FaceSample:
    """Face in one frame."""

    image: Image
    """Part of the frame that contains the face, RGB uint8 [h, w, 3]."""
    landmarks: Float
    """Mesh landmarks in pixels of the frame, float32 [478, 3]."""
    pose: HeadPose
    """Head pose in the frame (T = 1)."""
    corner: tuple[int, int] = (0, 0)
    """Left and top coordinates of ``image`` in the frame."""


@dataclass(frozen=True, slots=True)
class OcclusionDetector:
    """Model of the expected appearance of the skin around one person's mouth in one track.

    >>> detector = OcclusionDetector.fit(FaceSample(image, landmarks, pose[i : i + 1]) for i, image, landmarks in faces)
    >>> mask, share = detector.mask(image, landmarks, pose[i : i + 1], (left, top, width, height))
    >>> edit_mask = edit_mask * (1 - mask)
    """

    grid: FaceGrid | None
    expected: Float
    """Expected relative brightness, two chromaticities and gradient, float32 [ROWS, COLUMNS, 4].

    For lip and mouth cells, the value is the midpoint of the observed range.
    """
    tolerance: Float
    """Normal deviation from ``expected``, float32 [ROWS, COLUMNS, 4].

    For lip and mouth cells, the value is half of the observed range plus a margin.
    """

    @classmethod
    def fit(cls, samples: Iterable[FaceSample]) -> OcclusionDetector:
        """Fit the detector to samples from one track.

        The samples should be distributed over the track. At most ``MAX_SAMPLES`` samples are used, and the detector
        does not retain the images. Some samples may be occluded. A moving occluder may even occlude most
        samples, because a varying cell's expected appearance is the observation closest to the skin of the cheeks.
        """
        kept: list[FaceSample] = []
        shapes: list[Float] = []
        colours: list[Float] = []
        views: list[NDArray[np.bool_]] = []
        grid: FaceGrid | None = None
        for sample in samples:
            landmarks, pose = sample.landmarks, sample.pose
            if not np.isfinite(landmarks).all() or len(shapes) + len(colours) >= MAX_SAMPLES:
                continue
            if grid is None:
                # The grid is built from the median of several shapes, so that it does not depend on a single
                # expression.
                shapes.append(to_head_frame(landmarks[None], pose)[0])
                kept.append(sample)
                if len(shapes) < MIN_SAMPLES:
                    continue
                grid = FaceGrid.from_shape(np.median(shapes, axis=0).astype(np.float32))
                for one in kept:
                    colours.append(grid.sample(one.image, one.landmarks, one.corner))
                    views.append(grid.visible(one.pose.rotation[0]))
                kept, shapes = [], []
            else:
                colours.append(grid.sample(sample.image, landmarks, sample.corner))
                views.append(grid.visible(pose.rotation[0]))
        if grid is None:
            nothing = np.zeros((ROWS, COLUMNS, 4), np.float32)
            return cls(None, nothing, nothing)
        return cls(grid, *_expected_features(colours, views, grid))

    def mask(
        self, image: Image, landmarks: Float, pose: HeadPose, rectangle: Rectangle, min_share: float = 0.0
    ) -> tuple[Float, float]:
        """Return an occlusion mask, float32 [height, width] in [0, 1], and the occluded fraction of the visible skin.

        ``rectangle``: left, top, width and height in frame pixels. ``pose``: head pose (T = 1). Original pixels
        should be preserved where the mask is 1. The mask and the fraction are 0 if the occluded fraction does not
        exceed ``min_share``. Frames with an occluded fraction above about 0.25 should not be edited.
        """
        _, _, width, height = rectangle
        if self.grid is None or not np.isfinite(landmarks).all():
            return np.zeros((height, width), np.float32), 0.0
        cells, share = self.detect(image, landmarks, pose)
        if share <= min_share:
            return np.zeros((height, width), np.float32), 0.0
        return self.mask_of(cells, landmarks, rectangle), share

    def mask_of(self, cells: Float, landmarks: Float, rectangle: Rectangle) -> Float:
        """Return the soft mask of occluded ``cells`` from ``detect``, float32 [height, width] in [0, 1]."""
        assert self.grid is not None
        grown = cv2.dilate(cells, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
        soft = np.clip(cv2.GaussianBlur(grown, (0, 0), 1.2) * 1.1 - 0.05, 0, 1)
        return self.grid.to_rectangle(soft, landmarks, rectangle)

    def detect(
        self, image: Image, landmarks: Float, pose: HeadPose, corner: tuple[int, int] = (0, 0)
    ) -> tuple[Float, float]:
        """Return a mask of occluded cells, float32 [ROWS, COLUMNS], and the occluded fraction of the visible skin.

        The mask is 1 in occluded cells and 0 in all other cells. ``corner``: left and top coordinates of ``image`` in
        the frame.
        """
        assert self.grid is not None
        visible = self.grid.visible(pose.rotation[0])
        skin = visible & ~self.grid.lips
        if int(skin.sum()) < 50:
            return np.zeros((ROWS, COLUMNS), np.float32), 0.0
        features = _features(self.grid.sample(image, landmarks, corner), visible)
        # Additional edges are evidence of an occlusion, whereas missing edges are not.
        np.maximum(features[..., 3], self.expected[..., 3], out=features[..., 3])
        light, red, blue, edge = cv2.split(cv2.absdiff(features, self.expected) / self.tolerance)
        strongest = np.asarray(cv2.max(cv2.max(light, red), cv2.max(blue, edge)), np.float32)
        evidence = cv2.GaussianBlur(np.asarray(strongest * visible, np.float32), (0, 0), 0.8)
        if cv2.minMaxLoc(evidence, skin.view(np.uint8))[1] <= PEAK:
            return np.zeros((ROWS, COLUMNS), np.float32), 0.0
        found = (evidence > 1).view(np.uint8)
        found = cv2.morphologyEx(found, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
        count, labels = cv2.connectedComponents(found, connectivity=8)
        cells = np.zeros((ROWS, COLUMNS), np.float32)
        for number in range(1, count):
            blob = labels == number
            on_skin = blob & skin
            # A blob must include skin cells. A blob that covers only the lips is ignored.
            if on_skin.sum() >= MIN_BLOB * skin.sum() and evidence[on_skin].max() > PEAK:
                cells[blob] = 1
        return cells, float((cells[skin] > 0).mean())


def _expected_features(colours: list[Float], views: list[NDArray[np.bool_]], grid: FaceGrid) -> tuple[Float, Float]:
    features = np.stack([_features(each, view) for each, view in zip(colours, views, strict=True)])
    features[~np.stack(views)] = np.nan
    ring, lips = grid.on_face & ~grid.lips, grid.on_face & grid.lips
    anchor = ring.copy()
    anchor[ANCHOR_ROWS:] = False
    skin = _quantile(features[:, anchor].reshape(-1, features.shape[-1]), 0.5)
    expected, spread = _median_and_spread(features)
    distance = np.abs((features - skin)[..., :3] / [2 * BRIGHTNESS, 3 * COLOUR, 3 * COLOUR]).max(-1)
    near = np.where((distance <= _quantile(distance, 0.4))[..., None], features, np.nan)
    changing = (spread[..., :1] > CHANGING) | (spread[..., 1:3].max(-1, keepdims=True) > COLOUR)
    nearest, nearest_spread = _median_and_spread(near)
    expected, spread = np.where(changing, nearest, expected), np.where(changing, nearest_spread, spread)
    typical = _quantile(spread[ring], 0.75)
    base = np.array([BRIGHTNESS, COLOUR, COLOUR, EDGE])
    # Clipping the spread prevents an intermittent occluder from increasing the tolerance.
    tolerance = base + SPREADS * np.minimum(spread, 2 * typical) + CLIP_SPREADS * typical
    low, high = _quantile(features[:, lips], 0.1), _quantile(features[:, lips], 0.9)
    expected[lips] = (low + high) / 2
    tolerance[lips] = LIP_MARGIN * ((high - low) / 2 + base)
    # Teeth and lips contain edges even without an occlusion.
    tolerance[lips, 3] = np.inf
    # Cells without any visible sample are not evaluated.
    unknown = ~np.isfinite(expected).all(-1)
    expected[unknown], tolerance[unknown] = 0, np.inf
    return expected.astype(np.float32), tolerance.astype(np.float32)


def _median_and_spread(features: Float) -> tuple[Float, Float]:
    """Return the median and the robust standard deviation over the samples."""
    middle = _quantile(features, 0.5)
    return middle, 1.48 * _quantile(np.abs(features - middle), 0.5)


def _quantile(values: Float, share: float) -> Float:
    """Return ``np.nanquantile(values, share, axis=0)`` without interpolation.

    The result is NaN where all values are NaN. The function is many times faster than NumPy's implementation.
    """
    ordered = np.sort(values, axis=0)
    count = np.isfinite(values).sum(0)
    return np.take_along_axis(ordered, (share * np.maximum(count - 1, 0)).astype(np.int64)[None], axis=0)[0]
