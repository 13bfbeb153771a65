"""Content-keyed cache with atomic writes, from which interrupted runs can resume.

A cache entry is a directory whose name is its key. The key is a hash of the input contents, of the stage's name,
version and configuration, and of the keys of the stage's inputs. Keys do not depend on file paths.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from retalkit.errors import OutputError

_PARTIAL = ".partial-"
_STALE_SECONDS = 24 * 3600.0


def content_hash(path: Path) -> str:
    """Return a file's SHA-256 hash as a hexadecimal string. The file is read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_key(name: str, *parts: object) -> str:
    """Return a directory name that consists of the step name and 24 hexadecimal digits of a hash of all dependencies.

    ``parts`` must be JSON-compatible data (strings, numbers, lists, dictionaries).
    """
    text = json.dumps([name, *parts], sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def default_folder() -> Path:
    """Return the cache directory, which is the value of ``RETALKIT_CACHE`` or, by default, ``retalkit`` in the user's
    cache directory."""
    named = os.environ.get("RETALKIT_CACHE")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "retalkit"


class Folder:
    """Directory with atomic writes, which implements ``retalkit.stages.StageCache``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path | None:
        """Return the path of a completely written file, or None if the file does not exist."""
        path = self.folder / name
        return path if path.exists() else None

    @contextmanager
    def write(self, name: str) -> Generator[Path]:
        """Yield a temporary path. The file is renamed to ``name`` on success and removed if an exception is raised."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # Some writers derive the format from the suffix, so the temporary name ends with the file name.
        temporary = self.folder / f"{_PARTIAL}{os.getpid()}-{uuid.uuid4().hex[:8]}-{name}"
        try:
            yield temporary
            temporary.replace(self.folder / name)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


class Cache:
    """Cache directory. Concurrent runs, also on several machines that share the directory, are supported because all
    writes are atomic."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f"{_PARTIAL}{uuid.uuid4().hex[:8]}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise OutputError(
                f"{folder}: cannot write to the cache directory: {error.strerror or error}: "
                "choose a different directory with --cache",
                code="unwritable-cache",
            ) from error

    def entry(self, key: str) -> Folder:
        """Return the directory for a key, which is created on the first write."""
        folder = Folder(self.folder / key)
        if folder.folder.exists():
            with suppress(OSError):
                os.utime(folder.folder)
        return folder

    def prune(self, limit_bytes: int, keep: set[str], used_within: float = 0.0) -> None:
        """Remove the least recently used entries until the cache is smaller than ``limit_bytes``.

        Entries in ``keep`` are not removed, nor entries that were used in the last ``used_within`` seconds. Temporary
        files that are less than a day old are not removed, because another run may be writing to them.
        """
        now = time.time()
        entries: list[tuple[float, int, Path]] = []
        for folder in self.folder.iterdir():
            if not folder.is_dir():
                continue
            with suppress(OSError):
                for leftover in folder.glob(f"{_PARTIAL}*"):
                    if now - leftover.stat().st_mtime > _STALE_SECONDS:
                        leftover.unlink()
                size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
                entries.append((folder.stat().st_mtime, size, folder))
        total = sum(size for _, size, _ in entries)
        for used, size, folder in sorted(entries, key=lambda entry: entry[0]):
            if total <= limit_bytes:
                break
            if folder.name in keep or now - used < used_within:
                continue
            shutil.rmtree(folder, ignore_errors=True)
            total -= size
