"""Simulated restorers that replace the networks if the published weights are not available.

Like the networks, each simulated restorer processes one aligned face at a time, independently of other frames. The
simulated restorers do not improve faces, and their amount of flicker differs from that of a network. They show how the
restoration stage propagates each kind of flicker, and how ``steadiness`` affects the flicker.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Rule = Callable[[Float, int], Float]
"""Function that maps a face, float32 [512, 512, 3] in 0..255, and its position in the output to the restored face."""


class SimulatedRestorer:
    """``Restorer`` that applies one function to each face."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    def restore(self, faces: NDArray[np.uint8], indexes: NDArray[np.int64], seed: int) -> Float:
        pairs = zip(faces, indexes.tolist(), strict=True)
        return np.stack([self._rule(face.astype(np.float32), index) for face, index in pairs]) / np.float32(255)


def equalise(face: Float, index: int) -> Float:
    """Equalise the lightness with contrast-limited adaptive histogram equalisation, and stretch the contrast of each
    channel.

    The contrast stretch maps the channel's 1st and 99th percentiles to the full range. The result is the average of the
    equalised image before and after the stretch. Its tint and shading depend on each frame's histograms.
    """
    light, *colours = cv2.split(cv2.cvtColor(np.rint(face).astype(np.uint8), cv2.COLOR_RGB2LAB))
    light = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(np.asarray(light))
    even = cv2.cvtColor(cv2.merge([light, *colours]), cv2.COLOR_LAB2RGB).astype(np.float32)
    low, high = np.percentile(even[::4, ::4], (1, 99), axis=(0, 1))
    stretched = (even - low) * (245 / np.maximum(high - low, 1)) + 5
    return np.asarray((even + stretched) / 2, np.float32)


def sharpen(face: Float, index: int) -> Float:
    """Apply unsharp masking with a gain that yields a constant standard deviation of the Laplacian.

    The gain depends on each frame's detail.
    """
    fine = face - cv2.GaussianBlur(face, (0, 0), 2)
    spread = float(cv2.Laplacian(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.CV_32F)[100:450, 120:400].std())
    return np.asarray(face + np.clip(9 / max(spread, 1e-3) - 1, 0, 4) * fine, np.float32)


def add_random_tint(face: Float, index: int) -> Float:
    """Apply unsharp masking, and add independent noise to each frame.

    The noise consists of a tint and a 4 x 4 shading (standard deviation 2.5 grey levels each) and grain (2 grey
    levels).
    """
    generator = np.random.default_rng(index)
    tint = generator.normal(0, 2.5, 3)
    shade = cv2.resize(generator.normal(0, 2.5, (4, 4)), face.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    grain = generator.normal(0, 2, face.shape)
    fine = face - cv2.GaussianBlur(face, (0, 0), 2)
    return np.asarray(face + fine + tint + shade[..., None] + grain, np.float32)


SIMULATED: dict[str, Rule] = {"equalised": equalise, "sharpened": sharpen, "drifting": add_random_tint}
