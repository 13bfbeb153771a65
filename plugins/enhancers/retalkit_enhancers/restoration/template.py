"""Where a restoration network wants the face: templates of five points in 512 x 512, and the way there and back."""

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
"""Share of the oval's radius over which it fades out."""
_EYES_TO_CENTRE, _HALF_HEIGHT, _HALF_WIDTH = 0.6, 1.3, 1.15
"""The oval of a face: centre below the eyes and half of its height in distances of eyes and mouth, half of its width in
distances of the eyes."""


@dataclass(frozen=True, slots=True)
class Template:
    """Five points (left eye, right eye, nose, left and right mouth corner; left is the viewer's) in pixels of 512."""

    points: tuple[tuple[float, float], ...]

    def array(self) -> Matrix:
        """float64 [5, 2]."""
        return np.array(self.points, np.float64)


def _padded(points: tuple[tuple[float, float], ...], height: int, wide: int, padding: float) -> Template:
    """A template for ``wide`` x ``height`` pixels, made square, with ``padding`` of the side added all around, at 512.

    The padded side is rounded to whole pixels, half to even, as the published function does.
    """
    longer = max(height, wide)
    side = longer + round(2 * padding * longer)
    shift = np.array([(longer - wide) / 2, (longer - height) / 2]) + padding * longer
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
    wide=96,
    padding=0.25,
)
"""GPEN's: the points of 96 x 112 that face recognition uses, with a quarter of padding."""

FFHQ: Final = Template(
    (
        (192.98138, 239.94708),
        (318.90277, 240.1936),
        (256.63416, 314.01935),
        (201.26117, 371.41043),
        (313.08905, 371.15118),
    )
)
"""That of facexlib, for networks trained on FFHQ such as GFPGAN, CodeFormer and RestoreFormer."""


def scale_of(matrix: Matrix) -> float:
    """How much a similarity [2, 3] enlarges."""
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def inverse(matrix: Matrix) -> Matrix:
    """The way back, float64 [2, 3]."""
    return np.asarray(cv2.invertAffineTransform(np.asarray(matrix, np.float64)), np.float64)


def aligned(image: NDArray[np.uint8], matrix: Matrix) -> NDArray[np.uint8]:
    """The face of ``image`` (RGB uint8 [H, W, 3]) in the template: RGB uint8 [512, 512, 3], bilinear, black outside.

    A face larger than the template is smoothed first, so that reducing it does not make patterns.
    """
    smooth = np.asarray(_antialiased(image, 1 / scale_of(matrix)), np.uint8)
    return np.asarray(cv2.warpAffine(smooth, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR), np.uint8)


def warped_back(plane: Float, matrix: Matrix, wide: int, height: int) -> Float:
    """float32 [height, wide] or [height, wide, C]: ``plane`` of the template ([512, 512] or [512, 512, C]) in the
    picture that ``matrix`` brings into the template; 0 outside."""
    smooth = _antialiased(plane, scale_of(matrix))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(smooth, matrix, (wide, height), flags=flags), np.float32)


def _antialiased(image: NDArray[np.uint8] | Float, reduction: float) -> NDArray[np.uint8] | Float:
    """The picture without what would be lost when it gets ``reduction`` times smaller."""
    if reduction <= 1.05:
        return image
    # With the spread of a bilinear pixel itself. More would take detail, less would let patterns through.
    sigma = 0.3 * float(np.sqrt(reduction * reduction - 1))
    return cv2.GaussianBlur(image, (0, 0), sigma)  # pyright: ignore[reportReturnType]


@cache
def oval(template: Template) -> Float:
    """float32 [512, 512] in [0, 1], read-only: 1 on the face, fading to 0 at about the outline of brow, cheeks and
    chin."""
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
