"""Occlusion guard: finds a microphone, hand or glass in front of the mouth, so that it is not bent like skin.

The person's own look around the mouth is learned from frames of one shot; what differs from it strongly is something
in front. Lips, teeth and the inside of the mouth change with speech and never count as evidence; smooth shadows and
a beard neither.
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
"""Fewer frames say nothing about what is usual: then nothing is protected."""
ANCHOR_ROWS = 16
"""The upper cells (nose, cheeks), seldom covered, give the brightness that all is compared at."""
CHANGING = 0.10
"""Median deviation of brightness over time from which a cell counts as sometimes covered."""
BRIGHTNESS, COLOUR, EDGE = 0.10, 0.012, 0.05
"""Differences that are always usual: relative brightness, chromaticity, gradient of brightness for each cell."""
SPREADS, CLIP_SPREADS = 3.0, 2.0
"""What is added to them, in the cell's own spread over time and in the clip's typical spread."""
PEAK = 1.4
"""A blob needs this much evidence somewhere, where 1 is the limit."""
LIP_MARGIN = 1.5
MIN_BLOB = 0.02
"""Smaller blobs, as a share of the visible skin, are not reported."""


def _features(colours: Float, cells: NDArray[np.bool_]) -> Float:
    """Brightness relative to the upper cells, two chromaticities and the gradient: float32 [ROWS, COLUMNS, 4]."""
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
    return np.asarray(cv2.merge([light * scale, red / total, blue / total, cv2.magnitude(across, down) * scale]))


@dataclass(frozen=True, slots=True)
class OcclusionGuard:
    """What is usual around one person's mouth, in one shot.

    >>> guard = OcclusionGuard.fit((image, landmarks, pose[i : i + 1]) for i, image, landmarks in samples)
    >>> mask, fraction = guard.protect(image, landmarks, pose[i : i + 1], (left, top, width, height))
    >>> edit_mask = edit_mask * (1 - mask)
    """

    grid: FaceGrid | None
    usual: Float
    """float32 [ROWS, COLUMNS, 4]."""
    limit: Float
    """float32 [ROWS, COLUMNS, 4]: differences from ``usual`` that are still usual. On lips and mouth these are
    the middle and half of the range that was seen, with a margin."""

    @classmethod
    def fit(cls, samples: Iterable[tuple[Image, Float, HeadPose]]) -> OcclusionGuard:
        """Learns from (RGB uint8 [H, W, 3], landmarks float32 [478, 3] in pixels, pose of length 1) of one shot.

        Spread the samples over the shot; at most ``MAX_SAMPLES`` are used, and frames are not kept. Occluders may be
        in some of them, or in most where they move: cells that change take the look that is nearest to the skin of
        the cheeks.
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
                # A few shapes first, so that the grid does not hang on one frame's expression.
                shapes.append(to_head_frame(landmarks[None], pose)[0])
                kept.append((image, landmarks, pose))
                if len(shapes) < MIN_SAMPLES:
                    continue
                grid = FaceGrid.of(np.median(shapes, axis=0).astype(np.float32))
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
        return cls(grid, *_usual(colours, views, grid))

    def protect(
        self, image: Image, landmarks: Float, pose: HeadPose, rectangle: Rectangle, least: float = 0.0
    ) -> tuple[Float, float]:
        """(mask float32 [height, width] in [0, 1], share of the visible skin around the mouth that is covered).

        ``rectangle`` is left, top, width, height in pixels of the frame; ``pose`` has length 1. Where the mask is 1
        the original frame should stay; it is 0 when the share is not above ``least``. A share above about 0.25 means:
        leave this frame alone.
        """
        left, top, width, height = rectangle
        if self.grid is None or not np.isfinite(landmarks).all():
            return np.zeros((height, width), np.float32), 0.0
        cells, fraction = self.covered(image, landmarks, pose)
        if fraction <= least:
            return np.zeros((height, width), np.float32), 0.0
        grown = cv2.dilate(cells, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
        soft = np.clip(cv2.GaussianBlur(grown, (0, 0), 1.2) * 1.1 - 0.05, 0, 1)
        return self.grid.to_rectangle(soft, landmarks, rectangle), fraction

    def covered(self, image: Image, landmarks: Float, pose: HeadPose) -> tuple[Float, float]:
        """(float32 [ROWS, COLUMNS], 1 where something is in front, and its share of the visible skin)."""
        assert self.grid is not None
        visible = self.grid.visible(pose.rotation[0])
        skin = visible & ~self.grid.lips
        if int(skin.sum()) < 50:
            return np.zeros((ROWS, COLUMNS), np.float32), 0.0
        now = _features(self.grid.sample(image, landmarks), visible)
        # More edges than usual are evidence, fewer are not.
        np.maximum(now[..., 3], self.usual[..., 3], out=now[..., 3])
        light, red, blue, edge = cv2.split(cv2.absdiff(now, self.usual) / self.limit)
        evidence = cv2.max(cv2.max(light, red), cv2.max(blue, edge))
        evidence = cv2.GaussianBlur(evidence * visible, (0, 0), 0.8)
        if cv2.minMaxLoc(evidence, skin.view(np.uint8))[1] <= PEAK:
            return np.zeros((ROWS, COLUMNS), np.float32), 0.0
        found = (evidence > 1).view(np.uint8)
        found = cv2.morphologyEx(found, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
        count, labels = cv2.connectedComponents(found, connectivity=8)
        cells = np.zeros((ROWS, COLUMNS), np.float32)
        for number in range(1, count):
            blob = labels == number
            on_skin = blob & skin
            # Lips alone never count: only what reaches over them from the skin.
            if on_skin.sum() >= MIN_BLOB * skin.sum() and evidence[on_skin].max() > PEAK:
                cells[blob] = 1
        return cells, float((cells[skin] > 0).mean())


def _usual(colours: list[Float], views: list[NDArray[np.bool_]], grid: FaceGrid) -> tuple[Float, Float]:
    features = np.stack([_features(each, view) for each, view in zip(colours, views, strict=True)])
    features[~np.stack(views)] = np.nan
    ring, lips = grid.on_face & ~grid.lips, grid.on_face & grid.lips
    anchor = ring.copy()
    anchor[ANCHOR_ROWS:] = False
    skin = _quantile(features[:, anchor].reshape(-1, features.shape[-1]), 0.5)
    usual, spread = _middle(features)
    apart = np.abs((features - skin)[..., :3] / [2 * BRIGHTNESS, 3 * COLOUR, 3 * COLOUR]).max(-1)
    near = np.where((apart <= _quantile(apart, 0.4))[..., None], features, np.nan)
    changing = (spread[..., :1] > CHANGING) | (spread[..., 1:3].max(-1, keepdims=True) > COLOUR)
    nearest, nearest_spread = _middle(near)
    usual, spread = np.where(changing, nearest, usual), np.where(changing, nearest_spread, spread)
    typical = _quantile(spread[ring], 0.75)
    base = np.array([BRIGHTNESS, COLOUR, COLOUR, EDGE])
    # The cap keeps an occluder that comes and goes from making itself usual.
    limit = base + SPREADS * np.minimum(spread, 2 * typical) + CLIP_SPREADS * typical
    low, high = _quantile(features[:, lips], 0.1), _quantile(features[:, lips], 0.9)
    usual[lips] = (low + high) / 2
    limit[lips] = LIP_MARGIN * ((high - low) / 2 + base)
    # Teeth and lips have edges of their own.
    limit[lips, 3] = np.inf
    # A cell that no sample saw cannot be judged.
    unknown = ~np.isfinite(usual).all(-1)
    usual[unknown], limit[unknown] = 0, np.inf
    return usual.astype(np.float32), limit.astype(np.float32)


def _middle(features: Float) -> tuple[Float, Float]:
    """Median over the samples and robust standard deviation."""
    middle = _quantile(features, 0.5)
    return middle, 1.48 * _quantile(np.abs(features - middle), 0.5)


def _quantile(values: Float, share: float) -> Float:
    """Like ``np.nanquantile(values, share, axis=0)`` without interpolation, many times faster; NaN of nothing."""
    ordered = np.sort(values, axis=0)
    count = np.isfinite(values).sum(0)
    return np.take_along_axis(ordered, (share * np.maximum(count - 1, 0)).astype(np.int64)[None], axis=0)[0]
