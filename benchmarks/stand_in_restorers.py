"""Restorers that stand in for the networks where their published weights cannot be had.

Each works on one aligned face at a time and knows nothing of its neighbours, as the networks do. None of them is a
restoration worth having, and how strongly a network flickers cannot be read from them: they show what each kind of
flicker does behind the restoration stage, and what ``steadiness`` does to it.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Rule = Callable[[Float, int], Float]
"""(face float32 [512, 512, 3] in 0..255, position in the output) -> the same."""


class StandIn:
    """A ``Restorer`` made of a rule for one face."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    def restore(self, faces: NDArray[np.uint8], indexes: NDArray[np.int64]) -> Float:
        pairs = zip(faces, indexes.tolist(), strict=True)
        return np.stack([self._rule(face.astype(np.float32), index) for face, index in pairs]) / np.float32(255)


def equalised(face: Float, index: int) -> Float:
    """Contrast limited adaptive histogram equalisation of the lightness, then half a stretch of each colour between
    its 1st and 99th percentile. Its tint and shading follow each frame's own histograms."""
    light, *colours = cv2.split(cv2.cvtColor(np.rint(face).astype(np.uint8), cv2.COLOR_RGB2LAB))
    light = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(np.asarray(light))
    even = cv2.cvtColor(cv2.merge([light, *colours]), cv2.COLOR_LAB2RGB).astype(np.float32)
    low, high = np.percentile(even[::4, ::4], (1, 99), axis=(0, 1))
    stretched = (even - low) * (245 / np.maximum(high - low, 1)) + 5
    return np.asarray((even + stretched) / 2, np.float32)


def sharpened(face: Float, index: int) -> Float:
    """Unsharp masking that brings every face's Laplacian to one spread. Its gain follows each frame's own detail."""
    fine = face - cv2.GaussianBlur(face, (0, 0), 2)
    spread = float(cv2.Laplacian(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.CV_32F)[100:450, 120:400].std())
    return np.asarray(face + np.clip(9 / max(spread, 1e-3) - 1, 0, 4) * fine, np.float32)


def drifting(face: Float, index: int) -> Float:
    """Unsharp masking, and by chance in every frame anew: a tint and a shading of four by four places (standard
    deviation 2.5 grey levels each) and grain (2)."""
    chance = np.random.default_rng(index)
    tint = chance.normal(0, 2.5, 3)
    shade = cv2.resize(chance.normal(0, 2.5, (4, 4)), face.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    grain = chance.normal(0, 2, face.shape)
    fine = face - cv2.GaussianBlur(face, (0, 0), 2)
    return np.asarray(face + fine + tint + shade[..., None] + grain, np.float32)


STAND_INS: dict[str, Rule] = {"equalised": equalised, "sharpened": sharpened, "drifting": drifting}
