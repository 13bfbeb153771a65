"""Rendering of one output frame.

The current frame is warped to the target lips, and an exemplar's mouth is blended over the warped frame. Both layers
use one mesh and identical target lips, so that lips and chin never appear twice. The result depends only on the plan,
the bank and the source frame. It does not depend on other output frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.geometry.pose import HeadPose, to_head_frame
from retalkit.imaging.blending import LightMatch, band_count, pyramid_blend
from retalkit.imaging.compositing import shift_matrix
from retalkit.stages import FaceEdit

from retalkit_renderers.exemplar.bank import Bank
from retalkit_renderers.exemplar.config import ExemplarConfig
from retalkit_renderers.exemplar.crossfade import ExemplarMix, morph
from retalkit_renderers.exemplar.identities import Identity
from retalkit_renderers.exemplar.mouth_interior import MouthColours, render_mouth_interior
from retalkit_renderers.exemplar.teeth_warp import TeethPlane, interior_points, teeth_depth
from retalkit_renderers.exemplar.texture import detail_level, match_blur, restore_grain
from retalkit_renderers.mesh_warp import (
    MeshTopology,
    Rectangle,
    TriangleRaster,
    displaced_rectangle,
    even_rectangle,
    make_topology,
    sample_displaced,
    topology_points,
    upsample,
)

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

_AROUND_MOUTH = np.array(mesh478.AROUND_MOUTH, np.intp)
_OUTER_LIPS = np.array(mesh478.OUTER_LIPS, np.intp)
FEATHER = 0.009
"""Standard deviation of the Gaussian blur at the mask edge, in face heights."""
_EROSION = 0.012
"""Erosion of the mouth region before feathering, in face heights."""
_COARSEST_BAND = 3.7
"""Minimum length, in pixels, of the shorter side of the coarsest blend band."""
_COLOUR_SIGMA = 0.07
"""Standard deviation of the colour matching filter, in face heights."""
_LIP_MARGIN = 0.02
"""Margin around the lips that is excluded from the skin mask, in face heights."""
_EDITED_DISPLACEMENT = (0.03, 0.25)
"""Displacements in pixels at which the edit weight of a background pixel starts to increase and at which it reaches 1.
"""
_READ_MARGIN = 0.04
"""Margin in face heights around the moving part of the mesh. Displaced pixels are sampled within this margin."""
_CROSSFADE_MARGIN = 0.05
"""Width in face heights of the skin around the lips to which the secondary exemplar's light and blur are matched."""
_MIN_SIZE = 8
"""Minimum width and height in pixels of the visible mouth and of the visible moving part of the face."""
_BLEND_FADE = 0.02
"""Mask value below which the blended result fades out."""
_EXEMPLAR_SMOOTHING = 0.008
"""Smoothing of the exemplar displacement in face heights. The smoothing prevents visible triangle edges at the lip
border.
"""
_BACKGROUND_SMOOTHING = 0.02
"""Smoothing of the background displacement in face heights. The smoothing blurs the lips, which the exemplar covers."""


@dataclass(frozen=True, slots=True)
class FrameGeometry:
    """Face geometry in one output frame."""

    landmarks: Float
    """Mesh landmarks of the current frame in pixels, float32 [478, 3]."""
    pose: HeadPose
    """Head pose in the current frame (T = 1)."""
    head: Float
    """Current face in the head frame, float32 [478, 3]."""
    target_head: Float
    """Target face in the head frame, float32 [478, 3]."""
    target: Float
    """Target face in pixels, float32 [468, 2]."""
    height: float
    """Face height in pixels."""


@dataclass(frozen=True, slots=True)
class FramePart:
    """Part of a frame that contains the lower face."""

    image: Image
    """RGB image, uint8 [h, w, 3]."""
    corner: tuple[int, int]
    """Left and top coordinates of ``image`` in the frame."""

    def crop(self, rectangle: Rectangle) -> Image:
        """Return a rectangle of the frame, RGB uint8 [height, width, 3]."""
        left, top = rectangle[0] - self.corner[0], rectangle[1] - self.corner[1]
        return self.image[top : top + rectangle[3], left : left + rectangle[2]]


@dataclass(frozen=True, slots=True)
class FrameLayout:
    """Mesh points and rectangles (left, top, width, height) of one frame."""

    now: Float
    """Topology points of the current frame in pixels, float32 [POINT_COUNT, 2]."""
    goal: Float
    """Topology points of the target shape in pixels, float32 [POINT_COUNT, 2]."""
    box: Rectangle
    """Bounding box of all triangles."""
    mouth: Rectangle
    """Part of ``box`` in which the exemplar is blended over the frame."""
    read: Rectangle
    """Part of the frame that is read."""


@dataclass(frozen=True, slots=True)
class MouthSource:
    """Mouth image that is blended over a frame."""

    image: Image
    """Mouth image, RGB uint8 [h, w, 3]."""
    corner: tuple[int, int]
    """Left and top coordinates of ``image`` in its source frame."""
    landmarks: Float
    """Mesh landmarks in source frame pixels, float32 [478, 3]."""
    pose: HeadPose
    """Head pose in the source frame (T = 1)."""
    head: Float
    """Mesh landmarks in the head frame, float32 [478, 3]."""


def frame_geometry(landmarks: Float, pose: HeadPose, target_head: Float, mouth_weights: Float) -> FrameGeometry:
    """Return the geometry of a frame for a head-frame target shape [478, 3].

    ``mouth_weights``: motion weight of each mesh point, [478].
    """
    head = to_head_frame(landmarks[None], pose)[0]
    moved = float(pose.scale[0]) * ((target_head - head) @ pose.rotation[0].T)[:, :2]
    count = mesh478.MESH_COUNT
    target = landmarks[:count, :2] + moved[:count] * mouth_weights[:count, None]
    height = float(np.linalg.norm(landmarks[mesh478.CHIN, :2] - landmarks[mesh478.FOREHEAD, :2]))
    return FrameGeometry(landmarks, pose, head, target_head, target.astype(np.float32), height)


class FrameRenderer:
    """Renderer for frames of one person with exemplars from one bank."""

    def __init__(self, identity: Identity, bank: Bank, config: ExemplarConfig) -> None:
        rest = identity.person.model.rest
        self._never_opens = identity.person.never_opens
        self._first = int(identity.rows[0])
        self._colours: MouthColours | None = None
        self._bank = bank
        self._config = config
        self.topology: MeshTopology = make_topology(rest)
        self._used = self.topology.points
        self._depth = teeth_depth(rest)
        self._heads = bank.exemplars.heads
        self._poses = bank.exemplars.pose

    def layout(self, shape: FrameGeometry, width: int, height: int) -> FrameLayout | None:
        """Return the layout of a ``width`` x ``height`` frame, or None if the mouth is outside the frame."""
        now = topology_points(shape.landmarks[:, :2])
        goal = topology_points(shape.target, ring_from=shape.landmarks[:, :2])
        used = np.vstack([goal[self._used], now[self._used]])
        box = even_rectangle(used, 2, width, height)
        mouth = self._mouth_rectangle(shape, box)
        if min(box[2], box[3], mouth[2], mouth[3]) < _MIN_SIZE:
            return None
        return FrameLayout(now, goal, box, mouth, even_rectangle(used, _READ_MARGIN * shape.height, width, height))

    def render(self, frame: FramePart, shape: FrameGeometry, layout: FrameLayout, mix: ExemplarMix) -> FaceEdit:
        """Return the edit for one frame.

        ``frame``: part of the frame that contains ``layout.read``.
        """
        mouth = layout.mouth
        raster = TriangleRaster(self.topology, layout.goal, layout.box)
        base, support, (left, top, _, _) = self._background(frame, raster, layout.now, mouth, shape.height)
        inner = (slice(mouth[1] - top, mouth[1] - top + mouth[3]), slice(mouth[0] - left, mouth[0] - left + mouth[2]))
        under = base[inner].astype(np.float32)
        mask, lips, skin = self._masks(shape, mouth)
        if self._never_opens:
            # The frame's own closed lips are consistent across frames, so that the mouth does not jump.
            sources = [MouthSource(frame.image, frame.corner, shape.landmarks, shape.pose, shape.head)]
        else:
            sources = [self._exemplar(number) for number in (mix.primary, mix.secondary) if number is not None]
        over = self._foreground(raster, mouth, shape, sources, mix.share, under, lips, skin)
        bands = band_count(*mask.shape, limit=self._config.blend_levels + 1, coarsest=_COARSEST_BAND)
        mixed = pyramid_blend(under, over, mask, bands)
        if self._config.grain:
            mixed = restore_grain(mixed, frame.crop(mouth).astype(np.float32), skin, mask)
        # The coarse blend bands extend slightly beyond the mask. The result therefore fades out where the mask is
        # small.
        fade = np.minimum(mask * np.float32(1 / _BLEND_FADE), np.float32(1))
        added = cv2.multiply(cv2.subtract(mixed, under), cv2.merge([fade] * 3))
        base[inner] = cv2.add(under, added, dtype=cv2.CV_8U)
        support[inner] = cv2.max(support[inner], fade)
        if self._never_opens:
            base = self._render_interior(base, shape, left, top)
        return FaceEdit(base, support, shift_matrix(left, top))

    def _background(
        self, frame: FramePart, raster: TriangleRaster, now: Float, mouth: Rectangle, height: float
    ) -> tuple[Image, Float, Rectangle]:
        """Return the warped background, the edit weight of each pixel, and the rectangle of both arrays.

        The background is the current frame with lips and jaw warped to the target. The rectangle contains ``mouth`` and
        all displaced pixels.
        """
        small = raster.displacement(now, smooth=_BACKGROUND_SMOOTHING * height)
        magnitude = np.abs(small)
        moved = np.maximum(magnitude[..., 0], magnitude[..., 1])
        low, high = _EDITED_DISPLACEMENT
        box = displaced_rectangle(moved > low, raster.rectangle, mouth)
        left, top = (box[0] - raster.rectangle[0]) // 2, (box[1] - raster.rectangle[1]) // 2
        support = upsample((moved[top:, left:] - np.float32(low)) * np.float32(1 / (high - low)), box)
        support = np.minimum(np.maximum(support, np.float32(0)), np.float32(1))
        return sample_displaced(frame.image, frame.corner, small[top:, left:], box), support, box

    def _mouth_rectangle(self, shape: FrameGeometry, box: Rectangle) -> Rectangle:
        left, top, width, height = box
        margin = 3 * FEATHER * shape.height + 6
        inside = shape.target[_AROUND_MOUTH] - np.array([left, top], np.float32)
        x, y, w, h = even_rectangle(inside, margin, width, height)
        return left + x, top + y, w, h

    def _masks(self, shape: FrameGeometry, mouth: Rectangle) -> tuple[Float, Float, Image]:
        """Return the feathered mouth mask, the mask of lips and mouth interior, and the mask of the surrounding skin.

        The first two masks are float32 [h, w]. The skin mask is uint8 [h, w], with the value 1 on skin.
        """
        left, top, width, height = mouth
        corner = np.array([left, top], np.float32)
        hull = np.asarray(cv2.convexHull(shape.target[_AROUND_MOUTH] - corner)[:, 0], np.float32)
        region = _polygon(hull, width, height)
        shrink = max(1, int(_EROSION * shape.height))
        region = cv2.erode(region, np.ones((2 * shrink + 1, 2 * shrink + 1), np.uint8))
        feathered = cv2.GaussianBlur(region.astype(np.float32), (0, 0), FEATHER * shape.height + 0.1)
        mask = feathered * np.float32(1.04 / 255) - np.float32(0.02)
        mask = np.minimum(np.maximum(mask, np.float32(0)), np.float32(1))
        lips = _polygon(shape.target[_OUTER_LIPS] - corner, width, height)
        grown = 2 * max(1, int(_LIP_MARGIN * shape.height)) + 1
        around = cv2.dilate(lips, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (grown, grown)))
        # Pixels of the original lips now show skin. They must be excluded from the skin's grain and colour statistics.
        before = _polygon(shape.landmarks[_OUTER_LIPS, :2] - corner, width, height)
        covered = cv2.max(around, cv2.dilate(before, np.ones((5, 5), np.uint8)))
        skin = ((mask > 0.02) & (covered < 128)).view(np.uint8)
        soft = cv2.GaussianBlur(lips.astype(np.float32), (0, 0), 0.004 * shape.height + 0.1)
        return mask, soft * np.float32(1 / 255), skin

    def _foreground(
        self, raster: TriangleRaster, mouth: Rectangle, shape: FrameGeometry, sources: list[MouthSource], share: float,
        under: Float, lips: Float, skin: Image,
    ) -> Float:  # fmt: skip
        """Return the exemplars, warped to the target lips and matched to the background ``under``, float32 [h, w, 3].

        The secondary exemplar, if any, is visible only inside the lips.
        """
        over = self._matched(raster, mouth, shape, sources[0], under, skin)
        x, y, w, h = cv2.boundingRect((lips > 0.01).view(np.uint8))
        if len(sources) > 1 and w and h:
            left, top, width, height = self._around(x, y, w, h, mouth, shape.height)
            around = (slice(top, top + height), slice(left, left + width))
            second = self._matched(
                raster, (mouth[0] + left, mouth[1] + top, width, height), shape, sources[1],
                np.ascontiguousarray(under[around]), np.ascontiguousarray(skin[around]), (x - left, y - top, w, h),
            )  # fmt: skip
            part = (slice(y, y + h), slice(x, x + w))
            first = np.ascontiguousarray(over[part])
            second = np.ascontiguousarray(second[y - top : y - top + h, x - left : x - left + w])
            change = cv2.subtract(morph(first, second, share), first)
            over[part] += cv2.multiply(change, cv2.merge([lips[part]] * 3))
        return over

    @staticmethod
    def _around(x: int, y: int, width: int, height: int, mouth: Rectangle, face_height: float) -> Rectangle:
        """Return a part of the mouth rectangle, enlarged by ``_CROSSFADE_MARGIN`` and with an even corner."""
        margin = int(_CROSSFADE_MARGIN * face_height)
        left, top = max(0, x - margin) // 2 * 2, max(0, y - margin) // 2 * 2
        return left, top, min(x + width + margin, mouth[2]) - left, min(y + height + margin, mouth[3]) - top

    def _matched(
        self, raster: TriangleRaster, rectangle: Rectangle, shape: FrameGeometry, source: MouthSource, under: Float,
        skin: Image, sharp: Rectangle | None = None,
    ) -> Float:  # fmt: skip
        """Return a warped source image with the light and the blur of the background, float32 [h, w, 3].

        ``under``, ``skin``: background and skin mask of ``rectangle``. ``sharp``: see ``sample_displaced``.
        """
        over = self._warp(raster, rectangle, shape, source, sharp).astype(np.float32)
        light = LightMatch(under, skin, _COLOUR_SIGMA * shape.height)
        means = light.means(over)
        gain = light.gain(means)
        if (gain != 1).any():
            over, means = np.minimum(over * gain, np.float32(255)), means * gain
        over = match_blur(over, detail_level(under, skin), skin)
        return np.asarray(cv2.add(over, light.offset(means)), np.float32)

    def _warp(
        self, raster: TriangleRaster, rectangle: Rectangle, shape: FrameGeometry, source: MouthSource,
        sharp: Rectangle | None,
    ) -> Image:  # fmt: skip
        """Return the part of a source image in ``rectangle``, warped to the target lips."""
        inside = None
        if not self._never_opens:
            plane, source_plane = TeethPlane(shape.pose, self._depth), TeethPlane(source.pose, self._depth)
            inside = interior_points(
                shape.target, plane, shape.target_head, source.landmarks, source_plane, source.head
            )
        points = topology_points(source.landmarks[:, :2], inside=inside)
        moved = raster.displacement(points, rectangle, _EXEMPLAR_SMOOTHING * shape.height)
        return sample_displaced(source.image, source.corner, moved, rectangle, sharp)

    def _exemplar(self, number: int) -> MouthSource:
        exemplars = self._bank.exemplars
        left, top = (int(value) for value in exemplars.rectangles[number, :2])
        pose = self._poses[number : number + 1]
        return MouthSource(self._bank.crop(number), (left, top), exemplars.landmarks[number], pose, self._heads[number])

    def _render_interior(self, base: Image, shape: FrameGeometry, left: int, top: int) -> Image:
        """Return ``base`` with a rendered mouth interior, for a person whose frames never show the mouth interior."""
        if self._colours is None:
            source = self._exemplar(self._first)
            corner = np.array([*source.corner, 0], np.float32)
            self._colours = MouthColours.measure(source.image, source.landmarks - corner)
        moved = shape.landmarks - np.array([left, top, 0], np.float32)
        colours = self._colours.in_light_of(MouthColours.measure(base, moved))
        lips = shape.target[list(mesh478.INNER_LIPS)] - np.array([left, top], np.float32)
        return render_mouth_interior(base, lips, shape.pose, (left, top), shape.target_head, colours)


def _polygon(points: Float, width: int, height: int) -> Image:
    """Return a filled, anti-aliased polygon, uint8 [height, width], with the value 255 inside."""
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], (255.0,), cv2.LINE_AA, 4)
    return mask
