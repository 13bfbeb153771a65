"""Measurement of memory that is allocated by Python and NumPy."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Generator
from contextlib import contextmanager

_has_frozen = False


@contextmanager
def trace_allocations() -> Generator[None]:
    """Trace memory allocations while the block runs.

    Existing objects are excluded from garbage collection, because repeated collections in a process with many modules
    would take longer than the checks.
    """
    # Objects that the caller has frozen with gc.freeze must remain frozen.
    freeze = not _frozen_by_caller()
    if freeze:
        gc.freeze()
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()
        if freeze:
            gc.unfreeze()


def _frozen_by_caller() -> bool:
    """Return whether the caller has frozen objects. A positive result is cached, because counting millions of objects
    takes 20 ms."""
    global _has_frozen
    _has_frozen = _has_frozen or gc.get_freeze_count() > 0
    return _has_frozen


def allocated_bytes() -> int:
    """Return the number of bytes that were allocated after tracing started and have not been freed."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def take_peak_bytes() -> int:
    """Return the peak number of allocated bytes since tracing started or since the last call of this function."""
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    return peak
