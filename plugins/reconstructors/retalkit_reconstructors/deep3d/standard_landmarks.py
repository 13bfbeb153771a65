"""The standard landmarks in 3D: read off the published MATLAB file, and off the weight store."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.io import loadmat

NAME: Final = "lm"


def array_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of what the checkpoint must hold: ibug68 points, x to the right, y up."""
    return {NAME: (68, 3)}


def read_published(path: Path) -> dict[str, NDArray[np.float32]]:
    """The array ``lm`` of a published ``similarity_Lm3D_all.mat``, float32 [68, 3] in units of the face model.

    Raises ValueError where the file is no MATLAB file of version 5 or does not hold it.
    """
    try:
        arrays = loadmat(path, variable_names=[NAME])
    except Exception as error:
        # The reader fails in many ways, some with errors of its own, on a file that was cut off.
        raise ValueError(f"not a MATLAB file: {error}") from error
    if NAME not in arrays:
        raise ValueError(f"it holds no '{NAME}'")
    return {NAME: np.ascontiguousarray(arrays[NAME], np.float32)}


def load(path: Path) -> NDArray[np.float32]:
    """float32 [68, 3] of the weight store's file."""
    return load_file(path)[NAME]
