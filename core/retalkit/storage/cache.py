"""Content-keyed cache with atomic writes, from which interrupted runs can resume.

A cache entry is a directory whose name is its key. The key is a hash of the input contents, of the stage's name,
version and configuration, and of the keys of the stage's inputs. Keys do not depend on file paths.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import threading
import time
import uuid
import zlib
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from retalkit.errors import OutputError
from retalkit.paths import expand_home, home_folder

_PARTIAL = ".partial-"
_STALE_SECONDS = 24 * 3600.0
CHECKSUMS: Final = "checksums.txt"
"""File in a cache entry with one line per written file: size in bytes, CRC-32 and name."""
_BLOCK_BYTES: Final = 1 << 20
_DISK_ERRORS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EACCES, errno.EPERM})


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
        return expand_home(named)
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "retalkit"
    return home_folder("RETALKIT_CACHE, or pass --cache") / ".cache" / "retalkit"


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


class CacheEntry(Folder):
    """Directory of one cache entry, in which damaged files are treated as absent.

    The size and the CRC-32 of every file are recorded in ``checksums.txt`` when the file is written. A file that is
    truncated, altered or replaced by a directory, or that an unknown program wrote, is computed again.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._lock = threading.Lock()
        self._recorded: dict[str, set[tuple[int, int]]] = {}
        self._read_bytes = 0
        self._verified: dict[str, tuple[int, int, int]] = {}

    def path(self, name: str) -> Path | None:
        """Return the path of a completely written and undamaged file, or None if there is no such file."""
        path = self.folder / name
        with self._lock:
            try:
                status = path.stat()
                if not stat.S_ISREG(status.st_mode):
                    return None
                identity = (status.st_ino, status.st_size, status.st_mtime_ns)
                if self._verified.get(name) == identity:
                    return path
                self._read_records()
                if (status.st_size, _checksum(path)) not in self._recorded.get(name, ()):
                    return None
            except OSError:
                return None
            self._verified[name] = identity
        return path

    def has(self, *names: str) -> bool:
        """Return whether the entry contains undamaged files with all these names."""
        return all(self.path(name) is not None for name in names)

    @contextmanager
    def write(self, name: str) -> Generator[Path]:
        """Yield a temporary path. The file is renamed to ``name`` on success and removed if an exception is raised.

        Raises OutputError if the disk is full or the cache directory is not writable.
        """
        try:
            self._remove_obstacles(name)
            with super().write(name) as path:
                yield path
                # The leading line break separates the record from an incomplete line.
                line = f"\n{path.stat().st_size} {_checksum(path):08x} {name}\n"
                # The record precedes the file. Concurrent writers append to the same list.
                with (self.folder / CHECKSUMS).open("ab") as file:
                    file.write(line.encode())
        except (OSError, OutputError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            if isinstance(cause, OSError) and cause.errno in _DISK_ERRORS:
                raise unwritable_cache(self.folder.parent, cause) from error
            raise

    def _remove_obstacles(self, name: str) -> None:
        """Remove a file in place of the entry's directory, and directories in place of its files."""
        if self.folder.is_file():
            self.folder.unlink()
        for path in (self.folder / name, self.folder / CHECKSUMS):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)

    def _read_records(self) -> None:
        """Read the lines that were appended since the last call."""
        with (self.folder / CHECKSUMS).open("rb") as file:
            if os.fstat(file.fileno()).st_size < self._read_bytes:
                self._recorded, self._read_bytes = {}, 0
            file.seek(self._read_bytes)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read_bytes += len(line)
                size, _, rest = line.decode(errors="replace").rstrip("\n").partition(" ")
                checksum, _, name = rest.partition(" ")
                with suppress(ValueError):
                    self._recorded.setdefault(name, set()).add((int(size), int(checksum, 16)))


def _checksum(path: Path) -> int:
    """Return the CRC-32 of a file."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            value = zlib.crc32(block, value)
    return value


def unwritable_cache(folder: Path, error: OSError) -> OutputError:
    """Return the error for a cache directory that cannot be written."""
    return OutputError(
        f"{folder}: cannot write to the cache directory: {error.strerror or error}: "
        "free space on the disk, or choose a different directory with --cache",
        code="unwritable-cache",
    )


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
            raise unwritable_cache(folder, error) from error

    def entry(self, key: str) -> CacheEntry:
        """Return the directory for a key, which is created on the first write."""
        folder = CacheEntry(self.folder / key)
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
