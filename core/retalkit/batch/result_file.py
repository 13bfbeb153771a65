"""Files in the results directory of a batch."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from retalkit.errors import OutputError
from retalkit.storage.cache import Folder


@contextmanager
def result_file(path: Path) -> Generator[Path]:
    """Yield a temporary path, which replaces ``path`` at the end of the block.

    Raises OutputError with ``path`` if the file cannot be written, for example because the disk is full.
    """
    try:
        with Folder(path.parent).write(path.name) as temporary:
            yield temporary
    except OSError as error:
        text = f"{path}: cannot write the file: {error.strerror or error}"
        raise OutputError(
            f"{text}; make the directory writable or free space, and run the command again", code="unwritable-output"
        ) from error
