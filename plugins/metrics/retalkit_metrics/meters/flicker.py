"""Flicker of a whole face: what an output changes from frame to frame more than the original does.

Both are seen in a patch that stays with the head, and in two bands: coarse (tint, light, shading; a Gaussian low-pass
of an eighth of the distance of the outer eye corners) and fine (the rest: skin, hair, edges, noise).

- **Ratios** compare the mean absolute difference of two frames that follow one another, as the warping error of Lai et
  al. ("Learning blind video temporal consistency", ECCV 2018) does, with head pose in the place of flow, and with the
  original over the same pixels as its unit. They count any difference, a mouth that says something else too.
- **Added** flicker is how far what the output *changes* (output minus original) lies from the mean of its neighbours in
  time: half the second temporal difference. A change that stays, or comes and goes steadily, adds nothing; a fast
  motion of new lips adds a little (``mouth=False`` leaves the lips out). It needs no motion in the original.

A filter that blurs scores below 1 in ``fine``: less detail changes less. Read it beside a measure of sharpness.
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
"""Pixels of the patch for each IOD."""
MARGIN = 0.2
"""IOD around the face, so that the low-pass has neighbours."""
COARSE = 0.125
"""Standard deviation in IOD of the low-pass that tells coarse from fine."""
INSET = 0.05
"""IOD by which the outline of the face is shrunk, so that no background counts."""


@dataclass(frozen=True, slots=True)
class Flicker:
    """Scores of one clip; NaN where nothing could be measured."""

    total: float
    """Frame-to-frame difference of the output over the original's, all bands. At least 0; 1 or less is best. NaN where
    the original stands still."""
    coarse: float
    """The same of the coarse band: light and tint."""
    fine: float
    """The same of the fine band: detail and noise."""
    added: float
    """Grey levels by which the change lies off the mean of the frames before and after, all bands. At least 0; 0 is
    best. Tint of every frame its own with a standard deviation of 1 gives about 1."""
    added_coarse: float
    added_fine: float
    frames: int
    """Frames that were compared with the one before."""


_Bands = tuple[Float, Float, Float]
"""All, coarse, fine: float32 [h, w, 3]."""


def _means() -> tuple[Mean, Mean, Mean]:
    return Mean(), Mean(), Mean()


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is kept of a frame."""

    original: _Bands
    output: _Bands
    change: _Bands
    support: NDArray[np.bool_]


@dataclass(slots=True)
class FlickerMeter:
    """Feed it the frames of one clip in order, then ask for ``result()``. Patches of two frames are held.

    >>> meter = FlickerMeter(template)
    >>> for original, output, pose in frames:
    ...     meter.add(original, output, pose)
    >>> meter.result().added_coarse
    """

    template: Float
    """float32 [478, 3], the person in the head frame."""
    mouth: bool = True
    """Whether the lips count. False for an output whose mouth says something else than the original's."""
    _patch: Patch = field(init=False)
    _face: NDArray[np.bool_] = field(init=False)
    _original: tuple[Mean, Mean, Mean] = field(default_factory=_means)
    _output: tuple[Mean, Mean, Mean] = field(default_factory=_means)
    _added: tuple[Mean, Mean, Mean] = field(default_factory=_means)
    _last: list[_Seen] = field(default_factory=list[_Seen])
    _frames: int = 0

    def __post_init__(self) -> None:
        oval = self.template[list(mesh478.FACE_OVAL)]
        low, high = oval[:, :2].min(0) - MARGIN, oval[:, :2].max(0) + MARGIN
        wide, tall = (max(1, round(float(side) * PIXELS)) for side in high - low)
        depth = float(self.template[: mesh478.MESH_COUNT, 2].mean())
        self._patch = Patch.upright(low[0], low[1], high[0], high[1], depth, (wide, tall))
        reach = round(2 * INSET * PIXELS) + 1
        face = _filled((oval[:, :2] - low) * PIXELS, tall, wide)
        self._face = cv2.erode(face, np.ones((reach, reach), np.uint8)) > 0
        if not self.mouth:
            lips = _filled((self.template[list(mesh478.OUTER_LIPS), :2] - low) * PIXELS, tall, wide)
            # Open mouths reach further than the mean one.
            self._face &= cv2.dilate(lips, np.ones((3 * reach, 3 * reach), np.uint8)) == 0

    def cut(self) -> None:
        """Says that the next frame does not continue the last one (a scene cut, a frame without a face)."""
        self._last.clear()

    def add(self, original: Image, output: Image, pose: HeadPose) -> None:
        """One frame: RGB uint8 [H, W, 3] both, and the pose (length 1) of the original's head; NaN counts as a cut.

        Raises ValueError when the shapes differ.
        """
        if original.shape != output.shape:
            raise ValueError(f"frames differ in shape: {original.shape} and {output.shape}")
        if not np.isfinite(pose.scale).all():
            self.cut()
            return
        seen = self._see(original, output, pose)
        if self._last:
            self._frames += self._compare(self._last[-1], seen)
        if len(self._last) == 2:
            self._bend(self._last[0], self._last[1], seen)
        self._last = [*self._last[-1:], seen]

    def _see(self, original: Image, output: Image, pose: HeadPose) -> _Seen:
        matrix = self._patch.matrix(pose)
        inside = self._patch.cut(np.full(original.shape[:2], 255, np.uint8), matrix) == 255
        before, after = _bands(self._patch.cut(original, matrix)), _bands(self._patch.cut(output, matrix))
        change = (after[0] - before[0], after[1] - before[1], after[2] - before[2])
        return _Seen(before, after, change, self._face & inside)

    def _compare(self, last: _Seen, now: _Seen) -> bool:
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

    def _bend(self, first: _Seen, middle: _Seen, last: _Seen) -> None:
        support = first.support & middle.support & last.support
        weight = float(support.sum())
        if weight == 0:
            return
        for band in range(3):
            off = middle.change[band] - (first.change[band] + last.change[band]) / 2
            self._added[band].add(float(np.abs(off)[support].mean()), weight)

    def result(self) -> Flicker:
        """Scores of all frames so far."""
        total, coarse, fine = (ratio(*pair) for pair in zip(self._output, self._original, strict=True))
        every, low, high = self._added
        return Flicker(total, coarse, fine, every.value, low.value, high.value, self._frames)


def _filled(outline: Float, tall: int, wide: int) -> Image:
    """uint8 [tall, wide]: 255 in the hull of the points [N, 2]."""
    mask = np.zeros((tall, wide), np.uint8)
    cv2.fillPoly(mask, [cv2.convexHull(np.round(outline).astype(np.int32))], [255.0])
    return mask


def _bands(patch: Image) -> _Bands:
    every = patch.astype(np.float32)
    low = cv2.GaussianBlur(every, (0, 0), COARSE * PIXELS, borderType=cv2.BORDER_REPLICATE).astype(np.float32)
    return every, low, every - low
