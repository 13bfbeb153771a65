"""Blinks in a photo. The skin above the eye is moved over the unchanged eyeball, column by column.

Each column of the eye, seen along the line between its corners, is divided at the two eyelids. The skin of the upper
lid is stretched downward and the skin of the lower lid slightly upward until both edges meet. The visible part of the
eyeball is not moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Double = NDArray[np.float64]
Image = NDArray[np.uint8]

_MEET = 0.82
"""Position between the upper (0) and the lower lid (1) at which the lids meet."""
_ABOVE, _BELOW = 0.62, 0.4
"""Height of the moved skin above and below the lids, relative to the eye's width."""
_OUTSIDE = 0.12
"""Extension of the moved region beyond the eye corners, relative to the eye's width."""
_MIN_OPENING = 0.12
"""Minimum opening of an open eye, relative to its width. Smaller eyes are closed or are not visible."""
_MIN_WIDTH: Final = 8.0
"""Minimum width in pixels of an eye that blinks."""
_LASHES = 0.022
"""Standard deviation of the dark line of the lashes, relative to the eye's width."""
_SHADE = 0.45
"""Darkness of the lashes of a closed eye."""


@dataclass(frozen=True, slots=True)
class Eyelids:
    """Eyelid contours of one eye in pixels, from the viewer's left to the viewer's right corner."""

    upper: Double
    """Edge of the upper lid including both corners, float64 [U, 2]."""
    lower: Double
    """Edge of the lower lid including both corners, float64 [L, 2]."""


class Blink:
    """Closes one eye in copies of a photo. Instances are immutable after construction."""

    def __init__(self, lids: Eyelids, width: int, height: int) -> None:
        """Prepare the blink in a ``width`` x ``height`` photo."""
        left, right = lids.upper[0], lids.upper[-1]
        span = float(np.hypot(*(right - left)))
        self._opens = False
        if not span >= _MIN_WIDTH:
            return
        across = (right - left) / span
        down = np.array([-across[1], across[0]])
        upper, lower = ((each - left) @ np.stack([across, down], 1) for each in (lids.upper, lids.lower))
        if float(lower[:, 1].max() - upper[:, 1].min()) < _MIN_OPENING * span:
            return
        corners = np.array([[-_OUTSIDE, -_ABOVE], [1 + _OUTSIDE, _BELOW + 0.5]]) * span
        outline = left + np.array([[x, y] for x in corners[:, 0] for y in corners[:, 1]]) @ np.stack([across, down])
        low = np.clip(np.floor(outline.min(0)).astype(int), 0, [width, height])
        high = np.clip(np.ceil(outline.max(0)).astype(int) + 1, 0, [width, height])
        if (high - low < 4).any():
            return
        self._opens = True
        self._inside = (slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])))
        x, y = np.meshgrid(np.arange(low[0], high[0], dtype=np.float32), np.arange(low[1], high[1], dtype=np.float32))
        self._x, self._y, self._down, self._span = x, y, down.astype(np.float32), np.float32(span)
        ahead, aside = x - np.float32(left[0]), y - np.float32(left[1])
        u = ahead * np.float32(across[0]) + aside * np.float32(across[1])
        self._v = ahead * np.float32(down[0]) + aside * np.float32(down[1])
        self._upper, self._lower = _edge(upper, u), _edge(lower, u)

    @property
    def opens(self) -> bool:
        """Whether the eye is visible and open in the photo. If False, ``apply`` changes nothing."""
        return self._opens

    def apply(self, image: Image, closure: float) -> None:
        """Close the eye in ``image``, RGB uint8 [H, W, 3], in place by ``closure`` in [0, 1]."""
        if not self._opens or closure <= 0:
            return
        view = image[self._inside]
        v, span = self._v, self._span
        opening = np.maximum(self._lower - self._upper, 0)
        upper = self._upper + np.float32(closure * _MEET) * opening
        lower = self._lower - np.float32(closure * (1 - _MEET)) * opening
        # The displacement increases smoothly from the brow, and from below the eye, to the edges of the lids.
        top, bottom = self._upper - np.float32(_ABOVE) * span, self._lower + np.float32(_BELOW) * span
        down = (upper - self._upper) * _smoothstep((v - top) / np.maximum(upper - top, 1e-3))
        up = (self._lower - lower) * _smoothstep((bottom - v) / np.maximum(bottom - lower, 1e-3))
        upper_skin, lower_skin = self._moved(image, -down), self._moved(image, up)
        # The lashes are sparse and cast a shadow, so the closed lids meet in a dark line.
        line = np.exp(-0.5 * ((v - upper) / np.maximum(np.float32(_LASHES) * span, 0.6)) ** 2)
        shade = 1 - np.float32(_SHADE * closure) * line * np.clip(opening / (np.float32(0.1) * span), 0, 1)
        # All edges are one pixel wide.
        eyeball = np.clip(lower - v + np.float32(0.5), 0, 1)[..., None] * (opening > 0)[..., None]
        under = view * eyeball + lower_skin * (1 - eyeball)
        skin = np.clip(upper - v + np.float32(0.5), 0, 1)[..., None]
        out = (upper_skin * skin + under * (1 - skin)) * shade[..., None]
        view[...] = np.clip(np.rint(out), 0, 255).astype(np.uint8)

    def _moved(self, image: Image, offset: Float) -> Float:
        """Return the region of the eye, sampled ``offset`` pixels further down along the face."""
        x, y = self._x + offset * self._down[0], self._y + offset * self._down[1]
        moved: Any = cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(moved, np.float32)


def _smoothstep(value: Float) -> Float:
    unit = np.clip(value, 0, 1)
    return (unit * unit * (3 - 2 * unit)).astype(np.float32)


def _edge(points: Double, u: Float) -> Float:
    """Return the height of a lid's edge at the positions ``u`` along the eye. Beyond the corners, it is 0."""
    order = np.argsort(points[:, 0], kind="stable")
    return np.interp(u, points[order, 0], points[order, 1], left=0.0, right=0.0).astype(np.float32)
