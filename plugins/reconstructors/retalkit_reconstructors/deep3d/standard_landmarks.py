"""Loading of the standard 3D landmarks from the published MATLAB file or from the weight store."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.io import loadmat

NAME: Final = "lm"


def array_shapes() -> dict[str, tuple[int, ...]]:
    """Return the name and shape of the checkpoint's array.

    The array contains ibug68 points. The x axis points to the right, and the y axis points upwards.
    """
    return {NAME: (68, 3)}


def read_published(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the array ``lm`` from a published ``similarity_Lm3D_all.mat``, float32 [68, 3] in face model units.

    Raises ValueError if the file is not a MATLAB version 5 file or does not contain the array.
    """
    try:
        arrays = loadmat(path, variable_names=[NAME])
    except Exception as error:
        # The MATLAB parser raises many exception types for truncated files.
        raise ValueError(f"the file is not a MATLAB file: {error}") from error
    if NAME not in arrays:
        raise ValueError(f"the file does not contain the array '{NAME}'")
    return {NAME: np.ascontiguousarray(arrays[NAME], np.float32)}


def load(path: Path) -> NDArray[np.float32]:
    """Return the landmarks from a file in the weight store, float32 [68, 3]."""
    return load_file(path)[NAME]
