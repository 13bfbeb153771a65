"""Permissions of files that are written by libraries."""

from __future__ import annotations

import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def default_permissions(path: Path) -> Generator[None]:
    """Give the file that the block writes the permissions of a new file, which depend on the umask of the process.

    ``safetensors`` creates files that only their owner can read, so that other users could not load shared weights.
    """
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    yield
    path.chmod(mode)
