"""One process at a time at the files of a folder: two that write the same one would mix what they write."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from retalkit.errors import WeightsError

LOCKS = "locks"
"""Folder beside what is locked, for files that are empty and stay."""


class BusyError(WeightsError):
    """Another process is at work on the same files: to try elsewhere would not help."""


class FolderError(WeightsError):
    """A folder cannot be written to, or is full: another source of the file would not help."""


@contextmanager
def alone(folder: Path, name: str, busy: str, wait: float = 0.0) -> Generator[None]:
    """Nobody else who asks for ``name`` in ``folder`` goes on before the end of the block.

    Raises BusyError with the text ``busy`` where another process holds it for longer than ``wait`` seconds, FolderError
    where the folder cannot be written. A process that is killed holds nothing any more.
    """
    # Looking into the store needs no lock.
    from filelock import FileLock, Timeout

    file = folder / LOCKS / f"{name}.lock"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file)
        lock.acquire(timeout=wait)
    except Timeout as error:
        raise BusyError(busy) from error
    except OSError as error:
        raise FolderError(
            f"{file}: cannot be written ({error.strerror or error}): set RETALKIT_HOME to another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()
