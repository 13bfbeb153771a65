"""Inter-process locks for the files of a folder."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from retalkit.errors import WeightsError

LOCKS = "locks"
"""Name of the subfolder with the lock files. They are empty and are never deleted."""


class BusyError(WeightsError):
    """Another process is using the same files. Trying another URL would not help."""

    code = "busy"


class FolderError(WeightsError):
    """A folder is not writable, or the disk is full. Trying another URL would not help."""

    code = "folder-not-writable"


@contextmanager
def exclusive_lock(folder: Path, name: str, busy: str, wait: float = 0.0) -> Generator[None]:
    """Hold the inter-process lock ``name`` of ``folder`` for the length of the block.

    Raises BusyError with the message ``busy`` if another process holds it for longer than ``wait`` seconds, and
    FolderError if the folder is not writable. The lock of a killed process is released.
    """
    # Imported here so that reading the store does not import it.
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
            f"{file}: not writable ({error.strerror or error}): set RETALKIT_HOME to another folder",
            code="folder-not-writable",
        ) from error
    try:
        yield
    finally:
        lock.release()
