"""Image quality of an edit relative to the original frames: skin sharpness, flicker, seam, changes outside the edit.

All measures compare output and original over the same pixels, so that the content (beard, light, noise) cancels out:
1.0 means "as in the original". Frames are streamed: only the current frame and small patches of the previous one are
held. The definitions follow common practice: sharpness is the variance of the Laplacian (Pech-Pacheco et al., "Diatom
autofocusing in brightfield microscopy", ICPR 2000); flicker is the temporal difference of motion-compensated pixels
(Lai et al., "Learning blind video temporal consistency", ECCV 2018, with head pose in place of optical flow).
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
"""Width and height in pixels of the pose-stabilised patch."""
PATCH_EXTENT = (1.1, 1.0)
"""Width and height of the patch in IOD, centred on the mouth and extending further down than up."""
RING = (0.03, 0.97)
"""Range of mask values in the feather ring."""


@dataclass(frozen=True, slots=True)
class ImageQuality:
    """Scores of one clip; NaN if nothing could be measured."""

    skin_sharpness: float
    """Laplacian variance of the output relative to the original's, in edited skin (lips of both excluded). At least 0;
    1 is best; below 1 means softer."""
    ring_flicker: float
    """Mean absolute frame-to-frame difference in the feather ring relative to the original's. At least 0; 1 or less is
    best."""
    seam_energy: float
    """Mean gradient along the border of the mask relative to the original's. At least 0; 1 is best; above 1 means a
    visible seam."""
    outside_change: float
    """Mean absolute difference outside the edited pixels in grey levels. At least 0; 0 is best (and exact before
    encoding)."""
    outside_identical: float
    """Share of bit-identical pixels outside the edited ones, from 0 to 1; higher is better."""
    frames: int


def mouth_region(landmarks: Float, shape: tuple[int, ...]) -> Float:
    """Return a soft mask of the mouth region, float32 [H, W] in [0, 1], from landmarks [478, 3] in pixels.

    It does not depend on the method, so that methods are comparable: the convex hull of the ring of skin around the
    mouth, eroded by 0.012 and feathered by 0.009 of the face height.
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
    """Measures image quality over the frames of one clip, added in order.

    >>> meter = ImageQualityMeter(template)
    >>> for original, output, landmarks, pose in frames:
    ...     meter.add(original, output, landmarks, pose)
    >>> meter.result().skin_sharpness
    """

    template: Float
    """float32 [478, 3], the mean face in the head frame, which locates the mouth."""
    _skin: tuple[Mean, Mean] = field(default_factory=lambda: (Mean(), Mean()))
    _flicker: tuple[Mean, Mean] = field(default_factory=lambda: (Mean(), Mean()))
    _seam: tuple[Mean, Mean] = field(default_factory=lambda: (Mean(), Mean()))
    _change: Mean = field(default_factory=Mean)
    _identical: Mean = field(default_factory=Mean)
    _last: tuple[Float, Float, NDArray[np.bool_]] | None = None
    _frames: int = 0

    def cut(self) -> None:
        """Start a new sequence: the next frame does not continue the previous one (scene cut or missing face)."""
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

        ``original`` and ``output`` are RGB uint8 [H, W, 3]. ``landmarks`` (float32 [478, 3] in pixels) and ``pose``
        (length 1) belong to the original; ``output_landmarks`` were found in the output (default: the original's).
        ``region`` (float32 [H, W] in [0, 1]) is where sharpness, flicker and seam are measured (default:
        ``mouth_region`` of the output's landmarks). ``edited`` (float32 [H, W]) is the mask of the edit; changes
        outside it are measured.
        """
        if original.shape != output.shape:
            raise ValueError(f"frames differ in shape: {original.shape} and {output.shape}")
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
        """Return the patch in the plane at the depth of the mouth."""
        centre = self.template[[13, 14]].mean(0)
        left, top = centre[0] - PATCH_EXTENT[0] / 2, centre[1] - PATCH_EXTENT[1] * 0.38
        return Patch.upright(left, top, left + PATCH_EXTENT[0], top + PATCH_EXTENT[1], centre[2], PATCH_SIZE)

    def result(self) -> ImageQuality:
        """Return the scores of all frames added so far."""
        return ImageQuality(
            skin_sharpness=ratio(*self._skin),
            ring_flicker=ratio(*self._flicker),
            seam_energy=ratio(*self._seam),
            outside_change=self._change.value,
            outside_identical=self._identical.value,
            frames=self._frames,
        )
