"""Enhancer ``detail``, which restores the original frame's sharpness and grain in the edit without a network.

Warping and blending average neighbouring pixels. This averaging removes grain and pores, so that the edited skin
appears smoother than the surrounding skin. The enhancer compares the two finest frequency bands of the edit and the
original frame on skin that is visible in both, excluding the lips. It first amplifies the edit's texture with a limited
gain, and then adds grain from the original frame to restore the remaining energy. Edges are excluded from the gain,
because amplified edges would become halos. The grain is deterministic for each source frame. An edit with sufficient
detail is returned unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.stages import EnhancementClip, FaceEdit, FrameBatch, FrameResult, Runtime, StageContext, SyncBatch

from retalkit_enhancers.config import DetailConfig
from retalkit_enhancers.frequency_bands import (
    LocalMean,
    Support,
    enlarge,
    fine_bands,
    laplacian,
    limited,
    match_band_energy,
    whole_cells,
)

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

MAX_GAIN = 1.6
MAX_FACTOR = 4.0
SEARCH_STEPS = 6
START = 1.05
"""Amplitude ratio (original to edit) above which the edit's texture is considered softened."""
MATCH_TOLERANCE = 10.0
"""Maximum smoothed difference, in grey levels, between skin pixels that are considered identical in the edit and the
original.
"""
NOISE_SIZE = 256
"""Period of the synthetic grain in pixels. Each frame uses a different offset into the grain."""
IBUG68_LIPS = tuple(range(48, 60))
MIN_SKIN = 200
"""Minimum number of matching skin pixels for measuring grain."""


def original_under(frames: FrameBatch, row: int, edit: FaceEdit, part: tuple[int, int, int, int]) -> Image:
    """Return the original pixels under a part of the edit, resampled to the edit's resolution.

    ``part``: rectangle (left, top, width, height) in pixels of the edit. The result is RGB uint8 [height, width, 3].
    """
    left, top, width, height = part
    shift = edit.matrix[:, 2]
    if np.array_equal(edit.matrix[:, :2], np.eye(2, dtype=np.float32)) and np.array_equal(shift, np.round(shift)):
        x, y = left - int(shift[0]), top - int(shift[1])
        if x >= 0 and y >= 0 and x + width <= frames.size[0] and y + height <= frames.size[1]:
            return frames.crop(row, x, y, width, height)
    matrix = edit.matrix - np.array([[0, 0, left], [0, 0, top]], np.float32)
    under = cv2.warpAffine(
        frames.images[row], matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(under, np.uint8)


class DetailSession:
    """Enhancer session that processes each frame independently."""

    def __init__(self, config: DetailConfig, seed: int) -> None:
        self._config = config
        self._seed = seed
        self._noise: list[Float] | None = None

    def enhance(self, batch: SyncBatch, edits: Sequence[FrameResult]) -> list[FrameResult]:
        """Return the edits with restored texture and added grain.

        The size, mask and position of each edit remain unchanged. ``PassedThrough`` results are returned unchanged.
        """
        frames = batch.faces.frames
        return [
            self._enhance_frame(edit, frames, row, batch.faces.landmarks[row]) if isinstance(edit, FaceEdit) else edit
            for row, edit in enumerate(edits)
        ]

    def close(self) -> None: ...

    def _enhance_frame(self, edit: FaceEdit, frames: FrameBatch, row: int, landmarks: Float) -> FaceEdit:
        if self._config.strength <= 0 or not np.isfinite(landmarks).all() or min(edit.image.shape[:2]) < 8:
            return edit
        points = landmarks[:, :2] @ edit.matrix[:, :2].T + edit.matrix[:, 2]
        area, left, top = self._around_mouth(points, edit.mask) if self._config.on == "mouth" else (edit.mask, 0, 0)
        x, y, width, height = cv2.boundingRect((area > 0).view(np.uint8))
        if not width or not height:
            return edit
        # Complete cells of the coarse grid require no padding.
        width, height = whole_cells(width, area.shape[1] - x), whole_cells(height, area.shape[0] - y)
        area = area[y : y + height, x : x + width]
        left, top = left + x, top + y
        box = (slice(top, top + height), slice(left, left + width))
        original = original_under(frames, row, edit, (left, top, width, height))
        index = int(frames.indexes[row])
        delta = self._missing_detail(edit.image[box], original, area, points - [left, top], index)
        if delta is None:
            return edit
        image = edit.image.copy()
        image[box] = cv2.add(image[box], cv2.merge([delta] * 3), dtype=cv2.CV_8U)
        return replace(edit, image=image)

    def _missing_detail(self, edited: Image, original: Image, area: Float, points: Float, index: int) -> Float | None:
        """Return the values to add, in integer grey levels, float32 [h, w], or None if the edit has enough detail."""
        now = cv2.cvtColor(edited, cv2.COLOR_RGB2GRAY).astype(np.float32)
        before = cv2.cvtColor(original, cv2.COLOR_RGB2GRAY).astype(np.float32)
        reach = self._reach(points)
        support = Support(self._skin(now, before, area, points, reach))
        if support.count < MIN_SKIN:
            return None
        finest = laplacian(before)
        edge = support.texture_limit(finest)
        have, want = limited(laplacian(now), edge), limited(finest, edge)
        energy = (support.energy(have), support.energy(want))
        if energy[0] * START**2 >= energy[1]:
            return None
        skin = support.pixels.astype(np.float32)
        mean = LocalMean(skin, reach)
        delta: Float | None = None
        for level, (band, source) in enumerate(zip(fine_bands(now), fine_bands(before), strict=True)):
            limit = support.texture_limit(source)
            present, texture = limited(band, limit), limited(source, limit)
            if level > 0:
                have, want = present, texture
            band_gain = match_band_energy(mean, have, want, texture, self._config.strength, MAX_GAIN, START)
            if not band_gain.needed:
                continue
            gain, grain = enlarge(band_gain.gain, now.shape), enlarge(band_gain.grain, now.shape)
            if support.count < skin.size and float(band_gain.grain.max()) > 0:
                # The grain on the lips is synthetic, because grain from the original frame would reveal the original
                # lips. Its level is that of the surrounding skin.
                synthetic = self._synthetic_grain(now.shape, index, level) * enlarge(band_gain.level, now.shape)
                texture = np.asarray(cv2.copyTo(texture, support.pixels, synthetic), np.float32)
            added = (gain - 1) * present + grain * texture
            added *= _texture_only(band, source * skin, 2 * limit)
            delta = added if delta is None else delta + added
        return None if delta is None else self._rounded(delta * np.minimum(area * 4, 1), now, support, edge, energy)

    def _rounded(
        self, delta: Float, now: Float, support: Support, edge: float, energy: tuple[float, float]
    ) -> Float | None:
        """Return ``delta`` rounded to integer grey levels after scaling it to the target energy.

        ``energy``: energies of the edit and the original. In compressed video, skin texture has an amplitude of less
        than one grey level, which rounding would remove. The function therefore uses bisection to find the scale factor
        at which the rounded result reaches the target energy.
        """
        have, want = energy
        target = have + (want - have) * self._config.strength
        low, high = 0.0, MAX_FACTOR
        for _ in range(SEARCH_STEPS):
            factor = (low + high) / 2
            trial = now + np.rint(delta * np.float32(factor))
            if support.energy(limited(laplacian(trial), edge)) <= target:
                low = factor
            else:
                high = factor
        whole = np.rint(delta * np.float32(low))
        return whole if cv2.countNonZero(whole) else None

    def _synthetic_grain(self, shape: tuple[int, ...], index: int, level: int) -> Float:
        """Return one frequency band of white noise with a standard deviation of 1. The noise is deterministic for each
        source frame.
        """
        if self._noise is None:
            self._noise = _noise_bands(self._seed)
        band = self._noise[level]
        down, across = np.random.default_rng([self._seed, index, level]).integers(0, NOISE_SIZE, 2)
        times = tuple(-(-(size + NOISE_SIZE) // len(band)) for size in shape)
        wide = band if times <= (1, 1) else np.tile(band, times)
        return wide[down : down + shape[0], across : across + shape[1]]

    @staticmethod
    def _lips(points: Float) -> Float:
        indexes = mesh478.OUTER_LIPS if len(points) == mesh478.COUNT else IBUG68_LIPS
        return points[list(indexes)] if len(points) > max(indexes) else points

    def _reach(self, points: Float) -> float:
        """Return the averaging radius in pixels, which is a quarter of the mouth width."""
        lips = self._lips(points)
        return max(4.0, float(np.linalg.norm(lips.max(0) - lips.min(0))) / 4)

    def _around_mouth(self, points: Float, mask: Float) -> tuple[Float, int, int]:
        """Return ``mask`` multiplied by a soft ellipse around mouth and chin, and the crop's left and top coordinates.

        The mask is cropped to the ellipse's bounding box: float32 [h, w] in [0, 1].
        """
        lips = self._lips(points)
        centre, half = (lips.max(0) + lips.min(0)) / 2, float(np.ptp(lips[:, 0])) / 2 + 1
        middle, reach = (float(centre[0]), float(centre[1]) + 0.2 * half), (2.2 * half, 1.9 * half)
        (left, right), (top, bottom) = (
            (max(0, math.floor(middle[axis] - reach[axis])), min(size, math.ceil(middle[axis] + reach[axis]) + 1))
            for axis, size in enumerate(mask.shape[::-1])
        )
        if right <= left or bottom <= top:
            return np.zeros((1, 1), np.float32), 0, 0
        x = ((np.arange(left, right) - middle[0]) / reach[0]).astype(np.float32)
        y = ((np.arange(top, bottom) - middle[1]) / reach[1]).astype(np.float32)
        distance = np.sqrt((x * x)[None] + (y * y)[:, None])
        soft = np.minimum(np.maximum((1 - distance) * np.float32(1 / 0.15), np.float32(0)), np.float32(1))
        return mask[top:bottom, left:right] * soft, left, top

    def _skin(self, now: Float, before: Float, area: Float, points: Float, reach: float) -> Image:
        """Return a mask, uint8 [h, w]: 1 where the edit and the original show identical skin inside the mask, 0
        elsewhere.
        """
        lips = np.zeros(now.shape, np.uint8)
        outline = cv2.convexHull(np.round(self._lips(points)).astype(np.int32))
        cv2.fillPoly(lips, [outline], (1.0,))
        margin = max(1, int(reach / 4))
        lips = cv2.dilate(lips, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
        # Two 5-pixel box filters have the same variance as a Gaussian with a standard deviation of 2 pixels.
        difference = np.abs(cv2.blur(cv2.blur(cv2.subtract(now, before), (5, 5)), (5, 5)))
        return ((area > 0.5) & (lips == 0) & (difference < MATCH_TOLERANCE)).view(np.uint8)


def _noise_bands(seed: int) -> list[Float]:
    """Return the fine frequency bands of periodic white noise, float32, with a standard deviation of 1.

    Each band is tiled twice in both directions.
    """
    margin = 8
    noise = np.random.default_rng(seed).standard_normal((NOISE_SIZE, NOISE_SIZE), np.float32)
    bands = (band[margin:-margin, margin:-margin] for band in fine_bands(np.pad(noise, margin, mode="wrap")))
    return [np.tile(band / max(float(band.std()), 1e-6), (2, 2)) for band in bands]


def _texture_only(now: Float, before: Float, limit: float) -> Float:
    """Return weights that are 0 on and next to edges in either band and 1 elsewhere, with soft transitions.

    Edges are excluded because amplified edges would become halos.
    """
    edges = (cv2.max(np.abs(now), np.abs(before)) > limit).view(np.uint8)
    # In a 3 x 3 neighbourhood, one strong pixel indicates grain, and two strong pixels indicate an edge.
    edges = (cv2.boxFilter(edges, -1, (3, 3), normalize=False) > 1).view(np.uint8)
    near = cv2.boxFilter(cv2.dilate(edges, np.ones((5, 5), np.uint8)), -1, (3, 3), normalize=False)
    return 1 - near * np.float32(1 / 9)


class DetailEnhancer:
    """Stage of the enhancer ``detail``, which requires and provides ``face:edit``."""

    def __init__(self, config: DetailConfig, runtime: Runtime) -> None:
        self._config = config

    def open(self, clip: EnhancementClip, context: StageContext) -> DetailSession:
        """Open a session. No preparation is necessary, because each edit is compared only with its original frame."""
        return DetailSession(self._config, context.seed)
