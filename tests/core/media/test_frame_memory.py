"""Memory for decoded frames, which depends on the memory that is available."""

from __future__ import annotations

from pathlib import Path

import pytest
from retalkit.media.frame_memory import SHORT_BYTES, frame_memory

GIB = 1 << 30


def system(folder: Path, available: int | None, limit: str = "max", used: int = 0) -> int:
    """Return the memory for one process of a system with the given memory in bytes."""
    memory, container = folder / "meminfo", folder / "cgroup"
    rows = ["MemTotal: 99999999 kB", "MemFree: 1000 kB"]
    memory.write_text("\n".join(rows if available is None else [*rows, f"MemAvailable: {available >> 10} kB"]))
    container.mkdir()
    (container / "memory.max").write_text(limit + "\n")
    (container / "memory.current").write_text(f"{used}\n")
    return frame_memory(1, memory, container)


@pytest.mark.parametrize(
    ("available", "limit", "used", "expected"),
    [
        (64 * GIB, "max", 0, 768 << 20),
        (2 * GIB, "max", 0, GIB // 2),
        (64 * GIB, str(2 * GIB), GIB, GIB // 4),
        (64 * GIB, str(GIB), 2 * GIB, SHORT_BYTES),
        (100 << 20, "max", 0, SHORT_BYTES),
        (None, "max", 0, SHORT_BYTES),
    ],
    ids=["much", "little", "container", "full container", "none", "unknown"],
)
def test_memory_depends_on_the_system(
    available: int | None, limit: str, used: int, expected: int, tmp_path: Path
) -> None:
    assert system(tmp_path, available, limit, used) == expected


def test_memory_is_divided_between_processes_and_missing_files_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(f"MemAvailable: {4 * GIB >> 10} kB\n")
    assert frame_memory(4, tmp_path / "meminfo", tmp_path) == GIB // 4
    assert frame_memory(1, tmp_path / "absent", tmp_path) == SHORT_BYTES
