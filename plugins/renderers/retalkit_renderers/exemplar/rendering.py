"""One output frame: the current frame with its mouth brought to the target, and an exemplar's mouth over it.

Both layers are warped over one mesh to the same lips, so that no lip or chin shows twice. Everything is a function of
the plan, the bank and the frame: no frame depends on another.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.geometry.pose import HeadPose, to_head_frame
from retalkit.imaging.blending import band_count, low_frequency_offset, pyramid_blend
from retalkit.imaging.compositing import shift_matrix
from retalkit.stages import FaceEdit

from retalkit_renderers.exemplar.bank import Bank
from retalkit_renderers.exemplar.cast import Member
from retalkit_renderers.exemplar.config import ExemplarConfig
from retalkit_renderers.exemplar.crossfade import Shown, morph
from retalkit_renderers.exemplar.inner_map import HeadPlane, inside_points, teeth_depth
from retalkit_renderers.exemplar.inner_mouth import MouthColours, draw_inner_mouth
from retalkit_renderers.exemplar.texture import detail_level, match_blur, restore_grain
from retalkit_renderers.mesh_warp import (
    MeshTopology,
    Rectangle,
    TriangleRaster,
    complete_points,
    enlarged,
    enlarged_map,
    even_rectangle,
    fetch,
    make_topology,
    moved_rectangle,
)

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

_AROUND_MOUTH = np.array(mesh478.AROUND_MOUTH, np.intp)
_OUTER_LIPS = np.array(mesh478.OUTER_LIPS, np.intp)
FEATHER = 0.009
"""Of the mask, in face heights."""
_SHRINK = 0.012
_COARSEST_BAND = 4
"""Pixels of the shorter side of the coarsest band of the blend, at least."""
_COLOUR_SIGMA = 0.07
_LIP_MARGIN = 0.02
_MOVED = (0.03, 0.25)
"""Pixels of displacement at which a background pixel begins to count as edited and at which it fully does."""
_STILL = 0.01
"""Pixels of displacement that nobody sees."""
_ADDED_REACH = 0.02
_EXEMPLAR_SMOOTHING = 0.008
"""Of an exemplar's displacement, in face heights: the edges of triangles must not show on the border of the lips."""
_BACKGROUND_SMOOTHING = 0.02
"""Of the background's displacement, in face heights. What it smears on the lips lies under the exemplar."""


@dataclass(frozen=True, slots=True)
class FrameShape:
    """Geometry of one output frame."""

    landmarks: Float
    """float32 [478, 3] of the current frame, pixels."""
    pose: HeadPose
    """Length 1."""
    head: Float
    """float32 [478, 3], the current face in the head frame."""
    target_head: Float
    """float32 [478, 3], the asked face in the head frame."""
    target: Float
    """float32 [468, 2], the asked face in pixels."""
    height: float
    """Face height in pixels."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of the mouth that is put over a frame."""

    image: Image
    """RGB uint8 [h, w, 3]."""
    corner: tuple[int, int]
    """Left and top of ``image`` in its frame."""
    landmarks: Float
    """float32 [478, 3], pixels of its frame."""
    pose: HeadPose
    """Length 1."""
    head: Float
    """float32 [478, 3], head frame."""


def frame_shape(landmarks: Float, pose: HeadPose, target_head: Float, follow: Float) -> FrameShape:
    """Puts the target shape [478, 3] (head frame) onto a frame; ``follow`` [478] says how much each point moves."""
    head = to_head_frame(landmarks[None], pose)[0]
    moved = float(pose.scale[0]) * ((target_head - head) @ pose.rotation[0].T)[:, :2]
    count = mesh478.MESH_COUNT
    target = landmarks[:count, :2] + moved[:count] * follow[:count, None]
    height = float(np.linalg.norm(landmarks[mesh478.CHIN, :2] - landmarks[mesh478.FOREHEAD, :2]))
    return FrameShape(landmarks, pose, head, target_head, target.astype(np.float32), height)


class FrameRenderer:
    """Renders frames of one person from one bank."""

    def __init__(self, member: Member, bank: Bank, config: ExemplarConfig) -> None:
        rest = member.person.model.rest
        self._silent = member.person.silent
        self._first = int(member.rows[0])
        self._colours: MouthColours | None = None
        self._bank = bank
        self._config = config
        self.topology: MeshTopology = make_topology(rest)
        self._used = self.topology.points
        self._depth = teeth_depth(rest)
        self._heads = bank.exemplars.heads
        self._poses = bank.exemplars.pose

    def render(self, image: Image, shape: FrameShape, shown: Shown) -> FaceEdit | None:
        """The edit of one frame (RGB uint8 [H, W, 3]); None where the mouth is out of the frame."""
        high, wide = image.shape[:2]
        now = complete_points(shape.landmarks[:, :2])
        goal = complete_points(shape.target, ring_from=shape.landmarks[:, :2])
        box = even_rectangle(np.vstack([goal[self._used], now[self._used]]), 2, wide, high)
        mouth = self._mouth_rectangle(shape, box)
        if box[2] < 8 or box[3] < 8 or mouth[2] < 8 or mouth[3] < 8:
            return None
        raster = TriangleRaster(self.topology, goal, box, self._wanted(now, goal, mouth))
        base, support, (left, top, _, _) = self._background(image, raster, now, mouth, shape.height)
        inner = (slice(mouth[1] - top, mouth[1] - top + mouth[3]), slice(mouth[0] - left, mouth[0] - left + mouth[2]))
        under = base[inner].astype(np.float32)
        mask, lips, skin = self._masks(shape, mouth)
        if self._silent:
            # The mouth never opens, so the frame's own lips are as good as any and do not jump.
            sources = [Picture(image, (0, 0), shape.landmarks, shape.pose, shape.head)]
        else:
            sources = [self._exemplar(number) for number in (shown.main, shown.second) if number is not None]
        over = self._foreground(raster, mouth, shape, sources, shown.share, under, lips, skin)
        bands = band_count(*mask.shape, limit=self._config.blend_levels + 1, coarsest=_COARSEST_BAND)
        mixed = pyramid_blend(under, over, mask, bands)
        if self._config.grain:
            original = image[mouth[1] : mouth[1] + mouth[3], mouth[0] : mouth[0] + mouth[2]]
            mixed = restore_grain(mixed, original.astype(np.float32), skin, mask)
        # The blend's coarse levels reach a little beyond the mask: fade them out.
        reach = np.minimum(mask * np.float32(1 / _ADDED_REACH), np.float32(1))
        added = cv2.multiply(cv2.subtract(mixed, under), cv2.merge([reach] * 3))
        base[inner] = cv2.add(under, added, dtype=cv2.CV_8U)
        support[inner] = cv2.max(support[inner], reach)
        if self._silent:
            base = self._drawn_inside(base, shape, left, top)
        return FaceEdit(base, support, shift_matrix(left, top))

    def _wanted(self, now: Float, goal: Float, mouth: Rectangle) -> NDArray[np.bool_]:
        """bool [M]: triangles that move, or lie in the rectangle ``mouth``."""
        left, top, width, height = mouth
        still = np.abs(now - goal).max(1) < _STILL
        x, y = goal[:, 0], goal[:, 1]
        # A triangle lies outside when all its corners lie beyond the same side.
        sides = np.stack([still, x < left - 4, x > left + width + 4, y < top - 4, y > top + height + 4])
        still, *outside = sides[:, self.topology.triangles].all(2)
        return ~(still & np.logical_or.reduce(outside))

    def _background(
        self, image: Image, raster: TriangleRaster, now: Float, mouth: Rectangle, height: float
    ) -> tuple[Image, Float, Rectangle]:
        """The current frame with lips and jaw moved to the target, how much of it counts as edited, and where it lies:
        around ``mouth`` and everything that moves."""
        small = raster.displacement(now, smooth=_BACKGROUND_SMOOTHING * height)
        across, down = cv2.split(cv2.absdiff(small, np.zeros_like(small)))
        moved = cv2.max(across, down)
        box = moved_rectangle(moved > _MOVED[0], raster.rectangle, mouth)
        left, top = (box[0] - raster.rectangle[0]) // 2, (box[1] - raster.rectangle[1]) // 2
        support = (enlarged(moved[top:, left:], box) - np.float32(_MOVED[0])) * np.float32(1 / (_MOVED[1] - _MOVED[0]))
        support = np.clip(support, 0, 1)
        return fetch(image, *enlarged_map(small[top:, left:], box)), support, box

    def _mouth_rectangle(self, shape: FrameShape, box: Rectangle) -> Rectangle:
        left, top, width, height = box
        margin = 4 * FEATHER * shape.height + 8
        inside = shape.target[_AROUND_MOUTH] - np.array([left, top], np.float32)
        x, y, w, h = even_rectangle(inside, margin, width, height)
        return left + x, top + y, w, h

    def _masks(self, shape: FrameShape, mouth: Rectangle) -> tuple[Float, Float, Image]:
        """Float32 [h, w]: the feathered mouth region and the lips with what is between them; uint8 [h, w]: 1 on the
        skin around them."""
        left, top, width, height = mouth
        corner = np.array([left, top], np.float32)
        hull = cv2.convexHull(shape.target[_AROUND_MOUTH] - corner)[:, 0]
        region = _polygon(hull, width, height)
        shrink = max(1, int(_SHRINK * shape.height))
        region = cv2.erode(region, np.ones((2 * shrink + 1, 2 * shrink + 1), np.uint8))
        feathered = cv2.GaussianBlur(region.astype(np.float32), (0, 0), FEATHER * shape.height + 0.1)
        mask = np.clip(feathered * np.float32(1.04 / 255) - np.float32(0.02), 0, 1)
        lips = _polygon(shape.target[_OUTER_LIPS] - corner, width, height)
        grown = 2 * max(1, int(_LIP_MARGIN * shape.height)) + 1
        around = cv2.dilate(lips, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (grown, grown)))
        # Where the current lips were is skin now, but says nothing about the skin's own grain and colour.
        before = _polygon(shape.landmarks[_OUTER_LIPS, :2] - corner, width, height)
        covered = cv2.max(around, cv2.dilate(before, np.ones((5, 5), np.uint8)))
        skin = ((mask > 0.02) & (covered < 128)).view(np.uint8)
        soft = cv2.GaussianBlur(lips.astype(np.float32), (0, 0), 0.004 * shape.height + 0.1)
        return mask, soft * np.float32(1 / 255), skin

    def _foreground(
        self, raster: TriangleRaster, mouth: Rectangle, shape: FrameShape, sources: list[Picture], share: float,
        under: Float, lips: Float, skin: Image,
    ) -> Float:  # fmt: skip
        here = HeadPlane(shape.pose, self._depth)
        weight, sharpness = skin.astype(np.float32), detail_level(under, skin)

        def matched(source: Picture, part: Rectangle | None = None) -> Float:
            over = self._warped(raster, mouth, shape, here, source, part).astype(np.float32)
            over = match_blur(over, sharpness, skin)
            return cv2.add(over, low_frequency_offset(under, over, weight, _COLOUR_SIGMA * shape.height))

        over = matched(sources[0])
        x, y, w, h = cv2.boundingRect((lips > 0.01).view(np.uint8))
        if len(sources) > 1 and w and h:
            part = (slice(y, y + h), slice(x, x + w))
            first, second = (
                np.ascontiguousarray(over[part]),
                np.ascontiguousarray(matched(sources[1], (x, y, w, h))[part]),
            )
            change = cv2.subtract(morph(first, second, share), first)
            over[part] += cv2.multiply(change, cv2.merge([lips[part]] * 3))
        return over

    def _warped(
        self, raster: TriangleRaster, mouth: Rectangle, shape: FrameShape, here: HeadPlane, source: Picture,
        part: Rectangle | None,
    ) -> Image:  # fmt: skip
        """A picture on the target's lips, sharp in a ``part`` of the rectangle ``mouth`` or everywhere."""
        inside = None
        if not self._silent:
            there = HeadPlane(source.pose, self._depth)
            inside = inside_points(shape.target, here, shape.target_head, source.landmarks, there, source.head)
        points = complete_points(source.landmarks[:, :2], inside=inside)
        map_x, map_y = raster.dense_map(points, mouth, _EXEMPLAR_SMOOTHING * shape.height)
        return fetch(source.image, map_x - np.float32(source.corner[0]), map_y - np.float32(source.corner[1]), part)

    def _exemplar(self, number: int) -> Picture:
        exemplars = self._bank.exemplars
        left, top = (int(value) for value in exemplars.rectangles[number, :2])
        pose = self._poses[number : number + 1]
        return Picture(self._bank.crop(number), (left, top), exemplars.landmarks[number], pose, self._heads[number])

    def _drawn_inside(self, base: Image, shape: FrameShape, left: int, top: int) -> Image:
        """Draws what no frame of this person shows."""
        if self._colours is None:
            picture = self._exemplar(self._first)
            corner = np.array([*picture.corner, 0], np.float32)
            self._colours = MouthColours.of(picture.image, picture.landmarks - corner)
        lips = shape.target[list(mesh478.INNER_LIPS)] - np.array([left, top], np.float32)
        return draw_inner_mouth(base, lips, shape.pose, (left, top), shape.target_head, self._colours)


def _polygon(points: Float, width: int, height: int) -> Image:
    """Anti-aliased filled polygon, uint8 [height, width] with 255 inside."""
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], (255.0,), cv2.LINE_AA, 4)
    return mask
