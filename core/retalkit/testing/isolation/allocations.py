"""Counts what numpy and Python allocate while a stage or metric works."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def counted() -> Generator[None]:
    """Allocations inside are counted.

    What was there before counts as no garbage meanwhile: in a process that has much loaded, to look through it again
    and again would take longer than the checks.
    """
    # Whoever has frozen something already wants it to stay so.
    ours = gc.get_freeze_count() == 0
    if ours:
        gc.freeze()
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()
        if ours:
            gc.unfreeze()


def held() -> int:
    """Bytes that were allocated since counting began and are still in use."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def most_held() -> int:
    """Bytes that were in use at most since counting, or this function, began; it begins again."""
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    return peak
