"""Whole-face flicker, which consists of temporal differences in the output that exceed those in the original.

Output and original are compared in a pose-stabilised patch and in two frequency bands. The coarse band
(tint, light, shading) is a Gaussian low-pass whose standard deviation is an eighth of the outer eye corner distance.
The fine band (skin, hair, edges, noise) is the residual.

- **Ratios** divide the mean absolute difference of consecutive output frames by the corresponding difference of the
  original over identical pixels. They resemble the warping error of Lai et al. ("Learning blind video temporal
  consistency", ECCV 2018), but use head pose instead of optical flow. Ratios include all differences, such as the
  motion of a mouth that speaks different words.
- **Added** flicker is the deviation of the *change* (output minus original) from the mean of its temporal neighbours,
  which is half the second temporal difference. A constant or linearly growing change does not increase added flicker.
  Fast lip motion increases added flicker slightly (``mouth=False`` excludes the lips). Added flicker does not depend
  on motion in the original.

A blur filter scores below 1 in ``fine``, because weaker detail has smaller temporal differences. Combine ``fine`` with
a sharpness metric.
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
"""Patch resolution in pixels per IOD. IOD is the distance between the outer eye corners."""
MARGIN = 0.2
"""Margin around the face in IOD, which provides support for the low-pass filter."""
COARSE = 0.125
"""Standard deviation, in IOD, of the low-pass filter that separates the coarse band from the fine band."""
INSET = 0.05
"""Erosion of the face outline in IOD, which excludes background pixels."""


@dataclass(frozen=True, slots=True)
class Flicker:
    """Flicker scores of one clip. Scores without any measurement are NaN."""

    total: float
    """Frame-to-frame difference of the output relative to the original, over all frequency bands.

    The minimum is 0, and values of 1 or less are good. The score is NaN if the original is static.
    """
    coarse: float
    """Frame-to-frame difference of the output relative to the original in the coarse band (shading and tint)."""
    fine: float
    """Frame-to-frame difference of the output relative to the original in the fine band (detail and noise)."""
    added: float
    """Deviation of the change (output minus original) from its mean over the previous and the next frame, in grey
    levels, over all frequency bands.

    The minimum 0 is the best value. An independent tint per frame with a standard deviation of 1 yields a value of
    about 1.
    """
    added_coarse: float
    added_fine: float
    frames: int
    """Number of frames that were compared with their previous frame."""


_Bands = tuple[Float, Float, Float]
"""Complete signal, coarse band and fine band, float32 [h, w, 3] each."""


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
    """Flicker measurement for one clip. Frames are added in order, and the patches of two frames are kept in memory.

    >>> meter = FlickerMeter(template)
    >>> for original, output, pose in frames:
    ...     meter.add(original, output, pose)
    >>> meter.result().added_coarse
    """

    template: Float
    """Mean face in the head frame, float32 [478, 3]."""
    mouth: bool = True
    """Whether to include the lips. Set to False if output and original contain different speech."""
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
            # An open mouth extends beyond the mean face's mouth.
            self._face &= cv2.dilate(lips, np.ones((3 * size, 3 * size), np.uint8)) == 0

    def cut(self) -> None:
        """Start a new sequence after a scene cut or a missing face.

        The next frame is not compared with the previous frame.
        """
        self._last.clear()

    def add(self, original: Image, output: Image, pose: HeadPose) -> None:
        """Add one frame.

        ``original`` and ``output``: RGB uint8 [H, W, 3]. ``pose``: head pose in the original frame (T = 1), or
        NaN to mark a cut. Raises ValueError if the shapes differ.
        """
        if original.shape != output.shape:
            raise ValueError(f"expected frames of equal shape, got {original.shape} and {output.shape}")
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
        """Add the difference between two consecutive frames. Return False if the frames have no pixels in common."""
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
        """Return the scores over all added frames."""
        total, coarse, fine = (ratio(*pair) for pair in zip(self._output, self._original, strict=True))
        added, added_coarse, added_fine = (mean.value for mean in self._added)
        return Flicker(total, coarse, fine, added, added_coarse, added_fine, self._frames)


def _hull_mask(outline: Float, height: int, width: int) -> Image:
    """Return a mask, uint8 [height, width]: 255 inside the convex hull of the points [N, 2], 0 elsewhere."""
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [cv2.convexHull(np.round(outline).astype(np.int32))], [255.0])
    return mask


def _bands(patch: Image) -> _Bands:
    values = patch.astype(np.float32)
    low = cv2.GaussianBlur(values, (0, 0), COARSE * PIXELS, borderType=cv2.BORDER_REPLICATE).astype(np.float32)
    return values, low, values - low
