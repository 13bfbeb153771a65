"""Content keys and an atomic store: a run that is killed finds again what it had finished.

An entry is a folder named by a key. A key is made of the input's content, the stage's name, version and
configuration, and the keys of what it read; never of a file's name.
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
    """SHA-256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def make_key(name: str, *parts: object) -> str:
    """A folder name: the step's name and 24 hexadecimal digits over everything that its result depends on.

    ``parts`` must be plain data (strings, numbers, lists, dictionaries).
    """
    text = json.dumps([name, *parts], sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def default_folder() -> Path:
    """``RETALKIT_CACHE``, or ``retalkit`` in the user's cache folder."""
    named = os.environ.get("RETALKIT_CACHE")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "retalkit"


class Folder:
    """A folder whose files appear whole or not at all. Implements ``retalkit.stages.StageCache``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path | None:
        """The finished file of that name, or None."""
        path = self.folder / name
        return path if path.exists() else None

    @contextmanager
    def write(self, name: str) -> Generator[Path]:
        """Gives a temporary path and renames it to ``name`` on a clean exit; on an error nothing stays."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # The suffix stays, because some writers choose the format by it.
        temporary = self.folder / f"{_PARTIAL}{os.getpid()}-{uuid.uuid4().hex[:8]}-{name}"
        try:
            yield temporary
            temporary.replace(self.folder / name)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


class Cache:
    """The store of one machine. Safe against several runs at once: entries are only ever added whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f"{_PARTIAL}{uuid.uuid4().hex[:8]}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise OutputError(
                f"cache folder {folder} cannot be written ({error.strerror or error}); choose another with --cache"
            ) from error

    def entry(self, key: str) -> Folder:
        """The folder of a key; it is made when something is written into it."""
        folder = Folder(self.folder / key)
        if folder.folder.exists():
            with suppress(OSError):
                os.utime(folder.folder)
        return folder

    def prune(self, limit_bytes: int, keep: set[str]) -> None:
        """Removes the entries that were not used for longest until the store is below ``limit_bytes``.

        Entries named in ``keep`` and leftovers younger than a day (another run may be writing them) stay.
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
        for _, size, folder in sorted(entries, key=lambda entry: entry[0]):
            if total <= limit_bytes:
                break
            if folder.name in keep:
                continue
            shutil.rmtree(folder, ignore_errors=True)
            total -= size
