"""Says in words how an array differs from what a contract asks for, or from another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from retalkit.testing.examination import same_values

Row = Mapping[str, Any]
"""What a stage gave for one frame: arrays, numbers and words by name."""


def taken(row: Row) -> Row:
    """The row with arrays of its own, so that it stays what it was: a stage may write into its arrays again."""
    return {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in row.items()}


def misfit(value: object, dtype: DTypeLike, shape: Sequence[int | None], axes: str) -> str:
    """Why ``value`` is no array of this dtype and shape (None: any length), else empty. ``axes`` names the shape."""
    wanted = f"{np.dtype(dtype).name} {axes}"
    if not isinstance(value, np.ndarray):
        return f"is {type(value).__name__}, not an array {wanted}"
    array: NDArray[Any] = value
    fits = array.ndim == len(shape) and all(want in (None, have) for have, want in zip(array.shape, shape, strict=True))
    if array.dtype != np.dtype(dtype) or not fits:
        lengths = ", ".join("any" if want is None else str(want) for want in shape)
        return f"is {array.dtype.name} {list(array.shape)}, not {wanted} = [{lengths}]"
    return ""


def out_of_range(array: NDArray[Any], low: float, high: float) -> str:
    """Why a value lies outside of [low, high] or is no number, else empty."""
    if not np.isfinite(array).all():
        return f"has {int((~np.isfinite(array)).sum())} values that are NaN or infinite"
    if array.size and (array.min() < low or array.max() > high):
        return f"goes from {float(array.min()):g} to {float(array.max()):g}, not within [{low:g}, {high:g}]"
    return ""


def difference(rows: Sequence[Row], others: Sequence[Row], numbers: Sequence[int]) -> str:
    """The first difference between two lists of results, in words, else empty. ``numbers`` are those of the frames."""
    for number, row, other in zip(numbers, rows, others, strict=True):
        for name in dict.fromkeys((*row, *other)):
            one, two = row.get(name), other.get(name)
            if isinstance(one, np.ndarray) and isinstance(two, np.ndarray):
                if not same_values(one, two):
                    return f"{name} of frame {number} {_apart(one, two)}"
            elif type(one) is not type(two) or one != two:
                return f"{name} of frame {number} is {_short(one)} once and {_short(two)} the other time"
    return ""


def _apart(one: NDArray[Any], two: NDArray[Any]) -> str:
    if one.shape != two.shape or one.dtype != two.dtype:
        return f"is {one.dtype.name} {list(one.shape)} once and {two.dtype.name} {list(two.shape)} the other time"
    first, second = one.astype(np.float64), two.astype(np.float64)
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    largest = np.abs(first - second)[~same]
    largest = largest[np.isfinite(largest)]
    amount = f"by up to {largest.max():.3g}" if largest.size else "in where it is NaN"
    return f"differs {amount}, in {np.count_nonzero(~same)} of {same.size} values"


def _short(value: object) -> str:
    if isinstance(value, np.ndarray):
        array: NDArray[Any] = value
        return f"an array {list(array.shape)}"
    return repr(value)
