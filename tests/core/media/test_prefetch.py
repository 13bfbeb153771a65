"""Prefetching: order, exceptions and closing."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from retalkit.media.prefetch import ReadAhead


def test_items_are_in_order() -> None:
    assert list(ReadAhead(iter(range(100)), depth=3)) == list(range(100))


def test_exception_is_raised_after_preceding_items() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("frame 2 is broken")

    items = ReadAhead(broken(), depth=4)
    assert next(items) == 1
    with pytest.raises(ValueError, match="frame 2"):
        next(items)


def test_closing_stops_the_thread() -> None:
    def endless() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    before = threading.active_count()
    items = ReadAhead(endless(), depth=2)
    assert next(items) == 0
    items.close()
    assert threading.active_count() == before
