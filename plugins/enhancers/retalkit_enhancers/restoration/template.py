"""Face templates of restoration networks, with five points in 512 x 512 pixels, and warps to and from the template."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from retalkit_enhancers.restoration.restorer import SIZE

Float = NDArray[np.float32]
Matrix = NDArray[np.float64]

_FEATHER = 0.25
"""Fraction of the oval's radius over which the mask fades out."""
_EYES_TO_CENTRE, _HALF_HEIGHT, _HALF_WIDTH = 0.6, 1.3, 1.15
"""Geometry of the face oval. The vertical offset of the centre from the eyes and the half height are in units of the
eye-to-mouth distance. The half width is in units of the eye distance.
"""


@dataclass(frozen=True, slots=True)
class Template:
    """Positions of five face points in pixels of the 512-pixel template.

    The points are the left eye, right eye, nose, left mouth corner and right mouth corner, from the viewer's
    perspective.
    """

    points: tuple[tuple[float, float], ...]

    def array(self) -> Matrix:
        """Return the points, float64 [5, 2]."""
        return np.array(self.points, np.float64)


def _padded(points: tuple[tuple[float, float], ...], height: int, width: int, padding: float) -> Template:
    """Convert points in ``width`` x ``height`` pixels to a square, padded template, and scale the template to 512
    pixels.

    ``padding``: padding on each side as a fraction of the side length. As in the published function, the padded side
    length is rounded half to even.
    """
    longer = max(height, width)
    side = longer + round(2 * padding * longer)
    shift = np.array([(longer - width) / 2, (longer - height) / 2]) + padding * longer
    moved = (np.array(points, np.float64) + shift) * (SIZE / side)
    return Template(tuple((float(x), float(y)) for x, y in moved))


GPEN: Final = _padded(
    (
        (30.29459953, 51.69630051),
        (65.53179932, 51.50139999),
        (48.02519989, 71.73660278),
        (33.54930115, 92.3655014),
        (62.72990036, 92.20410156),
    ),
    height=112,
    width=96,
    padding=0.25,
)
"""GPEN's template, which consists of face recognition points in 96 x 112 pixels, padded by a quarter of the side length
on each side.
"""

FFHQ: Final = Template(
    (
        (192.98138, 239.94708),
        (318.90277, 240.1936),
        (256.63416, 314.01935),
        (201.26117, 371.41043),
        (313.08905, 371.15118),
    )
)
"""facexlib's template, for networks that were trained on FFHQ, such as GFPGAN, CodeFormer and RestoreFormer."""


def scale_of(matrix: Matrix) -> float:
    """Return the scale of a similarity transform [2, 3]."""
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def inverse(matrix: Matrix) -> Matrix:
    """Return the inverse of an affine matrix, float64 [2, 3]."""
    return np.asarray(cv2.invertAffineTransform(np.asarray(matrix, np.float64)), np.float64)


def warp_to_template(image: NDArray[np.uint8], matrix: Matrix) -> NDArray[np.uint8]:
    """Return the face, warped to the template, RGB uint8 [512, 512, 3].

    ``image``: RGB uint8 [H, W, 3]. The warp is bilinear, and pixels outside the image are black. Faces larger than the
    template are low-pass filtered before the warp to prevent aliasing.
    """
    smooth = np.asarray(_low_pass_for(image, 1 / scale_of(matrix)), np.uint8)
    return np.asarray(cv2.warpAffine(smooth, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR), np.uint8)


def warp_from_template(plane: Float, matrix: Matrix, width: int, height: int) -> Float:
    """Return ``plane``, warped from the template to a ``width`` x ``height`` image.

    ``plane``: float32 [512, 512] or [512, 512, C]. ``matrix``: image-to-template transform, [2, 3]. Returns float32
    [height, width] or [height, width, C] with the value 0 outside the template.
    """
    smooth = _low_pass_for(plane, scale_of(matrix))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(smooth, matrix, (width, height), flags=flags), np.float32)


def _low_pass_for(image: NDArray[np.uint8] | Float, reduction: float) -> NDArray[np.uint8] | Float:
    """Return ``image``, low-pass filtered for a size reduction by the factor ``reduction``."""
    if reduction <= 1.05:
        return image
    # This sigma is chosen for bilinear sampling. A larger sigma would remove detail, and a smaller sigma would leave
    # aliasing.
    sigma = 0.3 * float(np.sqrt(reduction * reduction - 1))
    return cv2.GaussianBlur(image, (0, 0), sigma)  # pyright: ignore[reportReturnType]


@cache
def oval(template: Template) -> Float:
    """Return the read-only oval mask of a face, float32 [512, 512] in [0, 1].

    The mask is 1 on the face and fades to 0 near the outline of forehead, cheeks and chin.
    """
    points = template.array()
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    down, across = float(mouth[1] - eyes[1]), float(points[1, 0] - points[0, 0])
    rows = (np.arange(SIZE) - (eyes[1] + _EYES_TO_CENTRE * down)) / (_HALF_HEIGHT * down)
    columns = (np.arange(SIZE) - (eyes[0] + mouth[0]) / 2) / (_HALF_WIDTH * across)
    radius = np.sqrt((rows * rows)[:, None] + (columns * columns)[None])
    step = np.clip((1 - radius) / _FEATHER, 0, 1)
    mask = (step * step * (3 - 2 * step)).astype(np.float32)
    mask.setflags(write=False)
    return mask
