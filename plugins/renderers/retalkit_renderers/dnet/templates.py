"""The expression that D-Net gives to every frame: 64 coefficients of the face model."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from retalkit.errors import InputError
from safetensors import SafetensorError
from safetensors.numpy import load_file
from scipy.io import loadmat

from retalkit_renderers.dnet.coefficients import EXPRESSION, EXPRESSIONS

Float = NDArray[np.float32]

PUBLISHED: Final = {"neutral": "expression_center", "smile": "expression_mouth"}
"""Template -> its name in the published file, which holds two more that its script does not use."""
NAMES: Final = ("expression", "exp", "coefficients", "coeff")
"""Names under which a file of several arrays may hold the coefficients."""
ROWS: Final = (257, 262)
"""Numbers of a whole fit, without and with those of its crop."""


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of what the checkpoint ``expression_templates`` must hold."""
    return dict.fromkeys(PUBLISHED.values(), (1, EXPRESSIONS))


def read_published(path: Path) -> dict[str, Float]:
    """The arrays of a published ``expression.mat``, each float32 [1, 64]. Raises ValueError for another file."""
    arrays = _read_mat(path)
    if missing := [name for name in PUBLISHED.values() if name not in arrays]:
        raise ValueError(f"it holds no '{missing[0]}'")
    return {name: np.ascontiguousarray(arrays[name], np.float32) for name in PUBLISHED.values()}


def published_expression(path: Path, template: str) -> Float:
    """float32 [64]: the template ``neutral`` or ``smile`` of the weight store's file."""
    return load_file(path)[PUBLISHED[template]].reshape(EXPRESSIONS)


def stored_expression(path: Path) -> Float:
    """float32 [64] of a user's file: .npy, .npz, .safetensors or .mat.

    It holds one array, or one by a name of ``NAMES``, of 64 numbers, or of a whole fit of one face (257 or 262).
    Raises InputError where it does not, or cannot be read.
    """
    try:
        arrays = _read(path)
    except (OSError, ValueError, EOFError, SafetensorError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as coefficients: {_first_line(error)}") from error
    name = next((name for name in NAMES if name in arrays), None)
    if name is None:
        if len(arrays) != 1:
            there = ", ".join(sorted(arrays)[:6]) or "none"
            raise InputError(f"{path}: none of its arrays ({there}) is named {NAMES[0]}: name the 64 coefficients so")
        name = next(iter(arrays))
    return _expression(arrays[name], path)


def _expression(array: NDArray[Any], path: Path) -> Float:
    numbers = np.asarray(array)
    if numbers.dtype.kind not in "fiu":
        raise InputError(f"{path}: holds {numbers.dtype} where the {EXPRESSIONS} coefficients are expected")
    numbers = numbers.astype(np.float32).reshape(-1)
    if numbers.size in ROWS:
        numbers = numbers[EXPRESSION]
    if numbers.size != EXPRESSIONS:
        raise InputError(
            f"{path}: holds {' x '.join(map(str, np.shape(array)))} numbers: it must be the {EXPRESSIONS} coefficients "
            f"of one expression, or the {ROWS[0]} of one face"
        )
    if not np.isfinite(numbers).all():
        raise InputError(f"{path}: holds numbers that are not finite: take a frame in which the face was found")
    return numbers


def _read(path: Path) -> dict[str, NDArray[Any]]:
    match path.suffix.lower():
        case ".npy":
            return {NAMES[0]: np.load(path, allow_pickle=False)}
        case ".npz":
            with np.load(path, allow_pickle=False) as stored:
                return dict(stored)
        case ".safetensors":
            return dict(load_file(path))
        case _:
            return _read_mat(path)


def _read_mat(path: Path) -> dict[str, NDArray[Any]]:
    """Raises ValueError for what is no MATLAB file of version 5."""
    try:
        arrays = loadmat(path)
    except Exception as error:
        # The reader fails in many ways, some with errors of its own, on a file that was cut off.
        raise ValueError(f"it is no MATLAB file ({_first_line(error)})") from error
    return {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:160]
