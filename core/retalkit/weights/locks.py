"""Inter-process locks for the files in a directory."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from retalkit.errors import WeightsError

LOCKS = "locks"
"""Subdirectory name for the lock files, which are empty and never deleted."""


class BusyError(WeightsError):
    """Error raised if another process holds the lock. A retry with a different URL would fail with the same error."""

    code = "busy"


class FolderError(WeightsError):
    """Error raised if a directory is not writable or the disk is full. A retry with a different URL would fail with the
    same error."""

    code = "folder-not-writable"


@contextmanager
def exclusive_lock(folder: Path, name: str, busy: str, wait: float = 0.0) -> Generator[None]:
    """Hold the inter-process lock ``name`` of the directory ``folder`` during the block.

    The operating system releases the lock of a killed process.

    Raises:
        BusyError: another process holds the lock for longer than ``wait`` seconds. ``busy`` is the error message.
        FolderError: the directory is not writable.
    """
    # filelock is imported here because reading the store does not require locks.
    from filelock import FileLock, Timeout

    file = folder / LOCKS / f"{name}.lock"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file)
        lock.acquire(timeout=wait)
    except Timeout as error:
        raise BusyError(busy, code="busy") from error
    except OSError as error:
        raise FolderError(
            f"{file}: the lock file is not writable ({error.strerror or error}); "
            "set RETALKIT_HOME to a different directory",
            code="folder-not-writable",
        ) from error
    try:
        yield
    finally:
        lock.release()
