"""Uploads: streaming to disk within the limits, and examination in a separate process."""

from __future__ import annotations

import asyncio
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
        room = self._settings.session_bytes - await asyncio.to_thread(session.size)
        if (length or 0) > room:
            raise WebError("the session uses too much storage; delete results or files", code="session-full")
        id = new_id("f")
        folder = session.folder / "files" / id
        folder.mkdir(parents=True)
        try:
            path = folder / name
            size = await _store(path, body, min(limit, room), name)
            if not size:
                raise WebError(f"{name}: the file is empty", code="empty-file")
            found = await self._examine(path, kind, session)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        file = StoredFile(id=id, name=name, bytes=size, **found)
        session.add(file)
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
                process.kill()
                raise WebError(f"{path.name}: the file takes too long to read", code="file-too-complex") from error
        try:
            found: dict[str, Any] = json.loads(output)
        except ValueError as error:
            raise WebError(f"{path.name}: the file cannot be read", code="unreadable-file") from error
        if "error" in found:
            raise WebError(scrub(found["error"]["message"], session.folder), code=found["error"]["code"])
        return found


async def _store(path: Path, body: AsyncIterator[bytes], limit: int, name: str) -> int:
    size = 0
    with path.open("wb") as file:
        async for block in body:
            size += len(block)
            if size > limit:
                raise _too_large(name, limit)
            # Writing a block takes less time than switching to another thread.
            file.write(block)
    return size


def _too_large(name: str, limit: int) -> WebError:
    return WebError(f"{name}: the file is larger than {limit / 1e6:g} MB", code="file-too-large")
