"""Uploads: streaming to disk within the limits, and examination in a separate process."""

from __future__ import annotations

import asyncio
import errno
import json
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from retalkit_web.probe import CPU_SECONDS, MAX_TEXT
from retalkit_web.scrub import scrub
from retalkit_web.sessions import Session, StoredFile, new_id, safe_name
from retalkit_web.settings import ServerSettings, WebError

KINDS: Final = ("video", "sound", "transcript", "motion")
_CONCURRENT: Final = 3
"""Number of files that are examined at the same time."""
DISK_FULL: Final = "the disk of the server is full; try again later"
_TEXT_BYTES: Final = {"transcript": MAX_TEXT, "motion": 20_000_000}


class Uploads:
    """Receiver of uploaded files."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._examinations = asyncio.Semaphore(_CONCURRENT)

    async def receive(
        self, session: Session, kind: str, name: str, length: int | None, body: AsyncIterator[bytes]
    ) -> StoredFile:
        """Store an uploaded file. ``length``: announced size in bytes.

        Raises WebError if the file is too large, too long or unusable. Nothing is kept then.
        """
        if kind not in KINDS:
            raise WebError(f"unknown kind of file '{kind[:20]}'", code="invalid-request")
        limit = min(self._settings.upload_bytes, _TEXT_BYTES.get(kind, self._settings.upload_bytes))
        name = safe_name(name, kind)
        if length is not None and length > limit:
            raise _too_large(name, limit)
        # A body of unknown size may reach the limit.
        reserved = limit if length is None else length
        with session.reserve(reserved, self._settings.session_bytes):
            return await self._keep(session, kind, name, body, reserved, limit)

    async def _keep(
        self, session: Session, kind: str, name: str, body: AsyncIterator[bytes], reserved: int, limit: int
    ) -> StoredFile:
        id = new_id("f")
        folder = session.folder / "files" / id
        try:
            folder.mkdir(parents=True)
            path = folder / name
            try:
                size = await _store(path, body, reserved)
            except _TooLargeError as error:
                raise _too_large(name, limit) from error
            if not size:
                raise WebError(f"{name}: the file is empty", code="empty-file")
            found = await self._examine(path, kind, session)
            file = StoredFile(id=id, name=name, bytes=size, **found)
            session.add(file)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise storage_error(error) from error
            raise
        session.touch()
        return file

    async def _examine(self, path: Path, kind: str, session: Session) -> dict[str, Any]:
        async with self._examinations:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "retalkit_web.probe",
                str(path),
                kind,
                str(self._settings.media_seconds),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                output, _ = await asyncio.wait_for(process.communicate(), 2 * CPU_SECONDS)
            except TimeoutError as error:
                raise WebError(f"{path.name}: the file takes too long to read", code="file-too-complex") from error
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        try:
            found: dict[str, Any] = json.loads(output)
        except ValueError as error:
            raise WebError(f"{path.name}: the file cannot be read", code="unreadable-file") from error
        if "error" in found:
            raise WebError(scrub(found["error"]["message"], session.folder), code=found["error"]["code"])
        return found


class _TooLargeError(Exception):
    """Error raised if a body is larger than announced."""


async def _store(path: Path, body: AsyncIterator[bytes], limit: int) -> int:
    size = 0
    with path.open("wb") as file:
        async for block in body:
            size += len(block)
            if size > limit:
                raise _TooLargeError
            # Writing a block takes less time than switching to another thread.
            file.write(block)
    return size


def _too_large(name: str, limit: int) -> WebError:
    return WebError(f"{name}: the file is larger than {limit / 1e6:g} MB", code="file-too-large")


def is_disk_full(error: Exception) -> bool:
    """Return whether an error was raised because the disk or the quota is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def storage_error(error: OSError) -> WebError:
    """Return the error that users see if the server cannot store a file. It contains no path."""
    if is_disk_full(error):
        return WebError(DISK_FULL, code="disk-full")
    return WebError("the server could not store the file; try again later", code="storage-failed")
