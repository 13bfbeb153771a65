"""Blending two pictures band by band, with the numbers of the published chain.

Burt and Adelson, "A multiresolution spline with application to image mosaics", ACM TOG 1983.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Picture = NDArray[np.uint8] | NDArray[np.float32]


def pyramid_blend(top: Picture, base: Picture, mask: Float, levels: int) -> Float:
    """float32 [H, W, 3], not cut: ``top`` where ``mask`` is 1, ``base`` where it is 0, coarse bands mixed over a wider
    border than fine ones.

    Pictures [H, W, 3] of any size, mask float32 [H, W] in [0, 1]; ``levels`` at least 1 is the number of bands.
    Pictures of uint8 are reduced in whole grey levels, which gives the published numbers; float32 gives exact ones.
    """
    tops, bases, masks = (_reduced(picture, levels) for picture in (top, base, mask))
    result = _mixed(tops[-1], bases[-1], masks[-1])
    for level in range(levels - 2, -1, -1):
        band = _mixed(_band(tops, level), _band(bases, level), masks[level])
        result = _enlarged(result, masks[level]) + band
    return result


def _reduced(picture: Picture, levels: int) -> list[Picture]:
    """The picture and its reductions to a half, a quarter, ..."""
    pyramid = [picture]
    for _ in range(levels - 1):
        pyramid.append(np.asarray(cv2.pyrDown(pyramid[-1]), picture.dtype))  # pyright: ignore[reportArgumentType]
    return pyramid


def _band(pyramid: list[Picture], level: int) -> Float:
    """What a level shows beyond the next coarser one."""
    return pyramid[level].astype(np.float32) - _enlarged(pyramid[level + 1].astype(np.float32), pyramid[level])


def _mixed(top: Picture, base: Picture, mask: Picture) -> Float:
    share = mask[:, :, None]
    return np.asarray(top * share + base * (1 - share), np.float32)


def _enlarged(picture: Float, like: Picture) -> Float:
    return np.asarray(cv2.pyrUp(picture, dstsize=(like.shape[1], like.shape[0])), np.float32)
