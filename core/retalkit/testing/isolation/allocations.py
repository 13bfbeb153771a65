"""Measures what NumPy and Python allocate."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def trace_allocations() -> Generator[None]:
    """Trace allocations in the block.

    Existing objects are frozen for the garbage collector: in a process with many modules, collecting them again and
    again would take longer than the checks.
    """
    # A caller that froze objects before wants them to stay frozen.
    freeze = gc.get_freeze_count() == 0
    if freeze:
        gc.freeze()
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()
        if freeze:
            gc.unfreeze()


def allocated_bytes() -> int:
    """Return the bytes that were allocated since tracing started and are still in use."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def take_peak_bytes() -> int:
    """Return the peak of allocated bytes since tracing started, or since the last call of this function."""
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    return peak
