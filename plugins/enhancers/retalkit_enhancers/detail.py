"""Enhancer ``detail``: an edit keeps the sharpness and grain that the original frame has around it. No network.

Warping and blending average pixels, which takes away grain and pores: the edited skin looks polished beside the rest.
The two finest bands of the edit are held against those of the original on matched skin (lips excluded), and lifted
where energy is missing: first by a limited gain on texture (edges are left, so that nothing gets a halo), then with
the original's own grain. The same frame always gets the same grain, and an edit that lacks nothing stays as it is,
bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.stages import Analysis, FaceEdit, FrameResult, StageContext, SyncBatch

from retalkit_enhancers.bands import LocalMean, enlarge, fine_bands, laplacian_energy, plan_lift, probe, usual_limit
from retalkit_enhancers.config import DetailConfig

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

MAX_GAIN = 1.6
MAX_FACTOR = 4.0
SEARCH_STEPS = 6
START = 1.05
"""Amplitude ratio from which texture counts as softened."""
MATCHED = 10.0
"""Grey levels by which edit and original may differ, smoothed, and still show the same skin."""
IBUG68_LIPS = tuple(range(48, 60))
MIN_SKIN = 200
"""Fewer matched pixels of skin say nothing about grain."""


def original_under(image: Image, edit: FaceEdit) -> Image:
    """The frame's pixels where the edit lies, at the edit's resolution: RGB uint8 [h, w, 3]."""
    high, wide = edit.image.shape[:2]
    shift = edit.matrix[:, 2]
    whole = np.array_equal(edit.matrix[:, :2], np.eye(2, dtype=np.float32)) and np.array_equal(shift, np.round(shift))
    left, top = (int(-shift[0]), int(-shift[1])) if whole else (0, 0)
    if whole and left >= 0 and top >= 0 and top + high <= image.shape[0] and left + wide <= image.shape[1]:
        return image[top : top + high, left : left + wide]
    return cv2.warpAffine(image, edit.matrix, (wide, high), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


class DetailSession:
    """Works frame by frame and keeps nothing between them."""

    def __init__(self, config: DetailConfig, seed: int) -> None:
        self._config = config
        self._seed = seed

    def enhance(self, batch: SyncBatch, edits: Sequence[FrameResult]) -> list[FrameResult]:
        """Edits of the same size, mask and place, with grain; PassedThrough stays."""
        frames = batch.faces.frames
        return [
            self._enhanced(edit, frames.images[row], batch.faces.landmarks[row], int(frames.indexes[row]))
            if isinstance(edit, FaceEdit)
            else edit
            for row, edit in enumerate(edits)
        ]

    def close(self) -> None: ...

    def _enhanced(self, edit: FaceEdit, frame: Image, landmarks: Float, index: int) -> FaceEdit:
        if self._config.strength <= 0 or not np.isfinite(landmarks).all() or min(edit.image.shape[:2]) < 8:
            return edit
        points = landmarks[:, :2] @ edit.matrix[:, :2].T + edit.matrix[:, 2]
        area = edit.mask * self._around_mouth(points, edit.mask.shape) if self._config.on == "mouth" else edit.mask
        rows, columns = np.any(area > 0, 1), np.any(area > 0, 0)
        if not rows.any():
            return edit
        box = (
            slice(int(rows.argmax()), len(rows) - int(rows[::-1].argmax())),
            slice(int(columns.argmax()), len(columns) - int(columns[::-1].argmax())),
        )
        original = original_under(frame, edit)[box]
        delta = self._missing_detail(edit.image[box], original, area[box], points - [box[1].start, box[0].start], index)
        if delta is None:
            return edit
        image = edit.image.copy()
        image[box] = cv2.add(image[box], cv2.merge([delta] * 3), dtype=cv2.CV_8U)
        return replace(edit, image=image)

    def _missing_detail(self, edited: Image, original: Image, area: Float, points: Float, index: int) -> Float | None:
        """What to add, float32 [h, w] in whole grey levels, or None where nothing is missing."""
        now = cv2.cvtColor(edited, cv2.COLOR_RGB2GRAY).astype(np.float32)
        before = cv2.cvtColor(original, cv2.COLOR_RGB2GRAY).astype(np.float32)
        reach = self._reach(points)
        skin = self._skin(now, before, area, points, reach)
        support = skin > 0
        if int(support.sum()) < MIN_SKIN:
            return None
        edge = usual_limit(np.asarray(cv2.Laplacian(before, cv2.CV_32F)), support)
        if laplacian_energy(now, support, edge) * START**2 >= laplacian_energy(before, support, edge):
            return None
        mean = LocalMean(skin, reach)
        delta: Float | None = None
        for level, (band, source) in enumerate(zip(fine_bands(now), fine_bands(before), strict=True)):
            have, want = probe(now, band, level), probe(before, source, level)
            cap = usual_limit(want, support)
            lift = plan_lift(
                mean, np.clip(have, -cap, cap), np.clip(want, -cap, cap), self._config.strength, MAX_GAIN, START
            )
            if not lift.needed:
                continue
            limit = usual_limit(source, support)
            texture = np.clip(source, -limit, limit)
            gain, grain = enlarge(lift.gain, now.shape), enlarge(lift.grain, now.shape)
            if not support.all() and float(lift.grain.max()) > 0:
                # Original lips must not shine through: there the grain is drawn, as strong as that around them.
                usual = enlarge(np.sqrt(mean.of(texture * texture)), now.shape)
                texture = np.where(support, texture, self._drawn(now.shape, index, level) * usual)
            added = (gain - 1) * np.clip(band, -limit, limit) + grain * texture
            added *= _texture_only(band, source * support, 2 * limit)
            delta = added if delta is None else delta + added
        return None if delta is None else self._rounded(delta * np.clip(area * 4, 0, 1), now, before, support, edge)

    def _rounded(
        self, delta: Float, now: Float, before: Float, support: NDArray[np.bool_], edge: float
    ) -> Float | None:
        """``delta`` in whole grey levels, with the energy that was asked for.

        Skin in compressed video has less than one grey level of texture, which rounding would swallow: so a common
        factor is searched that brings the rounded result to the target.
        """
        have, want = laplacian_energy(now, support, edge), laplacian_energy(before, support, edge)
        target = have + (want - have) * self._config.strength
        low, high = 0.0, MAX_FACTOR
        for _ in range(SEARCH_STEPS):
            factor = (low + high) / 2
            if laplacian_energy(now + np.rint(delta * factor), support, edge) <= target:
                low = factor
            else:
                high = factor
        whole = np.rint(delta * low)
        return whole if whole.any() else None

    def _drawn(self, shape: tuple[int, ...], index: int, level: int) -> Float:
        """One band of white noise, standard deviation 1, the same for the same source frame."""
        noise = np.random.default_rng([self._seed, index, level]).standard_normal(shape, np.float32)
        band = fine_bands(noise)[level]
        return band / max(float(band.std()), 1e-6)

    @staticmethod
    def _lips(points: Float) -> Float:
        indexes = mesh478.OUTER_LIPS if len(points) == mesh478.COUNT else IBUG68_LIPS
        return points[list(indexes)] if len(points) > max(indexes) else points

    def _reach(self, points: Float) -> float:
        """Pixels to average over: a quarter of the mouth's width."""
        lips = self._lips(points)
        return max(4.0, float(np.linalg.norm(lips.max(0) - lips.min(0))) / 4)

    def _around_mouth(self, points: Float, shape: tuple[int, ...]) -> Float:
        """A soft ellipse about the mouth and the chin's skin, float32 [h, w] in [0, 1]."""
        lips = self._lips(points)
        centre, half = (lips.max(0) + lips.min(0)) / 2, float(np.ptp(lips[:, 0])) / 2 + 1
        x = (np.arange(shape[1], dtype=np.float32) - centre[0]) / (2.2 * half)
        y = (np.arange(shape[0], dtype=np.float32) - centre[1] - 0.2 * half) / (1.9 * half)
        distance = np.sqrt(x[None] ** 2 + y[:, None] ** 2)
        return np.clip((1 - distance) / 0.15, 0, 1).astype(np.float32)

    def _skin(self, now: Float, before: Float, area: Float, points: Float, reach: float) -> Float:
        """1 where edit and original both show the same skin inside the mask, else 0: float32 [h, w]."""
        lips = np.zeros(now.shape, np.uint8)
        outline = cv2.convexHull(np.round(self._lips(points)).astype(np.int32))
        cv2.fillPoly(lips, [outline], 1)
        margin = max(1, int(reach / 4))
        lips = cv2.dilate(lips, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
        apart = np.abs(cv2.GaussianBlur(now - before, (0, 0), 2.0))
        return ((area > 0.5) & (lips == 0) & (apart < MATCHED)).astype(np.float32)


def _texture_only(now: Float, before: Float, limit: float) -> Float:
    """0 on and beside what is an edge in either band, else 1, softly: edges are not lifted, against halos."""
    edges = ((np.abs(now) > limit) | (np.abs(before) > limit)).astype(np.float32)
    # A lone strong pixel is grain.
    edges = (cv2.blur(edges, (3, 3)) > 0.15).astype(np.float32)
    return 1 - cv2.blur(cv2.dilate(edges, np.ones((5, 5), np.uint8)), (3, 3))


class DetailEnhancer:
    """Needs and gives ``face:edit``."""

    def __init__(self, config: DetailConfig) -> None:
        self._config = config

    def open(self, analysis: Analysis, context: StageContext) -> DetailSession:
        """Nothing to prepare: each frame is held against its own original."""
        return DetailSession(self._config, context.seed)
