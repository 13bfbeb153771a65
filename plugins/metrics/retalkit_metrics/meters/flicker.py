"""Flicker of a whole face: temporal differences of the output in excess of the original's.

Both are measured in a patch that is stabilised by head pose, and in two frequency bands: coarse (tint, light, shading;
a Gaussian low-pass of an eighth of the distance between the outer eye corners) and fine (the residual: skin, hair,
edges, noise).

- **Ratios** divide the mean absolute difference of consecutive output frames by that of the original over the same
  pixels, like the warping error of Lai et al. ("Learning blind video temporal consistency", ECCV 2018) with head pose
  in place of optical flow. They include every difference, also that of a mouth that speaks other words.
- **Added** flicker is the deviation of the *change* (output minus original) from the mean of its temporal neighbours:
  half the second temporal difference. A constant or linearly growing change adds nothing. Fast motion of new lips adds
  a little (``mouth=False`` excludes the lips). It does not depend on motion in the original.

A blur filter scores below 1 in ``fine``, because less detail changes less. Combine it with a sharpness metric.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.geometry.pose import HeadPose

from retalkit_metrics.meters.patches import Mean, Patch, ratio

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

PIXELS = 128
"""Patch pixels per IOD, the distance between the outer eye corners."""
MARGIN = 0.2
"""Margin around the face in IOD, as support for the low-pass."""
COARSE = 0.125
"""Standard deviation in IOD of the low-pass that separates coarse from fine."""
INSET = 0.05
"""Erosion of the face outline in IOD, so that no background counts."""


@dataclass(frozen=True, slots=True)
class Flicker:
    """Scores of one clip; NaN if nothing could be measured."""

    total: float
    """Frame-to-frame difference of the output relative to the original's, all bands. At least 0; 1 or less is best. NaN
    if the original is static."""
    coarse: float
    """The same for the coarse band: light and tint."""
    fine: float
    """The same for the fine band: detail and noise."""
    added: float
    """Deviation of the change from the mean of the previous and the next frame in grey levels, all bands. At least 0; 0
    is best. An independent tint per frame with a standard deviation of 1 gives about 1."""
    added_coarse: float
    added_fine: float
    frames: int
    """Number of frames that were compared with the previous one."""


_Bands = tuple[Float, Float, Float]
"""All, coarse, fine: float32 [h, w, 3]."""


def _means() -> tuple[Mean, Mean, Mean]:
    return Mean(), Mean(), Mean()


@dataclass(frozen=True, slots=True)
class _FrameBands:
    """Frequency bands of one frame."""

    original: _Bands
    output: _Bands
    change: _Bands
    support: NDArray[np.bool_]


@dataclass(slots=True)
class FlickerMeter:
    """Measures flicker over the frames of one clip, added in order. Holds the patches of two frames.

    >>> meter = FlickerMeter(template)
    >>> for original, output, pose in frames:
    ...     meter.add(original, output, pose)
    >>> meter.result().added_coarse
    """

    template: Float
    """float32 [478, 3], the mean face in the head frame."""
    mouth: bool = True
    """Whether to include the lips. Use False if output and original speak different words."""
    _patch: Patch = field(init=False)
    _face: NDArray[np.bool_] = field(init=False)
    _original: tuple[Mean, Mean, Mean] = field(default_factory=_means)
    _output: tuple[Mean, Mean, Mean] = field(default_factory=_means)
    _added: tuple[Mean, Mean, Mean] = field(default_factory=_means)
    _last: list[_FrameBands] = field(default_factory=list[_FrameBands])
    _frames: int = 0

    def __post_init__(self) -> None:
        oval = self.template[list(mesh478.FACE_OVAL)]
        low, high = oval[:, :2].min(0) - MARGIN, oval[:, :2].max(0) + MARGIN
        width, height = (max(1, round(float(side) * PIXELS)) for side in high - low)
        depth = float(self.template[: mesh478.MESH_COUNT, 2].mean())
        self._patch = Patch.upright(low[0], low[1], high[0], high[1], depth, (width, height))
        size = round(2 * INSET * PIXELS) + 1
        face = _hull_mask((oval[:, :2] - low) * PIXELS, height, width)
        self._face = cv2.erode(face, np.ones((size, size), np.uint8)) > 0
        if not self.mouth:
            lips = _hull_mask((self.template[list(mesh478.OUTER_LIPS), :2] - low) * PIXELS, height, width)
            # An open mouth extends beyond the mean mouth.
            self._face &= cv2.dilate(lips, np.ones((3 * size, 3 * size), np.uint8)) == 0

    def cut(self) -> None:
        """Start a new sequence: the next frame does not continue the previous one (scene cut or missing face)."""
        self._last.clear()

    def add(self, original: Image, output: Image, pose: HeadPose) -> None:
        """Add one frame: RGB uint8 [H, W, 3] both, and the pose (length 1) of the original's head; NaN is a cut.

        Raises ValueError if the shapes differ.
        """
        if original.shape != output.shape:
            raise ValueError(f"frames differ in shape: {original.shape} and {output.shape}")
        if not np.isfinite(pose.scale).all():
            self.cut()
            return
        frame = self._split(original, output, pose)
        if self._last:
            self._frames += self._add_difference(self._last[-1], frame)
        if len(self._last) == 2:
            self._add_second_difference(self._last[0], self._last[1], frame)
        self._last = [*self._last[-1:], frame]

    def _split(self, original: Image, output: Image, pose: HeadPose) -> _FrameBands:
        matrix = self._patch.matrix(pose)
        inside = self._patch.warp(np.full(original.shape[:2], 255, np.uint8), matrix) == 255
        before, after = _bands(self._patch.warp(original, matrix)), _bands(self._patch.warp(output, matrix))
        change = (after[0] - before[0], after[1] - before[1], after[2] - before[2])
        return _FrameBands(before, after, change, self._face & inside)

    def _add_difference(self, last: _FrameBands, now: _FrameBands) -> bool:
        """Add the difference of two consecutive frames; False if they share no pixels."""
        support = last.support & now.support
        weight = float(support.sum())
        if weight == 0:
            return False
        for band in range(3):
            before = np.abs(now.original[band] - last.original[band])[support].mean()
            after = np.abs(now.output[band] - last.output[band])[support].mean()
            self._original[band].add(float(before), weight)
            self._output[band].add(float(after), weight)
        return True

    def _add_second_difference(self, first: _FrameBands, middle: _FrameBands, last: _FrameBands) -> None:
        support = first.support & middle.support & last.support
        weight = float(support.sum())
        if weight == 0:
            return
        for band in range(3):
            deviation = middle.change[band] - (first.change[band] + last.change[band]) / 2
            self._added[band].add(float(np.abs(deviation)[support].mean()), weight)

    def result(self) -> Flicker:
        """Return the scores of all frames added so far."""
        total, coarse, fine = (ratio(*pair) for pair in zip(self._output, self._original, strict=True))
        added, added_coarse, added_fine = (mean.value for mean in self._added)
        return Flicker(total, coarse, fine, added, added_coarse, added_fine, self._frames)


def _hull_mask(outline: Float, height: int, width: int) -> Image:
    """Return a mask, uint8 [height, width]: 255 in the convex hull of the points [N, 2]."""
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [cv2.convexHull(np.round(outline).astype(np.int32))], [255.0])
    return mask


def _bands(patch: Image) -> _Bands:
    values = patch.astype(np.float32)
    low = cv2.GaussianBlur(values, (0, 0), COARSE * PIXELS, borderType=cv2.BORDER_REPLICATE).astype(np.float32)
    return values, low, values - low
