"""Conversion between Y'CbCr and RGB with the colour matrix and range declared by the video.

Conversion to RGB and back preserves unedited pixels. Conversion to RGB repeats each chroma sample over 2x2 pixels, and
conversion to Y'CbCr averages chroma over the 2x2 pixels. The conversion applies no tone mapping, so wide-gamut and
high-dynamic-range video keeps its primaries and transfer characteristics. Colour codes follow ITU-T H.273.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from retalkit.media.pixel_format import PixelFormat

UNSPECIFIED = 2
"""H.273 code for an unspecified matrix, unspecified primaries or an unspecified transfer function."""
RANGE_LIMITED = 1
RANGE_FULL = 2
MATRIX_BT709 = 1
MATRIX_BT601 = 6

_BAND = 256
"""Even number of image rows per conversion block, which limits the memory for intermediate results."""
_LUMA_WEIGHTS: dict[int, tuple[float, float]] = {
    MATRIX_BT709: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    MATRIX_BT601: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
"""Luma weights of red and blue for each H.273 MatrixCoefficients code."""


@dataclass(frozen=True, slots=True)
class Colour:
    """Colour description of a video in ITU-T H.273 codes, with defaults for missing values."""

    matrix: int = UNSPECIFIED
    range: int = 0
    """Range code: 0 unspecified (treated as limited), 1 limited (16 to 235), 2 full (0 to 255)."""
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    working_matrix: int = MATRIX_BT601
    """Conversion matrix: ``matrix``, or the guessed matrix if ``matrix`` is unspecified."""


BT709 = Colour(MATRIX_BT709, RANGE_LIMITED, MATRIX_BT709, MATRIX_BT709, MATRIX_BT709)
"""Colour description of videos generated from still images and from RGB video."""


def guess_matrix(width: int, height: int) -> int:
    """Return the assumed matrix for a video with an unspecified matrix, based on the stored size.

    The function applies the mpv player's rule, which is BT.709 for high definition (width at least 1280 or height above
    576) and BT.601 otherwise.
    """
    return MATRIX_BT709 if width >= 1280 or height > 576 else MATRIX_BT601


def is_yuv(frame: av.VideoFrame) -> bool:
    """Return whether the frame's pixel format is Y'CbCr. RGB, greyscale and palette formats have no colour matrix."""
    return not frame.format.is_rgb and not frame.format.has_palette and len(frame.format.components) >= 3


def colour_of(frame: av.VideoFrame) -> Colour:
    """Return the colour description of a decoded frame. RGB, greyscale and palette frames are converted to BT.709."""
    if not is_yuv(frame):
        return BT709
    matrix = int(frame.colorspace)
    full = int(frame.color_range) == RANGE_FULL or frame.format.name.startswith("yuvj")
    known = matrix in _LUMA_WEIGHTS
    return Colour(
        matrix=matrix,
        range=RANGE_FULL if full else int(frame.color_range),
        primaries=int(frame.color_primaries),
        transfer=int(frame.color_trc),
        working_matrix=matrix if known else guess_matrix(frame.width, frame.height),
    )


@lru_cache(maxsize=32)
def yuv_to_rgb_matrix(matrix: int, full: bool) -> NDArray[np.float64]:
    """Return the matrix float64 [3, 4] that maps (Y, Cb, Cr, 1) in 0..255 to R, G, B in 0..255 (H.273 section 8.3)."""
    red, blue = _LUMA_WEIGHTS.get(matrix, _LUMA_WEIGHTS[MATRIX_BT709])
    green = 1.0 - red - blue
    luma_scale = 1.0 if full else 255.0 / 219.0
    chroma_scale = 1.0 if full else 255.0 / 224.0
    unscaled: NDArray[np.float64] = np.array(
        [
            [1.0, 0.0, 2 * (1 - red)],
            [1.0, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
            [1.0, 2 * (1 - blue), 0.0],
        ]
    )
    linear = unscaled * np.array([luma_scale, chroma_scale, chroma_scale])
    offset: NDArray[np.float64] = linear @ np.array([[0.0 if full else 16.0], [128.0], [128.0]])
    return np.hstack([linear, np.negative(offset)])


@lru_cache(maxsize=32)
def rgb_to_yuv_matrix(matrix: int, full: bool) -> NDArray[np.float64]:
    """Return the inverse of ``yuv_to_rgb_matrix``, float64 [3, 4]."""
    forward = yuv_to_rgb_matrix(matrix, full)
    linear: NDArray[np.float64] = np.asarray(np.linalg.inv(forward[:, :3]), dtype=np.float64)
    offset: NDArray[np.float64] = linear @ forward[:, 3:]
    return np.hstack([linear, np.negative(offset)])


def yuv_to_rgb(
    luma: NDArray[np.uint8], blue: NDArray[np.uint8], red: NDArray[np.uint8], matrix: int, full: bool
) -> NDArray[np.uint8]:
    """Convert 4:2:0 planes to RGB uint8 [h, w, 3].

    The luma plane is uint8 [h, w]. Both chroma planes are uint8 [ceil(h/2), ceil(w/2)].
    """
    height, width = luma.shape
    weights = yuv_to_rgb_matrix(matrix, full)
    image = np.empty((height, width, 3), dtype=np.uint8)
    for top in range(0, height, _BAND):
        bottom = min(top + _BAND, height)
        half = slice(top // 2, (bottom + 1) // 2)
        # OpenCV merges contiguous planes several times faster than parts of larger planes.
        planes = [np.ascontiguousarray(luma[top:bottom])]
        for chroma in (blue[half], red[half]):
            doubled = (chroma.shape[1] * 2, chroma.shape[0] * 2)
            large = cv2.resize(chroma, doubled, interpolation=cv2.INTER_NEAREST)
            planes.append(np.ascontiguousarray(large[: bottom - top, :width], dtype=np.uint8))
        cv2.transform(cv2.merge(planes), weights, dst=image[top:bottom])
    return image


def planes_444_to_rgb(planes: Sequence[NDArray[np.uint8]], matrix: int, full: bool) -> NDArray[np.uint8]:
    """Convert the planes Y, Cb and Cr of equal size, uint8 [h, w], to RGB uint8 [h, w, 3]."""
    return np.asarray(cv2.transform(cv2.merge(list(planes)), yuv_to_rgb_matrix(matrix, full)), dtype=np.uint8)


def rgb_to_yuv(
    image: NDArray[np.uint8], matrix: int, full: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Convert RGB uint8 [h, w, 3] to 4:2:0 planes.

    The luma plane is uint8 [h, w]. Both chroma planes are uint8 [ceil(h/2), ceil(w/2)].
    """
    weights = rgb_to_yuv_matrix(matrix, full)
    luma = np.asarray(cv2.transform(image, weights[:1]), dtype=np.uint8).reshape(image.shape[:2])
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        image = np.asarray(cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), dtype=np.uint8)
    half = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
    chroma = np.asarray(cv2.transform(half, weights[1:]), dtype=np.uint8)
    return luma, chroma[..., 0], chroma[..., 1]


def sample_scale(depth: int, full: bool) -> float:
    """Return the number of sample values of the given depth per sample value of 8 bits (ITU-R BT.2100)."""
    return (2**depth - 1) / 255.0 if full else float(2 ** (depth - 8))


def planes_to_rgb(
    luma: NDArray[Any], blue: NDArray[Any], red: NDArray[Any], matrix: int, full: bool, pixel_format: PixelFormat
) -> NDArray[np.float32]:
    """Convert planes of any depth to RGB float32 [h, w, 3] in 0..255. The values are neither rounded nor clipped.

    The chroma planes must cover the luma plane. Each chroma sample is repeated over the pixels that it covers.
    """
    height, width = luma.shape
    scale = 1.0 / sample_scale(pixel_format.depth, full)
    centre = float(2 ** (pixel_format.depth - 1))
    channels = [luma.astype(np.float32) * np.float32(scale)]
    for chroma in (blue, red):
        values = (chroma.astype(np.float32) - np.float32(centre)) * np.float32(scale) + np.float32(128)
        size = (chroma.shape[1] * pixel_format.chroma_x, chroma.shape[0] * pixel_format.chroma_y)
        large = cv2.resize(values, size, interpolation=cv2.INTER_NEAREST)
        channels.append(np.asarray(large, dtype=np.float32)[:height, :width])
    return np.asarray(cv2.transform(cv2.merge(channels), yuv_to_rgb_matrix(matrix, full)), dtype=np.float32)


def chroma_mean(image: NDArray[np.float32], pixel_format: PixelFormat) -> NDArray[np.float32]:
    """Return the mean over the pixels that each chroma sample covers, float32 [ceil(h / y), ceil(w / x), channels].

    Incomplete cells at the right and bottom edges are completed with the last column and row.
    """
    height, width = image.shape[:2]
    x, y = pixel_format.chroma_x, pixel_format.chroma_y
    padded = cv2.copyMakeBorder(image, 0, height % y, 0, width % x, cv2.BORDER_REPLICATE)
    size = (padded.shape[1] // x, padded.shape[0] // y)
    return np.asarray(cv2.resize(padded, size, interpolation=cv2.INTER_AREA), dtype=np.float32).reshape(
        size[1], size[0], -1
    )


def rgb_to_yuv_planes(
    image: NDArray[np.float32], pixel_format: PixelFormat, matrix: int = MATRIX_BT709
) -> list[NDArray[Any]]:
    """Convert RGB float32 [h, w, 3] in 0..255 to limited-range planes of the format's dtype."""
    weights = rgb_to_yuv_matrix(matrix, False)
    scale, limit = sample_scale(pixel_format.depth, False), 2**pixel_format.depth - 1
    luma = cv2.transform(image, weights[:1]).reshape(image.shape[:2])
    chroma = cv2.transform(chroma_mean(image, pixel_format), weights[1:])
    planes = (luma, chroma[..., 0], chroma[..., 1])
    return [np.clip(np.rint(plane * scale), 0, limit).astype(pixel_format.dtype) for plane in planes]
