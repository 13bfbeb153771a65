"""Describes how an array differs from what a contract requires, or from another array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from retalkit.testing.examination import same_values

Row = Mapping[str, Any]
"""The result of a stage for one frame: arrays, numbers and strings by name."""


def copy_row(row: Row) -> Row:
    """Return the row with copied arrays: a stage may reuse its buffers."""
    return {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in row.items()}


def array_error(value: object, dtype: DTypeLike, shape: Sequence[int | None], axes: str) -> str:
    """Why ``value`` is not an array of this dtype and shape (None: any length), else empty. ``axes``: for messages."""
    expected = f"{np.dtype(dtype).name} {axes}"
    if not isinstance(value, np.ndarray):
        return f"is {type(value).__name__}, not an array {expected}"
    array: NDArray[Any] = value
    fits = array.ndim == len(shape) and all(want in (None, have) for have, want in zip(array.shape, shape, strict=True))
    if array.dtype != np.dtype(dtype) or not fits:
        lengths = ", ".join("any" if want is None else str(want) for want in shape)
        return f"is {array.dtype.name} {list(array.shape)}, not {expected} = [{lengths}]"
    return ""


def range_error(array: NDArray[Any], low: float, high: float) -> str:
    """Why values are outside of [low, high] or not finite, else empty."""
    if not np.isfinite(array).all():
        return f"has {int((~np.isfinite(array)).sum())} values that are NaN or infinite"
    if array.size and (array.min() < low or array.max() > high):
        return f"ranges from {float(array.min()):g} to {float(array.max()):g}, not within [{low:g}, {high:g}]"
    return ""


def first_difference(rows: Sequence[Row], others: Sequence[Row], numbers: Sequence[int]) -> str:
    """Describe the first difference between two lists of results, else empty. ``numbers``: frames of the rows."""
    for number, row, other in zip(numbers, rows, others, strict=True):
        for name in dict.fromkeys((*row, *other)):
            one, two = row.get(name), other.get(name)
            if isinstance(one, np.ndarray) and isinstance(two, np.ndarray):
                if not same_values(one, two):
                    return f"{name} of frame {number} {_array_difference(one, two)}"
            elif type(one) is not type(two) or one != two:
                return f"{name} of frame {number} is first {_brief(one)} and then {_brief(two)}"
    return ""


def _array_difference(one: NDArray[Any], two: NDArray[Any]) -> str:
    if one.shape != two.shape or one.dtype != two.dtype:
        return f"is first {one.dtype.name} {list(one.shape)} and then {two.dtype.name} {list(two.shape)}"
    first, second = one.astype(np.float64), two.astype(np.float64)
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    largest = np.abs(first - second)[~same]
    largest = largest[np.isfinite(largest)]
    amount = f"by up to {largest.max():.3g}" if largest.size else "in its NaN values"
    return f"differs {amount}, in {np.count_nonzero(~same)} of {same.size} values"


def _brief(value: object) -> str:
    if isinstance(value, np.ndarray):
        array: NDArray[Any] = value
        return f"an array {list(array.shape)}"
    return repr(value)
