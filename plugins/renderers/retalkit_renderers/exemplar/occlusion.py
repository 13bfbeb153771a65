"""Detects a microphone, hand or glass in front of the mouth, so that it is not warped like skin.

The appearance of the skin around the mouth is learned from frames of one track; a strong difference from it means
occlusion. Lips, teeth and the mouth interior change with speech and never count as evidence, nor do smooth shadows or
a beard.
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
"""With fewer frames nothing can be learned, and nothing is detected."""
ANCHOR_ROWS = 16
"""Number of upper rows (nose, cheeks), seldom occluded, that give the reference brightness."""
CHANGING = 0.10
"""Median deviation of brightness over time from which a cell counts as sometimes occluded."""
BRIGHTNESS, COLOUR, EDGE = 0.10, 0.012, 0.05
"""Minimum tolerance: relative brightness, chromaticity, gradient of brightness per cell."""
SPREADS, CLIP_SPREADS = 3.0, 2.0
"""Tolerance added to it, in the cell's own spread over time and in the typical spread of the clip."""
PEAK = 1.4
"""Evidence that a blob needs somewhere; 1 is the tolerance."""
LIP_MARGIN = 1.5
MIN_BLOB = 0.02
"""Minimum size of a blob as a share of the visible skin."""


def _features(colours: Float, cells: NDArray[np.bool_]) -> Float:
    """Return float32 [ROWS, COLUMNS, 4]: brightness relative to the upper cells, two chromaticities, gradient."""
    red, green, blue = cv2.split(cv2.GaussianBlur(colours, (0, 0), 0.8))
    total = red + green + blue
    light = total * np.float32(1 / 3)
    anchor = cells.copy()
    anchor[ANCHOR_ROWS:] = False
    level = float(np.median(light[anchor])) if anchor.any() else float(np.median(light))
    level = max(level, 0.05)
    total += np.float32(0.3 * level)
    across, down = cv2.Sobel(light, cv2.CV_32F, 1, 0, scale=0.25), cv2.Sobel(light, cv2.CV_32F, 0, 1, scale=0.25)
    scale = np.float32(1 / level)
    channels = [light * scale, red / total, blue / total, cv2.magnitude(across, down) * scale]
    return np.asarray(cv2.merge(channels), np.float32)


@dataclass(frozen=True, slots=True)
class OcclusionDetector:
    """Expected appearance of the skin around one person's mouth, in one track.

    >>> detector = OcclusionDetector.fit((image, landmarks, pose[i : i + 1]) for i, image, landmarks in samples)
    >>> mask, share = detector.mask(image, landmarks, pose[i : i + 1], (left, top, width, height))
    >>> edit_mask = edit_mask * (1 - mask)
    """

    grid: FaceGrid | None
    expected: Float
    """float32 [ROWS, COLUMNS, 4]: relative brightness, two chromaticities, gradient. On lips and mouth: the middle of
    the observed range."""
    tolerance: Float
    """float32 [ROWS, COLUMNS, 4]: normal difference from ``expected``. On lips and mouth: half of the observed range
    with a margin."""

    @classmethod
    def fit(cls, samples: Iterable[tuple[Image, Float, HeadPose]]) -> OcclusionDetector:
        """Learn from (RGB uint8 [H, W, 3], landmarks float32 [478, 3] in pixels, pose of length 1) of one track.

        Spread the samples over the track; at most ``MAX_SAMPLES`` are used, and frames are not kept. Some samples may
        be occluded, even most of them if the occluder moves: cells that change expect the appearance that is nearest
        to the skin of the cheeks.
        """
        kept: list[tuple[Image, Float, HeadPose]] = []
        shapes: list[Float] = []
        colours: list[Float] = []
        views: list[NDArray[np.bool_]] = []
        grid: FaceGrid | None = None
        for image, landmarks, pose in samples:
            if not np.isfinite(landmarks).all() or len(shapes) + len(colours) >= MAX_SAMPLES:
                continue
            if grid is None:
                # The grid is built from several shapes, so that it does not depend on one expression.
                shapes.append(to_head_frame(landmarks[None], pose)[0])
                kept.append((image, landmarks, pose))
                if len(shapes) < MIN_SAMPLES:
                    continue
                grid = FaceGrid.from_shape(np.median(shapes, axis=0).astype(np.float32))
                for one in kept:
                    colours.append(grid.sample(one[0], one[1]))
                    views.append(grid.visible(one[2].rotation[0]))
                kept, shapes = [], []
            else:
                colours.append(grid.sample(image, landmarks))
                views.append(grid.visible(pose.rotation[0]))
        if grid is None:
            nothing = np.zeros((ROWS, COLUMNS, 4), np.float32)
            return cls(None, nothing, nothing)
        return cls(grid, *_expected_features(colours, views, grid))

    def mask(
        self, image: Image, landmarks: Float, pose: HeadPose, rectangle: Rectangle, min_share: float = 0.0
    ) -> tuple[Float, float]:
        """Return a mask float32 [height, width] in [0, 1] and the occluded share of the visible skin around the mouth.

        ``rectangle`` is left, top, width, height in pixels of the frame; ``pose`` has length 1. Where the mask is 1
        the original frame should stay. Mask and share are 0 if the share is not above ``min_share``. A frame with a
        share above about 0.25 should not be edited.
        """
        _, _, width, height = rectangle
        if self.grid is None or not np.isfinite(landmarks).all():
            return np.zeros((height, width), np.float32), 0.0
        cells, share = self.detect(image, landmarks, pose)
        if share <= min_share:
            return np.zeros((height, width), np.float32), 0.0
        grown = cv2.dilate(cells, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
        soft = np.clip(cv2.GaussianBlur(grown, (0, 0), 1.2) * 1.1 - 0.05, 0, 1)
        return self.grid.to_rectangle(soft, landmarks, rectangle), share

    def detect(self, image: Image, landmarks: Float, pose: HeadPose) -> tuple[Float, float]:
        """Return float32 [ROWS, COLUMNS], 1 in occluded cells, and the occluded share of the visible skin."""
        assert self.grid is not None
        visible = self.grid.visible(pose.rotation[0])
        skin = visible & ~self.grid.lips
        if int(skin.sum()) < 50:
            return np.zeros((ROWS, COLUMNS), np.float32), 0.0
        features = _features(self.grid.sample(image, landmarks), visible)
        # More edges than expected are evidence, fewer are not.
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
            # A blob on the lips alone never counts: it must extend over the skin.
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
    # Capped, so that an occluder that comes and goes does not raise the tolerance.
    tolerance = base + SPREADS * np.minimum(spread, 2 * typical) + CLIP_SPREADS * typical
    low, high = _quantile(features[:, lips], 0.1), _quantile(features[:, lips], 0.9)
    expected[lips] = (low + high) / 2
    tolerance[lips] = LIP_MARGIN * ((high - low) / 2 + base)
    # Teeth and lips have edges themselves.
    tolerance[lips, 3] = np.inf
    # Cells that were visible in no sample are not evaluated.
    unknown = ~np.isfinite(expected).all(-1)
    expected[unknown], tolerance[unknown] = 0, np.inf
    return expected.astype(np.float32), tolerance.astype(np.float32)


def _median_and_spread(features: Float) -> tuple[Float, Float]:
    """Return the median over the samples and the robust standard deviation."""
    middle = _quantile(features, 0.5)
    return middle, 1.48 * _quantile(np.abs(features - middle), 0.5)


def _quantile(values: Float, share: float) -> Float:
    """Return ``np.nanquantile(values, share, axis=0)`` without interpolation, many times faster; NaN for no values."""
    ordered = np.sort(values, axis=0)
    count = np.isfinite(values).sum(0)
    return np.take_along_axis(ordered, (share * np.maximum(count - 1, 0)).astype(np.int64)[None], axis=0)[0]
