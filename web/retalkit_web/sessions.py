"""Sessions. Everything that belongs to a session is stored in one directory, which is deleted after a set time."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import threading
import time
import unicodedata
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from retalkit_web.settings import ServerSettings, WebError

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{32}")
_ID: Final = re.compile(r"[a-z][0-9a-f]{12}")
_USED: Final = "used"
_FILES: Final = "files.json"
_LONGEST_NAME: Final = 80
_LONGEST_NAME_BYTES: Final = 160
"""File systems limit names to 255 bytes. Some bytes are left for the suffix and for temporary files."""
_MOST_FILES: Final = 500
"""Maximum number of uploaded files of a session."""
_KEPT_FREE: Final = 1_000_000_000
"""Space in bytes that uploads leave on the disk."""
_UNUSED_SECONDS: Final = 180.0
"""Time after which a session without files and jobs may be replaced by a new session."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """Uploaded file."""

    id: str
    name: str
    """Name of the file on the user's machine, without directories and special characters."""
    kind: str
    """``video``, ``photo``, ``sound``, ``transcript`` or ``motion``."""
    bytes: int
    seconds: float = 0.0
    """Duration in seconds."""
    width: int = 0
    height: int = 0
    rate: float = 0.0
    """Frame rate in frames per second."""
    sound: bool = False
    """Whether the file contains audio."""
    playable: bool = True
    """Whether browsers can play the file. Otherwise, the page shows a converted copy."""


def new_id(letter: str) -> str:
    """Return a random identifier that begins with ``letter``."""
    return letter + secrets.token_hex(6)


def is_id(text: str) -> bool:
    """Return whether the text has the form of an identifier."""
    return _ID.fullmatch(text) is not None


def safe_name(name: str, default: str) -> str:
    """Return a file name without directories, control characters and leading dots."""
    name = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    name = "".join(each if each.isalnum() or each in " ._-()" else "_" for each in name if each.isprintable())
    stem, dot, suffix = name.strip(" .").rpartition(".")
    if not dot:
        stem, suffix = suffix, ""
    stem = _shorten(stem.strip(" ."), _LONGEST_NAME, _LONGEST_NAME_BYTES) or default
    return f"{stem}.{_shorten(suffix, 12, 48)}" if suffix else stem


def _shorten(text: str, characters: int, size: int) -> str:
    """Return the start of the text with at most ``characters`` characters and ``size`` bytes."""
    return text[:characters].encode("utf-8", "ignore")[:size].decode("utf-8", "ignore").rstrip(" .")


class Session:
    """Files of one user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._reserved = 0

    @property
    def key(self) -> str:
        """Name of the session's directory."""
        return self.folder.name

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def jobs(self) -> Path:
        return self.folder / "jobs"

    def files(self) -> list[StoredFile]:
        """Return the uploaded files, oldest first."""
        # Other errors are raised, because the list would be overwritten by a shorter one otherwise.
        with suppress(FileNotFoundError):
            return [StoredFile(**each) for each in json.loads((self.folder / _FILES).read_text(encoding="utf-8"))]
        return []

    def file(self, id: str) -> StoredFile:
        """Return an uploaded file. Raises WebError if the session has no such file."""
        for each in self.files():
            if each.id == id:
                return each
        raise WebError(f"there is no file '{id[:20]}' in this session; upload the file again", code="unknown-file")

    def path(self, file: StoredFile) -> Path:
        """Return the path of an uploaded file."""
        return self.folder / "files" / file.id / file.name

    def add(self, file: StoredFile) -> None:
        """Add a file whose content has been stored. Raises WebError if the session has too many files."""
        with self._lock:
            files = self.files()
            if len(files) >= _MOST_FILES:
                raise WebError("the session has too many files; delete some", code="session-full")
            self._write([*files, file])

    @contextmanager
    def reserve(self, size: int, limit: int) -> Generator[None]:
        """Reserve ``size`` bytes of the session's storage during the block, so that concurrent uploads share the limit.

        ``limit``: maximum size of all files of the session in bytes. Raises WebError if there is not enough room, or
        if less than 1 GB of the disk would remain.
        """
        with self._lock:
            if self.size() + self._reserved + size > limit:
                raise WebError("the session uses too much storage; delete results or files", code="session-full")
            if size > shutil.disk_usage(self.folder).free - _KEPT_FREE:
                raise WebError("the disk of the server is full; try again later", code="disk-full")
            self._reserved += size
        try:
            yield
        finally:
            with self._lock:
                self._reserved -= size

    @property
    def receiving(self) -> bool:
        """Whether a file is being received. A large upload may take longer than the session is kept."""
        return self._reserved > 0

    def discard_partial(self) -> None:
        """Delete the files of uploads that were interrupted by the end of the server."""
        known = {each.id for each in self.files()}
        for folder in (self.folder / "files").glob("*"):
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def remove(self, id: str) -> None:
        """Delete an uploaded file. Raises WebError if the session has no such file."""
        with self._lock:
            file = self.file(id)
            self._write([each for each in self.files() if each.id != id])
        shutil.rmtree(self.path(file).parent, ignore_errors=True)

    def size(self) -> int:
        """Return the size of all files of the session in bytes."""
        total = 0
        for root, _, names in os.walk(self.folder):
            for name in names:
                with suppress(OSError):
                    total += (Path(root) / name).stat().st_size
        return total

    def touch(self) -> None:
        """Record that the session is used."""
        with suppress(OSError):
            (self.folder / _USED).touch()

    def used(self) -> float:
        """Return the time of the last use, in seconds since the epoch."""
        with suppress(OSError):
            return (self.folder / _USED).stat().st_mtime
        return 0.0

    def _write(self, files: list[StoredFile]) -> None:
        write_json(self.folder / _FILES, [asdict(each) for each in files])


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file atomically."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class SessionStore:
    """All sessions of the server. A session is known only to the owner of its random token."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._open: dict[str, Session] = {}
        self.folder = settings.folder / "sessions"
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def create(self) -> tuple[str, Session]:
        """Return a new session and its token. Raises WebError if there are too many sessions."""
        with self._lock:
            if sum(1 for _ in self.folder.iterdir()) >= self._settings.sessions and not self._replace_unused():
                raise WebError("the server has no room for another session; try again later", code="too-many-sessions")
            token = secrets.token_urlsafe(24)
            folder = self.folder / _key(token)
            (folder / "jobs").mkdir(parents=True, mode=0o700)
            session = self._open.setdefault(folder.name, Session(folder))
            session.touch()
            return token, session

    def _replace_unused(self) -> bool:
        """Delete the oldest session without files and jobs. Return False if there is none.

        Programs that check the availability of a server open a session at each visit.
        """
        limit = time.time() - min(_UNUSED_SECONDS, self._settings.keep_hours * 3600)
        unused = [
            session
            for folder in self.folder.iterdir()
            if (session := Session(folder)).used() < limit
            and not any((folder / name).exists() and any((folder / name).iterdir()) for name in ("files", "jobs"))
        ]
        if not unused:
            return False
        oldest = min(unused, key=Session.used)
        self._open.pop(oldest.key, None)
        shutil.rmtree(oldest.folder, ignore_errors=True)
        return True

    def find(self, token: str) -> Session | None:
        """Return the session of a token, or None."""
        if not _TOKEN.fullmatch(token):
            return None
        folder = self.folder / _key(token)
        with self._lock:
            if not folder.is_dir():
                return None
            session = self._open.setdefault(folder.name, Session(folder))
        session.touch()
        return session

    def all(self) -> list[Session]:
        """Return all sessions."""
        with self._lock:
            folders = [each for each in self.folder.iterdir() if each.is_dir()]
            return [self._open.setdefault(each.name, Session(each)) for each in folders]

    def expired(self, now: float | None = None) -> list[Session]:
        """Return the sessions that have not been used for the set time."""
        limit = (time.time() if now is None else now) - self._settings.keep_hours * 3600
        return [each for each in self.all() if each.used() < limit and not each.receiving]

    def delete(self, session: Session) -> None:
        """Delete everything that belongs to a session."""
        with self._lock:
            self._open.pop(session.key, None)
        shutil.rmtree(session.folder, ignore_errors=True)


def _key(token: str) -> str:
    # The directory name does not reveal the token.
    return hashlib.sha256(token.encode()).hexdigest()[:32]
