"""One output frame: the current frame with its mouth brought to the target, and an exemplar's mouth over it.

Both layers are warped over one mesh to the same lips, so that no lip or chin shows twice. Everything is a function of
the plan, the bank and the frame: no frame depends on another.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.compositing import low_frequency_offset, multi_band_blend, shift_matrix
from retalkit.geometry import mesh478
from retalkit.geometry.pose import HeadPose, to_head_frame
from retalkit.stages import FaceEdit

from retalkit_renderers.exemplar.bank import Bank
from retalkit_renderers.exemplar.cast import Member
from retalkit_renderers.exemplar.config import ExemplarConfig
from retalkit_renderers.exemplar.crossfade import Shown, morph
from retalkit_renderers.exemplar.inner_map import HeadPlane, inside_points, teeth_depth
from retalkit_renderers.exemplar.inner_mouth import MouthColours, draw_inner_mouth
from retalkit_renderers.exemplar.texture import match_blur, restore_grain
from retalkit_renderers.mesh_warp import (
    MeshTopology,
    Rectangle,
    TriangleRaster,
    complete_points,
    even_rectangle,
    make_topology,
)

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

FEATHER = 0.009
"""Of the mask, in face heights."""
_SHRINK = 0.012
_COLOUR_SIGMA = 0.07
_LIP_MARGIN = 0.02
_MOVED = (0.03, 0.25)
"""Pixels of displacement at which a background pixel begins to count as edited and at which it fully does."""
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
        raster = TriangleRaster(self.topology, goal, box)
        left, top, width, height = box
        crop = image[top : top + height, left : left + width]
        base, support = self._background(image, raster, now, _BACKGROUND_SMOOTHING * shape.height)
        inner = (slice(mouth[1] - top, mouth[1] - top + mouth[3]), slice(mouth[0] - left, mouth[0] - left + mouth[2]))
        under = base[inner].astype(np.float32)
        original = crop[inner].astype(np.float32)
        mask, lips, skin = self._masks(shape, mouth)
        if self._silent:
            # The mouth never opens, so the frame's own lips are as good as any and do not jump.
            sources = [Picture(image, (0, 0), shape.landmarks, shape.pose, shape.head)]
        else:
            sources = [self._exemplar(number) for number in (shown.main, shown.second) if number is not None]
        over = self._foreground(raster, mouth, shape, sources, shown.share, under, lips, skin)
        mixed = multi_band_blend(under, over, mask, self._config.blend_levels)
        if self._config.grain:
            mixed = restore_grain(mixed, original, skin, mask)
        # The blend's coarse levels reach a little beyond the mask: fade them out.
        reach = np.clip(mask / _ADDED_REACH, 0, 1)[..., None]
        mixed = under + (mixed - under) * reach
        base[inner] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
        support[inner] = np.maximum(support[inner], reach[..., 0])
        if self._silent:
            base = self._drawn_inside(base, shape, left, top)
        return FaceEdit(base, support, shift_matrix(left, top))

    def _background(self, image: Image, raster: TriangleRaster, now: Float, smooth: float) -> tuple[Image, Float]:
        """The current frame with lips and jaw moved to the target, and how much of it counts as edited."""
        left, top, width, height = raster.rectangle
        map_x, map_y = raster.dense_map(now, smooth=smooth)
        columns = np.arange(left, left + width, dtype=np.float32)[None]
        rows = np.arange(top, top + height, dtype=np.float32)[:, None]
        moved = np.maximum(np.abs(map_x - columns), np.abs(map_y - rows))
        support = np.clip((moved - _MOVED[0]) / (_MOVED[1] - _MOVED[0]), 0, 1)
        base = cv2.remap(image, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return base.astype(np.uint8, copy=False), support.astype(np.float32)

    def _mouth_rectangle(self, shape: FrameShape, box: Rectangle) -> Rectangle:
        left, top, width, height = box
        margin = 4 * FEATHER * shape.height + 8
        inside = shape.target[list(mesh478.AROUND_MOUTH)] - np.array([left, top], np.float32)
        x, y, w, h = even_rectangle(inside, margin, width, height)
        return left + x, top + y, w, h

    def _masks(self, shape: FrameShape, mouth: Rectangle) -> tuple[Float, Float, Float]:
        """Float32 [h, w]: the feathered mouth region, the lips with what is between them, and the skin around them."""
        left, top, width, height = mouth
        corner = np.array([left, top], np.float32)
        hull = cv2.convexHull(shape.target[list(mesh478.AROUND_MOUTH)] - corner)[:, 0]
        region = _polygon(hull, width, height)
        shrink = max(1, int(_SHRINK * shape.height))
        region = cv2.erode(region, np.ones((2 * shrink + 1, 2 * shrink + 1), np.uint8))
        feathered = cv2.GaussianBlur(region.astype(np.float32) / 255, (0, 0), FEATHER * shape.height + 0.1)
        mask = np.clip(feathered * 1.04 - 0.02, 0, 1).astype(np.float32)
        lips = _polygon(shape.target[list(mesh478.OUTER_LIPS)] - corner, width, height)
        grown = 2 * max(1, int(_LIP_MARGIN * shape.height)) + 1
        around = cv2.dilate(lips, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (grown, grown)))
        # Where the current lips were is skin now, but says nothing about the skin's own grain and colour.
        before = _polygon(shape.landmarks[list(mesh478.OUTER_LIPS), :2] - corner, width, height)
        covered = np.maximum(around, cv2.dilate(before, np.ones((5, 5), np.uint8)))
        skin = ((mask > 0.02) & (covered < 128)).astype(np.float32)
        soft = cv2.GaussianBlur(lips.astype(np.float32) / 255, (0, 0), 0.004 * shape.height + 0.1)
        return mask, soft.astype(np.float32), skin

    def _foreground(
        self, raster: TriangleRaster, mouth: Rectangle, shape: FrameShape, sources: list[Picture], share: float,
        under: Float, lips: Float, skin: Float,
    ) -> Float:  # fmt: skip
        over = self._matched(raster, mouth, shape, sources[0], under, skin)
        x, y, w, h = cv2.boundingRect((lips > 0.01).astype(np.uint8))
        if len(sources) < 2 or not w or not h:
            return over
        second = self._matched(raster, mouth, shape, sources[1], under, skin)
        part = (slice(y, y + h), slice(x, x + w))
        mixed = morph(np.ascontiguousarray(over[part]), np.ascontiguousarray(second[part]), share)
        out = over.copy()
        out[part] += (mixed - over[part]) * lips[part][..., None]
        return out

    def _matched(
        self, raster: TriangleRaster, mouth: Rectangle, shape: FrameShape, source: Picture, under: Float, skin: Float
    ) -> Float:
        """A picture on the target's lips in the current light, float32 [h, w, 3]."""
        over = match_blur(self._warped(raster, mouth, shape, source), under, skin)
        return over + low_frequency_offset(under, over, skin, _COLOUR_SIGMA * shape.height)

    def _warped(self, raster: TriangleRaster, mouth: Rectangle, shape: FrameShape, source: Picture) -> Float:
        inside = None
        if not self._silent:
            here, there = HeadPlane(shape.pose, self._depth), HeadPlane(source.pose, self._depth)
            inside = inside_points(shape.target, here, shape.target_head, source.landmarks, there, source.head)
        points = complete_points(source.landmarks[:, :2], inside=inside)
        map_x, map_y = raster.dense_map(points, mouth, _EXEMPLAR_SMOOTHING * shape.height)
        left, top = source.corner
        moved = cv2.remap(source.image, map_x - left, map_y - top, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return moved.astype(np.float32)

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
