"""Measure the time from ``git clone`` to the first dubbed video, with empty caches of pip and Retalkit.

    python benchmarks/first_video.py [--revision REVISION ...]

The benchmark clones this checkout's committed state, runs ``make demo`` in the clone, and prints a table with the
duration of each part and the size of the environment. pip downloads all packages, so the duration depends on the
connection. Each ``--revision`` adds a row for an earlier state of the repository. The clones are deleted at the end.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class FirstVideo:
    """Durations in seconds."""

    clone: float
    make: float
    """Duration of ``make demo``: installation and first run."""
    again: float
    """Duration of ``make demo`` in the finished environment, with the cached results of the first run."""
    size: int
    """Disk space of the environment in bytes."""


def measure(revision: str, target: str, folder: Path) -> FirstVideo:
    """Clone a revision into the empty directory ``folder`` and run the make target there twice."""
    clone = folder / "clone"
    names = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    # A Python of a virtual environment would not be the one that a new user has.
    binaries = [part for part in environment.get("PATH", "").split(os.pathsep) if Path(part) != Path(sys.prefix, "bin")]
    environment |= {"PATH": os.pathsep.join(binaries), "PIP_NO_CACHE_DIR": "1"}
    environment |= {"RETALKIT_HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "cache")}
    started = time.perf_counter()
    subprocess.run(["git", "clone", "--quiet", "--no-local", str(REPOSITORY), str(clone)], check=True)
    subprocess.run(["git", "-C", str(clone), "checkout", "--quiet", "--detach", revision], check=True)
    cloned = time.perf_counter()
    ends: list[float] = []
    for _ in range(2):
        # The output belongs to the standard error stream, because the standard output is the table.
        subprocess.run(["make", target], cwd=clone, env=environment, check=True, stdout=sys.stderr)
        ends.append(time.perf_counter())
    return FirstVideo(cloned - started, ends[0] - cloned, ends[1] - ends[0], disk_space(clone / ".venv"))


def disk_space(folder: Path) -> int:
    """Return the disk space of a directory in bytes, or 0 if the directory does not exist."""
    files = (path.lstat() for path in folder.rglob("*"))
    return sum(512 * file.st_blocks for file in files)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--revision", nargs="+", default=[], help="earlier revisions, measured after the current one")
    parser.add_argument("--target", default="demo", help="make target (default: %(default)s)")
    options = parser.parse_args(arguments)
    head = subprocess.run(
        ["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    print("| revision | clone to first video, s | of which clone, s | second run, s | environment, MB |")
    print("|---|---|---|---|---|", flush=True)
    for revision in (head, *options.revision):
        with tempfile.TemporaryDirectory(prefix="retalkit-first-") as name:
            found = measure(revision, options.target, Path(name))
        cells = [revision[:12], f"{found.clone + found.make:.1f}", f"{found.clone:.1f}", f"{found.again:.1f}"]
        print(f"| {' | '.join(cells)} | {found.size / 1e6:.0f} |", flush=True)


if __name__ == "__main__":
    main()
