"""Image quality of an edit relative to the original: skin sharpness, flicker, seam, and changes outside the edit.

All measures compare output and original over identical pixels, so that the effects of the content (beard, light, noise)
cancel. A ratio of 1.0 means that the measure has equal values in output and original. Frames are streamed. Only the
current frame and small patches from the previous frame are stored in memory. Sharpness is the variance of the Laplacian
(Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000). Flicker is the temporal difference of
motion-compensated pixels (Lai et al., "Learning blind video temporal consistency", ECCV 2018), with head pose instead
of optical flow.
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

PATCH_SIZE = (176, 160)
"""Width and height of the pose-stabilised patch in pixels."""
PATCH_EXTENT = (1.1, 1.0)
"""Width and height of the patch in IOD. The patch is centred on the mouth and extends further downwards than upwards.
"""
RING = (0.03, 0.97)
"""Range of mask values that defines the feather ring."""


@dataclass(frozen=True, slots=True)
class ImageQuality:
    """Image quality scores of one clip. Scores without any measurement are NaN."""

    skin_sharpness: float
    """Laplacian variance of the output relative to the original on edited skin, excluding the lips in both images.

    The minimum is 0, and the best value is 1. Values below 1 indicate softer skin.
    """
    ring_flicker: float
    """Mean absolute frame-to-frame difference in the feather ring, relative to the original. The minimum is 0, and
    values of 1 or less are good.
    """
    seam_energy: float
    """Mean gradient along the mask border, relative to the original. The minimum is 0, and the best value is 1.

    Values above 1 indicate a visible seam.
    """
    outside_change: float
    """Mean absolute difference outside the edited pixels, in grey levels.

    The minimum 0 is the best value. An unencoded output is expected to reach exactly 0.
    """
    outside_identical: float
    """Share of bit-identical pixels outside the edited pixels, from 0 to 1. Higher values are better."""
    frames: int


def mouth_region(landmarks: Float, shape: tuple[int, ...]) -> Float:
    """Return a soft mask of the mouth region, float32 [H, W] in [0, 1], for landmarks [478, 3] in pixels.

    The mask is the convex hull of the skin ring around the mouth, eroded by 0.012 face heights and feathered by 0.009
    face heights. The mask does not depend on the lip-sync method, so that methods are comparable.
    """
    height = float(np.linalg.norm(landmarks[mesh478.CHIN, :2] - landmarks[mesh478.FOREHEAD, :2]))
    mask = np.zeros(shape[:2], np.uint8)
    hull = cv2.convexHull(np.round(landmarks[list(mesh478.AROUND_MOUTH), :2] * 16).astype(np.int32))
    cv2.fillPoly(mask, [hull], [255.0], cv2.LINE_AA, 4)
    shrink = max(1, int(0.012 * height))
    mask = cv2.erode(mask, np.ones((2 * shrink + 1, 2 * shrink + 1), np.uint8))
    soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 0.009 * height + 0.1)
    return np.clip(soft * 1.04 - 0.02, 0, 1)


def _grey(image: Image) -> Float:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)


def _laplacian_variance(grey: Float, support: NDArray[np.bool_]) -> float:
    return float(cv2.Laplacian(grey, cv2.CV_32F, ksize=3)[support].var())


def _gradient(grey: Float, support: NDArray[np.bool_]) -> float:
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0)
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    return float(np.hypot(across, down)[support].mean())


@dataclass(slots=True)
class ImageQualityMeter:
    """Image quality measurement for one clip. Frames are added in order.

    >>> meter = ImageQualityMeter(template)
    >>> for original, output, landmarks, pose in frames:
    ...     meter.add(original, output, landmarks, pose)
    >>> meter.result().skin_sharpness
    """

    template: Float
    """Mean face in the head frame, float32 [478, 3], from which the mouth position is computed."""
    _skin: tuple[Mean, Mean] = field(default_factory=lambda: (Mean(), Mean()))
    _flicker: tuple[Mean, Mean] = field(default_factory=lambda: (Mean(), Mean()))
    _seam: tuple[Mean, Mean] = field(default_factory=lambda: (Mean(), Mean()))
    _change: Mean = field(default_factory=Mean)
    _identical: Mean = field(default_factory=Mean)
    _last: tuple[Float, Float, NDArray[np.bool_]] | None = None
    _frames: int = 0

    def cut(self) -> None:
        """Start a new sequence after a scene cut or a missing face.

        The next frame is not compared with the previous frame.
        """
        self._last = None

    def add(
        self,
        original: Image,
        output: Image,
        landmarks: Float,
        pose: HeadPose,
        output_landmarks: Float | None = None,
        region: Float | None = None,
        edited: Float | None = None,
    ) -> None:
        """Add one frame. Raises ValueError if the shapes differ.

        ``original`` and ``output``: RGB uint8 [H, W, 3]. ``landmarks``: landmarks in the original frame, float32 [478,
        3] in pixels. ``pose``: head pose in the original frame (T = 1). ``output_landmarks``: landmarks in the
        output frame (default: ``landmarks``). ``region``: soft mask of the region in which sharpness, flicker and seam
        are measured, float32 [H, W] in [0, 1] (default: ``mouth_region`` for the output's landmarks). ``edited``: mask
        of the edit, float32 [H, W]. Changes are measured outside this mask.
        """
        if original.shape != output.shape:
            raise ValueError(f"expected frames of equal shape, got {original.shape} and {output.shape}")
        output_found = output_landmarks is not None and bool(np.isfinite(output_landmarks).all())
        shown = output_landmarks if output_landmarks is not None and output_found else landmarks
        soft = mouth_region(shown, original.shape) if region is None else region
        self._frames += 1
        before, after = _grey(original), _grey(output)
        if edited is not None:
            self._add_outside(original, output, edited)
        hard = (soft > 0.5).astype(np.uint8)
        if int(hard.sum()) >= 20:
            self._add_skin(before, after, hard, landmarks, shown)
            self._add_seam(before, after, hard)
        self._add_flicker(original, output, soft, pose)

    def _add_outside(self, original: Image, output: Image, edited: Float) -> None:
        outside = edited <= 0
        if outside.any():
            difference = cv2.absdiff(original, output)[outside]
            self._change.add(float(difference.mean()), float(len(difference)))
            self._identical.add(float((difference == 0).all(-1).mean()), float(len(difference)))

    def _add_skin(self, before: Float, after: Float, hard: Image, landmarks: Float, shown: Float) -> None:
        support = hard.copy()
        for points in (landmarks, shown):
            lips = cv2.convexHull(np.round(points[list(mesh478.OUTER_LIPS), :2]).astype(np.int32))
            cv2.fillPoly(support, [lips], [0.0])
        skin = cv2.erode(support, np.ones((5, 5), np.uint8)) > 0
        if int(skin.sum()) > 50:
            self._skin[0].add(_laplacian_variance(after, skin))
            self._skin[1].add(_laplacian_variance(before, skin))

    def _add_seam(self, before: Float, after: Float, hard: Image) -> None:
        border = cv2.morphologyEx(hard, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
        if border.any():
            self._seam[0].add(_gradient(after, border))
            self._seam[1].add(_gradient(before, border))

    def _add_flicker(self, original: Image, output: Image, soft: Float, pose: HeadPose) -> None:
        if not np.isfinite(pose.scale).all():
            self.cut()
            return
        patch = self._patch()
        matrix = patch.matrix(pose)
        patches = [patch.warp(image, matrix) for image in (original, output, soft)]
        before, after = patches[0].astype(np.float32), patches[1].astype(np.float32)
        ring = (patches[2] > RING[0]) & (patches[2] < RING[1])
        if self._last is not None:
            both = ring & self._last[2]
            if both.any():
                weight = float(both.sum())
                self._flicker[0].add(float(np.abs(after - self._last[1])[both].mean()), weight)
                self._flicker[1].add(float(np.abs(before - self._last[0])[both].mean()), weight)
        self._last = (before, after, ring)

    def _patch(self) -> Patch:
        """Return the patch in the plane at the mouth's depth."""
        centre = self.template[[13, 14]].mean(0)
        left, top = centre[0] - PATCH_EXTENT[0] / 2, centre[1] - PATCH_EXTENT[1] * 0.38
        return Patch.upright(left, top, left + PATCH_EXTENT[0], top + PATCH_EXTENT[1], centre[2], PATCH_SIZE)

    def result(self) -> ImageQuality:
        """Return the scores over all added frames."""
        return ImageQuality(
            skin_sharpness=ratio(*self._skin),
            ring_flicker=ratio(*self._flicker),
            seam_energy=ratio(*self._seam),
            outside_change=self._change.value,
            outside_identical=self._identical.value,
            frames=self._frames,
        )
