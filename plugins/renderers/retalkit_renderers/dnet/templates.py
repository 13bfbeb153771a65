"""Loading of the template expression (64 face model coefficients) that D-Net applies to every frame."""

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
"""Array name of each template in the published file.

The file contains two additional arrays, which the published script does not use.
"""
NAMES: Final = ("expression", "exp", "coefficients", "coeff")
"""Accepted names of the coefficient array in a file with several arrays."""
ROWS: Final = (257, 262)
"""Number of coefficients of a face, without and with its crop parameters."""


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Return the name and shape of each array in the checkpoint ``expression_templates``."""
    return dict.fromkeys(PUBLISHED.values(), (1, EXPRESSIONS))


def read_published(path: Path) -> dict[str, Float]:
    """Return the arrays in a published ``expression.mat``, float32 [1, 64] each.

    Raises ValueError if the file is invalid.
    """
    arrays = _read_mat(path)
    if missing := [name for name in PUBLISHED.values() if name not in arrays]:
        raise ValueError(f"the file does not contain the array '{missing[0]}'")
    return {name: np.ascontiguousarray(arrays[name], np.float32) for name in PUBLISHED.values()}


def published_expression(path: Path, template: str) -> Float:
    """Return the template ``neutral`` or ``smile``, float32 [64], from the file in the weight store."""
    return load_file(path)[PUBLISHED[template]].reshape(EXPRESSIONS)


def stored_expression(path: Path) -> Float:
    """Return the expression from a user-provided file (.npy, .npz, .safetensors or .mat), float32 [64].

    The file must contain a single array, or an array with a name from ``NAMES``. The array must contain 64 numbers or
    all coefficients of one face (257 or 262). Raises InputError if the file is invalid or cannot be read.
    """
    try:
        arrays = _read(path)
    except (OSError, ValueError, EOFError, SafetensorError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: cannot read expression coefficients: {_first_line(error)}", code="unreadable-file"
        ) from error
    name = next((name for name in NAMES if name in arrays), None)
    if name is None:
        if len(arrays) != 1:
            found = ", ".join(sorted(arrays)[:6]) or "none"
            raise InputError(
                f"{path}: expected one array, got several ({found}); rename the array with the 64 "
                f"coefficients to '{NAMES[0]}'",
                code="invalid-coefficients",
            )
        name = next(iter(arrays))
    return _expression(arrays[name], path)


def _expression(array: NDArray[Any], path: Path) -> Float:
    numbers = np.asarray(array)
    if numbers.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: expected {EXPRESSIONS} numeric coefficients, got an array of dtype {numbers.dtype}",
            code="invalid-coefficients",
        )
    numbers = numbers.astype(np.float32).reshape(-1)
    if numbers.size in ROWS:
        numbers = numbers[EXPRESSION]
    if numbers.size != EXPRESSIONS:
        raise InputError(
            f"{path}: expected {EXPRESSIONS} expression coefficients or all {ROWS[0]} coefficients of "
            f"one face, got an array of shape {' x '.join(map(str, np.shape(array)))}",
            code="invalid-coefficients",
        )
    if not np.isfinite(numbers).all():
        raise InputError(
            f"{path}: the coefficients contain values that are not finite; export the coefficients of "
            "a frame with a detected face",
            code="invalid-coefficients",
        )
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
    """Return the arrays in a MATLAB version 5 file. Raises ValueError if the file is invalid."""
    try:
        arrays = loadmat(path)
    except Exception as error:
        # The MATLAB parser raises many exception types for truncated files.
        raise ValueError(f"not a MATLAB file ({_first_line(error)})") from error
    return {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:160]
