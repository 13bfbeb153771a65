"""Warp that moves the head in a photo over its unchanged background.

The displacement is the projection of a small head rotation about the base of the neck. It decreases to 0 along the
neck, so the shoulders keep their position. The depth of the head is approximated by an ellipsoid, which causes the
parallax between the nose and the outline of the head.

The photo is a composite ``a F + (1 - a) B`` of the person F and the background B with the opacity a. If the person
moves by ``x -> x + d``, the new image at x is ``photo(s) + (1 - a(s)) (B(x) - B(s))`` with ``s = x - d``. F is
therefore not needed, and B only close to the outline. Pixels far enough from the person are not changed at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from retalkit.geometry.schemes import IBUG_CORNERS, IBUG_LEFT_EYE, IBUG_RIGHT_EYE

Float = NDArray[np.float32]
Double = NDArray[np.float64]
Image = NDArray[np.uint8]

_CHIN: Final = 8
_JAW: Final = (0, 16)
_NECK = 0.5
"""Distance from the chin to the base of the neck, relative to the face size."""
_SIDE = (0.7, 1.2)
"""Sideways distances from the face centre, relative to the face size, at which the motion decreases to 0."""
_DEPTH = 0.5
"""Depth of the nose in front of the head's outline, relative to the face size."""
_NOD_DROP = 0.3
"""Downward motion of the whole head per radian of pitch, relative to the face size."""
_ROW: Final = 1024
_ROUNDING: Final = 0.01
"""Tolerance in pixels of distances, which OpenCV rounds."""
_WIDEST_FILTER: Final = 8.0
"""Standard deviation in pixels above which a filter is applied to a reduced image."""
_REACH = 0.045
"""Upper limit of the displacement, relative to the face size."""


@dataclass(frozen=True, slots=True)
class HeadGeometry:
    """Position, size and orientation of a head in the image plane."""

    centre: Double
    """Centre of the face (x, y) in pixels, float64 [2]."""
    pivot: Double
    """Base of the neck (x, y) in pixels, float64 [2]."""
    right: Double
    """Unit vector from the viewer's left to the viewer's right side of the face, float64 [2]."""
    size: float
    """Face size in pixels: the width of the jaw line or 1.3 times the distance from the eyes to the chin, whichever is
    larger.
    """
    chin: float
    """Distance from the pivot to the chin along the face's vertical axis in pixels."""

    @property
    def down(self) -> Double:
        return np.array([-self.right[1], self.right[0]])

    @classmethod
    def of(cls, points: Double) -> HeadGeometry:
        """Measure the head from finite ibug68 landmarks, float64 [68, 2], in pixels."""
        left, right = points[IBUG_LEFT_EYE].mean(0), points[IBUG_RIGHT_EYE].mean(0)
        across = (right - left) / max(float(np.hypot(*(right - left))), 1e-6)
        down = np.array([-across[1], across[0]])
        eyes, mouth = (left + right) / 2, points[list(IBUG_CORNERS)].mean(0)
        chin = points[_CHIN]
        size = max(float(np.hypot(*(points[_JAW[1]] - points[_JAW[0]]))), 1.3 * float((chin - eyes) @ down))
        centre = (eyes + mouth) / 2
        # The neck is below the middle of the head, even if the face is turned and the chin is not.
        middle = (points[_JAW[0]] + points[_JAW[1]]) / 2
        along = float((chin - centre) @ down)
        pivot = middle + down * (along + float((centre - middle) @ down) + _NECK * size)
        return cls(centre, pivot, across, size, _NECK * size)


class HeadWarp:
    """Moves the head in copies of one photo. Instances are immutable after construction."""

    def __init__(self, photo: Image, opacity: Float, geometry: HeadGeometry) -> None:
        """Prepare the warp.

        ``photo``: RGB uint8 [H, W, 3]. ``opacity``: opacity of the person in [0, 1], float32 [H, W].
        """
        self._geometry = geometry
        height, width = photo.shape[:2]
        weight = _weight(geometry, width, height)
        reach = int(np.ceil(_REACH * geometry.size)) + 2
        changed = dilated(opacity > 0, reach) & (weight > 0)
        left, top, columns, rows = (int(value) for value in cv2.boundingRect(changed.astype(np.uint8)))
        self.rectangle = (left, top, columns, rows)
        """Rectangle (left, top, width, height) that contains all changed pixels."""
        inside = (slice(top, top + rows), slice(left, left + columns))
        self.changed: NDArray[np.bool_] = changed[inside]
        """Pixels of the rectangle that the warp may change, bool [height, width]."""
        self._x, self._y = np.meshgrid(
            np.arange(left, left + columns, dtype=np.float32), np.arange(top, top + rows, dtype=np.float32)
        )
        self._weight = weight[inside]
        x, y = self._x - np.float32(geometry.pivot[0]), self._y - np.float32(geometry.pivot[1])
        (rx, ry), (dx, dy) = geometry.right.astype(np.float32), geometry.down.astype(np.float32)
        self._across, self._along = self._weight * (x * rx + y * ry), self._weight * (x * dx + y * dy)
        self._depth = self._weight * _depth(geometry, self._x, self._y)
        self._opacity = opacity
        self._background = background_plate(photo, opacity, 2 * reach)
        # Inside the person, the background term is 0.
        outline = dilated(opacity < 1, reach)[inside]
        self._outline = np.flatnonzero(self.changed & outline)
        self._behind = self._background[inside].reshape(-1, 3)[self._outline].astype(np.float32)

    def apply(self, image: Image, yaw: float, pitch: float, roll: float, shift: float) -> Image:
        """Return the rectangle of the moved image, RGB uint8 [height, width, 3].

        ``image``: the photo, possibly with edits of the face, RGB uint8 [H, W, 3]. Angles are in radians, ``shift`` is
        relative to the face size. Only the pixels in ``changed`` are valid.
        """
        size = self._geometry.size
        drop = np.float32(_NOD_DROP * size * pitch)
        across = np.float32(shift * size) * self._weight + np.float32(yaw) * self._depth
        across -= np.float32(roll) * self._along
        along = drop * self._weight + np.float32(pitch) * self._depth + np.float32(roll) * self._across
        (rx, ry), (dx, dy) = self._geometry.right.astype(np.float32), self._geometry.down.astype(np.float32)
        x, y = self._x - across * rx - along * dx, self._y - across * ry - along * dy
        moved = _remap(image, x, y)
        at = (_columns(x.ravel()[self._outline]), _columns(y.ravel()[self._outline]))
        count = len(self._outline)
        if count:
            clear = 1 - cv2.remap(self._opacity, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).reshape(-1)
            still = self._behind - _remap(self._background, *at).reshape(-1, 3)[:count]
            rows = moved.reshape(-1, 3)
            rows[self._outline] = np.clip(np.rint(rows[self._outline] + clear[:count, None] * still), 0, 255)
        return moved


def background_plate(photo: Image, opacity: Float, margin: int) -> Image:
    """Return the photo with the background continued into the person by at least ``margin`` pixels, uint8 [H, W, 3].

    The continuation is a normalised convolution whose width increases with the distance from the background.
    """
    known = (opacity <= 0.02).astype(np.float32)
    colours = photo.astype(np.float32) * known[..., None]
    plate = photo.astype(np.float32)
    missing = known == 0
    sigma = 1.0
    while missing.any() and sigma <= max(margin, 2):
        weight = _blurred(known, sigma)
        filled = missing & (weight > 0.02)
        blurred = _blurred(colours, sigma)
        plate[filled] = blurred[filled] / weight[filled, None]
        missing &= ~filled
        sigma *= 2
    return np.clip(np.rint(plate), 0, 255).astype(np.uint8)


def dilated(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Return the pixels within ``radius`` pixels of a mask, bool [H, W].

    The time does not depend on the radius. A dilation with a round kernel would take minutes for a large photo.
    """
    distance: Any = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance <= radius + _ROUNDING) if mask.any() else mask


def _blurred(image: Any, sigma: float) -> Any:
    """Return an image after a Gaussian filter. Wide filters are applied to a reduced image, which takes less time."""
    if sigma <= _WIDEST_FILTER:
        return cv2.GaussianBlur(image, (0, 0), sigma)
    size = (image.shape[1], image.shape[0])
    factor = sigma / _WIDEST_FILTER
    reduced = cv2.resize(image, [max(round(side / factor), 1) for side in size], interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(reduced, (0, 0), _WIDEST_FILTER), size, interpolation=cv2.INTER_LINEAR)


def _weight(geometry: HeadGeometry, width: int, height: int) -> Float:
    """Return the share of the head motion of every pixel in [0, 1], float32 [height, width]."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x -= np.float32(geometry.pivot[0])
    y -= np.float32(geometry.pivot[1])
    (rx, ry), (dx, dy) = geometry.right.astype(np.float32), geometry.down.astype(np.float32)
    along = _smoothstep(-(x * dx + y * dy) / np.float32(geometry.chin), 0.0, 1.0)
    near, far = _SIDE
    across = 1 - _smoothstep(np.abs(x * rx + y * ry) / np.float32(geometry.size), near, far)
    return along * across


def _depth(geometry: HeadGeometry, x: Float, y: Float) -> Float:
    """Return the depth in front of the head's outline in pixels, at least 0."""
    x, y = x - np.float32(geometry.centre[0]), y - np.float32(geometry.centre[1])
    (rx, ry), (dx, dy) = geometry.right.astype(np.float32), geometry.down.astype(np.float32)
    across, along = (x * rx + y * ry) / (0.62 * geometry.size), (x * dx + y * dy) / (0.8 * geometry.size)
    inside = np.maximum(1 - across * across - along * along, 0)
    return (_DEPTH * geometry.size * inside * inside).astype(np.float32)


def _remap(image: Image, x: Float, y: Float) -> Image:
    out: Any = cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return out


def _columns(values: Float) -> Float:
    """Return the values in rows of ``_ROW``, padded with zeros. OpenCV limits the width of a map."""
    padded = np.zeros((-(-len(values) // _ROW), _ROW), np.float32)
    padded.reshape(-1)[: len(values)] = values
    return padded


def _smoothstep(value: Float, low: float, high: float) -> Float:
    unit = np.clip((value - low) / (high - low), 0, 1)
    return (unit * unit * (3 - 2 * unit)).astype(np.float32)
