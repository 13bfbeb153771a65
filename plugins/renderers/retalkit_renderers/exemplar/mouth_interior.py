"""Procedural rendering of the mouth interior for people whose mouth never opens in the clip.

The rendering is a plausible approximation and not an anatomical model. It contains upper teeth, a dark cavity, a tongue
that rises when the mouth is wide open, and the wet inner edge of the lips. The teeth are fixed to the head, shadowed by
the upper lip and darker towards the sides. All colours are derived from the person's lips and skin under the frame's
lighting. Limit the opening gain to 0.7, because a wide open rendered mouth looks artificial.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.geometry.pose import HeadPose
from retalkit.imaging.blending import light_gain

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

DEPTH = 0.05
"""Distance from the lips back to the teeth in IOD.

The IOD is the distance between the outer eye corners, which is about 9 cm.
"""
UPPER_SHARE = 0.15
"""Fraction of an opening by which the upper lip rises.

The fraction determines the line along which closed lips meet.
"""
EDGE = 0.031
"""Distance of the incisal edge below the closed lips in IOD."""
TOOTH_ENDS = (0.0, 0.088, 0.150, 0.208, 0.256)
"""Distances of the tooth borders from the midline in the frontal view, in IOD.

The modelled teeth are two incisors, a canine and a premolar.
"""
TOOTH_SHORTER = (0.0, 0.007, 0.001, 0.010)
"""Difference between the lengths of the first incisor and each tooth, in IOD."""
CURVE = 0.55
"""Curvature of the dental arch, which rises towards the sides, in IOD per squared IOD."""
ENAMEL = (1.09, 1.05, 0.99)
"""Tooth colour relative to the colour of the light on the skin, RGB."""
SUPERSAMPLE = 2


@dataclass(frozen=True, slots=True)
class MouthColours:
    """Lip and skin colours measured in an image of the person, RGB float32 [3] in [0, 255]."""

    lips: Float
    skin_left: Float
    """Skin colour to the left of the mouth in the image."""
    skin_right: Float
    """Skin colour to the right of the mouth in the image.

    The difference from ``skin_left`` indicates the light direction.
    """

    @classmethod
    def measure(cls, image: Image, landmarks: Float) -> MouthColours:
        """Measure the lip and skin colours in a frame, RGB uint8 [H, W, 3], with landmarks [478, 3].

        The colours are medians, which are robust to specular highlights.
        """
        points = landmarks[:, :2]
        lips = np.zeros(image.shape[:2], np.uint8)
        cv2.fillPoly(lips, [np.round(points[list(mesh478.OUTER_LIPS)]).astype(np.int32)], (1.0,))
        cv2.fillPoly(lips, [np.round(points[list(mesh478.INNER_LIPS)]).astype(np.int32)], (0.0,))
        lips = cv2.erode(lips, np.ones((3, 3), np.uint8)) if lips.sum() > 400 else lips
        size = max(2, int(0.03 * np.linalg.norm(points[mesh478.CHIN] - points[mesh478.FOREHEAD])))

        def patch(index: int) -> Float:
            x, y = np.round(points[index]).astype(int)
            part = image[max(y - size, 0) : y + size + 1, max(x - size, 0) : x + size + 1].reshape(-1, 3)
            return np.median(part, 0).astype(np.float32) if len(part) else np.full(3, 128, np.float32)

        red = image[lips > 0]
        colour = np.median(red, 0).astype(np.float32) if len(red) else patch(17)
        return cls(colour, patch(LEFT_CHEEK), patch(RIGHT_CHEEK))

    def in_light_of(self, shown: MouthColours) -> MouthColours:
        """Return the colours in the light of a frame with the colours ``shown``."""
        found, wanted = (np.stack([each.skin_left, each.skin_right]).mean(0)[None, None] for each in (self, shown))
        gain = light_gain(wanted, found, np.ones((1, 1), np.uint8))
        return MouthColours(self.lips * gain, self.skin_left * gain, self.skin_right * gain)


LEFT_CHEEK, RIGHT_CHEEK = 206, 426
"""Mesh points on the skin to both sides of the mouth."""


def render_mouth_interior(
    crop: Image, polygon: Float, pose: HeadPose, origin: tuple[int, int], target: Float, colours: MouthColours
) -> Image:
    """Return a copy of ``crop`` (RGB uint8 [h, w, 3]) with the mouth interior rendered inside ``polygon``.

    ``polygon``: inner lip edge (the target's ``INNER_LIPS``) in crop pixels, float32 [K, 2]. ``pose``: head pose
    (T = 1). ``origin``: left and top coordinates of the crop in the frame. ``target``: target shape in the head frame,
    float32 [478, 3]. If the mouth is closed, the function returns ``crop`` itself.

    >>> colours = MouthColours.measure(image, landmarks)
    >>> lips = goal[list(mesh478.INNER_LIPS)] - [left, top]
    >>> crop = render_mouth_interior(crop, lips, pose, (left, top), target_head, colours)
    """
    gap = float(target[14, 1] - target[13, 1])
    low = np.maximum(np.floor(polygon.min(0)).astype(int) - 2, 0)
    high = np.minimum(np.ceil(polygon.max(0)).astype(int) + 3, [crop.shape[1], crop.shape[0]])
    if gap < 0.004 or (high - low < 2).any():
        return crop
    size = (high - low) * SUPERSAMPLE
    shape = np.zeros((size[1], size[0]), np.uint8)
    corners = (polygon - low + 0.5) * SUPERSAMPLE - 0.5
    cv2.fillPoly(shape, [np.round(corners * 16).astype(np.int32)], (255.0,), cv2.LINE_AA, 4)
    scale = float(pose.scale[0])
    across, down = _head_coordinates(pose, target, low + np.asarray(origin), size)
    inside = cv2.distanceTransform((shape > 127).astype(np.uint8), cv2.DIST_L2, 5) / (SUPERSAMPLE * scale)
    rendered = _render(across, down, inside.astype(np.float32), gap, target, colours)
    blur = SUPERSAMPLE * (0.3 + 0.0025 * scale)
    rendered = cv2.GaussianBlur(rendered, (0, 0), blur)
    # The alpha edge is slightly inside the polygon, so that the border consists of lip pixels.
    alpha = cv2.GaussianBlur(shape.astype(np.float32) / 255, (0, 0), SUPERSAMPLE * 0.6)
    small = (int(high[0] - low[0]), int(high[1] - low[1]))
    rendered = cv2.resize(rendered, small, interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(alpha, small, interpolation=cv2.INTER_AREA)[..., None]
    out = crop.copy()
    part = out[low[1] : high[1], low[0] : high[0]]
    mixed = part * (1 - alpha) + rendered * alpha
    part[:] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
    return out


def _head_coordinates(
    pose: HeadPose, target: Float, corner: NDArray[np.int64], size: NDArray[np.int64]
) -> tuple[Float, Float]:
    """Return each supersampled pixel's coordinates in the plane of the teeth.

    The coordinates are distances in IOD to the right of and below the centre of the closed lips.
    """
    gap = target[14, 1] - target[13, 1]
    middle = np.array([(target[13, 0] + target[14, 0]) / 2, target[13, 1] + UPPER_SHARE * gap], np.float64)
    scale, rotation = float(pose.scale[0]), pose.rotation[0].astype(np.float64)
    matrix = np.linalg.inv(scale * rotation[:2, :2])
    depth = float(target[[13, 14], 2].mean()) + DEPTH
    offset = scale * rotation[:2, 2] * depth + pose.translation[0, :2]
    x = (np.arange(size[0]) + 0.5) / SUPERSAMPLE - 0.5 + corner[0] - offset[0]
    y = (np.arange(size[1]) + 0.5) / SUPERSAMPLE - 0.5 + corner[1] - offset[1]
    across = matrix[0, 0] * x[None] + matrix[0, 1] * y[:, None] - middle[0]
    down = matrix[1, 0] * x[None] + matrix[1, 1] * y[:, None] - middle[1]
    return across.astype(np.float32), down.astype(np.float32)


def _render(across: Float, down: Float, inside: Float, gap: float, target: Float, colours: MouthColours) -> Float:
    """Return the rendered mouth interior, RGB float32 [h, w, 3].

    ``inside``: distance of each pixel to the lips in IOD.
    """
    half = max(float(target[mesh478.INNER_RIGHT_CORNER, 0] - target[mesh478.INNER_LEFT_CORNER, 0]) / 2, 0.05)
    light = _light(across / half, colours)
    side = np.clip(1 - (np.abs(across) / (1.05 * half)) ** 2.2, 0, 1)
    cavity = _cavity(across, down, gap, half, target, colours)
    skin = (colours.skin_left + colours.skin_right) / 2
    # Enamel reflects the light on the skin, so its colour is between the skin colour and a grey of equal brightness.
    skin = 0.65 * skin.mean() + 0.35 * skin
    enamel = np.minimum(skin * np.array(ENAMEL, np.float32), 245)
    bright, cover = _teeth(across, down, gap, light, side)
    # Shadows inside a mouth are red-brown rather than grey.
    shade = colours.lips * np.array([0.30, 0.22, 0.20], np.float32)
    teeth = shade + (enamel - shade) * np.clip(bright, 0, 1.1)[..., None]
    image = cavity * (1 - cover[..., None]) + teeth * cover[..., None]
    # The wet inner edge of the lips is darker than the lips and redder than the cavity.
    rim = np.exp(-((inside / (0.006 + 0.06 * gap)) ** 2)) * 0.75
    edge = colours.lips * np.array([0.52, 0.42, 0.42], np.float32) * light[..., None]
    return (image * (1 - rim[..., None]) + edge * rim[..., None]).astype(np.float32)


def _light(side: Float, colours: MouthColours) -> Float:
    """Return each pixel's brightness relative to the mean brightness of both cheeks."""
    left, right = float(colours.skin_left.mean()), float(colours.skin_right.mean())
    slope = np.clip((right - left) / max(left + right, 1.0), -0.35, 0.35)
    return (1 + slope * np.clip(side, -1, 1)).astype(np.float32)


def _cavity(across: Float, down: Float, gap: float, half: float, target: Float, colours: MouthColours) -> Float:
    deep = colours.lips * np.array([0.27, 0.17, 0.18], np.float32) + 3
    low = float(target[14, 1] - target[13, 1]) * (1 - UPPER_SHARE)
    rise = np.clip((gap - 0.03) / 0.10, 0, 1) * 0.050 + 0.012
    top = low - rise + 0.5 * across**2
    tongue = 1 / (1 + np.exp(-(down - top) / 0.010))
    tongue = tongue * np.exp(-((across / (0.72 * half)) ** 4)) * np.clip((gap - 0.03) / 0.05, 0, 1)
    flesh = colours.lips * np.array([0.52, 0.40, 0.42], np.float32)
    shade = 0.55 + 0.45 * np.clip((down - top) / 0.05, 0, 1)
    return deep * (1 - tongue[..., None]) + flesh * (shade * tongue)[..., None]


def _teeth(across: Float, down: Float, gap: float, light: Float, side: Float) -> tuple[Float, Float]:
    """Return the brightness (1 for fully lit pixels) and the coverage of the upper teeth, float32 [h, w] each."""
    away = np.abs(across)
    number = np.clip(np.searchsorted(TOOTH_ENDS, away.ravel(), side="right").reshape(away.shape) - 1, 0, 3)
    ends, shorter = np.array(TOOTH_ENDS, np.float32), np.array(TOOTH_SHORTER, np.float32)
    start, end = ends[number], ends[number + 1]
    within = np.clip((away - start) / (end - start), 0, 1)
    border = np.minimum(within, 1 - within) * (end - start)
    rounded = 0.007 * np.exp(-border / 0.007)
    edge = EDGE - shorter[number] - rounded - CURVE * across**2
    cover = np.clip((edge - down) / 0.004 + 0.5, 0, 1) * (away < ends[-1])
    # From the lip to the incisal edge, a tooth has the upper lip's shadow, a bright band, and a thin translucent edge.
    lip = -0.15 * gap / 0.85
    shadow = 0.45 + 0.55 * np.clip((down - lip) / 0.035, 0, 1)
    glass = 1 - 0.12 * np.exp(-(((edge - down) / 0.007) ** 2))
    bulge = 0.93 + 0.07 * np.sin(np.pi * within)
    seam = 1 - 0.22 * np.exp(-((border / 0.0035) ** 2))
    ajar = np.clip(0.35 + gap / 0.09, 0, 1)
    bright = shadow * glass * bulge * seam * side**0.8 * light * ajar
    return bright.astype(np.float32), cover.astype(np.float32)
