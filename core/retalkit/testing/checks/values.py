"""Descriptions of how an array differs from its contract or from another array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from retalkit.testing.examination import same_values

Row = Mapping[str, Any]
"""Result of a stage for one frame, as a mapping from names to arrays, numbers and strings."""


def copy_row(row: Row) -> Row:
    """Return a copy of the row that includes copies of its arrays, because a stage may reuse its buffers."""
    return {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in row.items()}


def array_error(value: object, dtype: DTypeLike, shape: Sequence[int | None], axes: str) -> str:
    """Return a description of how ``value`` violates the dtype and shape, or an empty string if ``value`` is valid.

    None in ``shape`` allows any length. ``axes`` describes the axes in messages, such as ``[T, C]``.
    """
    expected = f"{np.dtype(dtype).name} {axes}"
    if not isinstance(value, np.ndarray):
        return f"has type {type(value).__name__}, expected an array {expected}"
    array: NDArray[Any] = value
    fits = array.ndim == len(shape) and all(want in (None, have) for have, want in zip(array.shape, shape, strict=True))
    if array.dtype != np.dtype(dtype) or not fits:
        lengths = ", ".join("any" if want is None else str(want) for want in shape)
        return f"is {array.dtype.name} {list(array.shape)}, expected {expected} = [{lengths}]"
    return ""


def range_error(array: NDArray[Any], low: float, high: float) -> str:
    """Return a description of values that are not finite or outside [low, high], or an empty string."""
    if not np.isfinite(array).all():
        return f"contains {int((~np.isfinite(array)).sum())} NaN or infinite values"
    if array.size and (array.min() < low or array.max() > high):
        return f"ranges from {float(array.min()):g} to {float(array.max()):g}, expected values in [{low:g}, {high:g}]"
    return ""


def first_difference(rows: Sequence[Row], others: Sequence[Row], numbers: Sequence[int]) -> str:
    """Return a description of the first difference between two lists of rows, or an empty string if they are equal.

    ``numbers`` contains the frame number of each row.
    """
    for number, row, other in zip(numbers, rows, others, strict=True):
        for name in dict.fromkeys((*row, *other)):
            one, two = row.get(name), other.get(name)
            if isinstance(one, np.ndarray) and isinstance(two, np.ndarray):
                if not same_values(one, two):
                    return f"{name} of frame {number} {_array_difference(one, two)}"
            elif type(one) is not type(two) or one != two:
                return f"{name} of frame {number} changes from {_brief(one)} to {_brief(two)}"
    return ""


def _array_difference(one: NDArray[Any], two: NDArray[Any]) -> str:
    if one.shape != two.shape or one.dtype != two.dtype:
        return f"changes from {one.dtype.name} {list(one.shape)} to {two.dtype.name} {list(two.shape)}"
    first, second = one.astype(np.float64), two.astype(np.float64)
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    largest = np.abs(first - second)[~same]
    largest = largest[np.isfinite(largest)]
    share = f"{np.count_nonzero(~same)} of {same.size} values"
    if not largest.size:
        return f"contains different NaN or infinite values ({share})"
    return f"differs by up to {largest.max():.3g} in {share}"


def _brief(value: object) -> str:
    if isinstance(value, np.ndarray):
        array: NDArray[Any] = value
        return f"an array of shape {list(array.shape)}"
    return repr(value)
