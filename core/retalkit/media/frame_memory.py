"""Memory that decoded frames may occupy, so that several passes over a video decode it only once."""

from __future__ import annotations

from pathlib import Path
from typing import Final

SHORT_BYTES: Final = 128 << 20
"""Maximum size of the decoded frames of a short video, which every run keeps."""
_LONGEST_BYTES: Final = 768 << 20
"""Maximum size of the frames that one process keeps, such as 10 s of 1920x1080."""
_SHARE: Final = 4
"""Divisor of the available memory: kept frames use at most a quarter of it."""

_MEMORY: Final = Path("/proc/meminfo")
_CONTAINER: Final = Path("/sys/fs/cgroup")


def frame_memory(processes: int, memory: Path = _MEMORY, container: Path = _CONTAINER) -> int:
    """Return the maximum size in bytes of the decoded frames that each of several processes keeps.

    ``memory``: file in the format of ``/proc/meminfo``. ``container``: directory with the limits of a control group
    (version 2). The result is ``SHORT_BYTES`` if the available memory is unknown.
    """
    available = _available(memory, container)
    if available is None:
        return SHORT_BYTES
    return max(SHORT_BYTES, min(_LONGEST_BYTES, available // _SHARE // processes))


def _available(memory: Path, container: Path) -> int | None:
    """Return the bytes that this process can allocate without swapping, or None if the system does not state them."""
    try:
        rows = [line.split() for line in memory.read_text(encoding="ascii").splitlines()]
        available = next(int(row[1]) << 10 for row in rows if row and row[0] == "MemAvailable:")
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    try:
        limit, used = (int((container / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # There is no control group, or its memory is unlimited ("max").
        return available
    return max(0, min(available, limit - used))
