"""Journal of a batch: which jobs were started, and how they ended. A killed driver loses no result.

The journal is a file of JSON lines in the results directory. Only the driver writes to it, under a lock. A line is
written before a job starts and after it has ended, and an incomplete last line is ignored. Therefore, the driver can be
killed at any time: a job without a line about its end runs again, with the cached results of its completed steps.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

from filelock import FileLock, Timeout

from retalkit.batch.result_file import result_file
from retalkit.errors import BatchError, OutputError

JOURNAL: Final = "journal.jsonl"
_LOCK: Final = ".lock"
_STARTS: Final = {
    JOURNAL: b'{"output":"',
    "index.html": b'<!doctype html>\n<html lang="en">\n<head>\n<meta name="generator" content="Retalkit batch">',
    "summary.csv": b"output,state,language,video,speech,cues,",
    "results.json": b'{\n "version": 1,\n "retalkit": ',
}
"""First bytes of the files that a batch writes."""


class Journal:
    """Last known entry of each output, and the file to which new entries are appended."""

    def __init__(self, folder: Path, *, force: bool = False) -> None:
        """Read the journal of the results directory ``folder``, which may be missing. Nothing is written.

        ``force``: whether files of other programs in place of the results may be replaced. Raises OutputError if
        ``folder`` is a file, or a directory with other content.
        """
        self._force = force
        self.folder = folder
        self._entries: dict[str, dict[str, Any]] = {}
        self._lock: FileLock | None = None
        self._file: int | None = None
        path = folder / JOURNAL
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder}: not a directory; choose a directory with --results", code="not-a-directory")
        if not path.is_file():
            if folder.is_dir() and any(each.name != _LOCK for each in folder.iterdir()):
                text = (
                    f"{folder}: the directory contains files that do not belong to a batch; choose a different "
                    "directory with --results"
                )
                raise OutputError(text, code="foreign-directory")
            return
        if not force:
            _check_results(folder)
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                entry: Any = json.loads(line)
            except ValueError:
                # A killed driver leaves an incomplete last line.
                continue
            if _is_entry(entry):
                self._entries[entry["output"]] = entry

    def entry(self, output: Path) -> Mapping[str, Any] | None:
        """Return the last entry of an output, or None if the batch has not started the job.

        Keys: ``state`` (``started``, ``done`` or ``failed``), ``key`` (see ``CheckedJob``), and the content of ``end``.
        """
        return self._entries.get(str(output.absolute()))

    def open(self) -> None:
        """Create the results directory, lock the journal and rewrite it without outdated entries.

        Raises BatchError if another process runs this batch, and OutputError if the directory is not writable.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / _LOCK)
            lock.acquire(timeout=0)
        except Timeout as error:
            text = f"{self.folder}: another process is running this batch; wait until it ends"
            raise BatchError(text, code="busy") from error
        except OSError as error:
            text = f"{self.folder}: cannot write to the directory: {error.strerror or error}"
            raise OutputError(
                f"{text}; choose a different directory with --results", code="unwritable-output"
            ) from error
        self._lock = lock
        # The journal may have changed between reading and locking.
        self._entries = Journal(self.folder, force=self._force)._entries
        with result_file(self.folder / JOURNAL) as path:
            path.write_text("".join(_line(entry) for entry in self._entries.values()), encoding="utf-8")
        self._file = os.open(self.folder / JOURNAL, os.O_WRONLY | os.O_APPEND)

    def start(self, output: Path, key: str, before: list[int]) -> None:
        """Record that a job is about to start, which allows a later call to replace its output.

        ``before``: fingerprint of the existing output, which is not the job's own.
        """
        self._append({"output": str(output.absolute()), "state": "started", "key": key, "output_stat": before})

    def end(self, output: Path, key: str, state: str, values: Mapping[str, Any]) -> None:
        """Record the end of a job. ``state``: ``done`` or ``failed``. ``values``: JSON-compatible data."""
        self._append({"output": str(output.absolute()), "state": state, "key": key, **values})

    def close(self) -> None:
        """Close the file and release the lock."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, entry: dict[str, Any]) -> None:
        assert self._file is not None, "the journal is not open"
        self._entries[entry["output"]] = entry
        # One write call per line. The line survives a killed process as soon as the call returns. It is not flushed to
        # the disk, because a job whose end is lost in a power failure is repeated with its cached results.
        line = _line(entry).encode()
        try:
            # A full disk may accept only a part of the line. The line break separates the part from the next line.
            if os.write(self._file, line) < len(line):
                os.write(self._file, b"\n")
        except OSError as error:
            text = f"{self.folder / JOURNAL}: cannot write to the file: {error.strerror or error}"
            raise OutputError(
                f"{text}; free space on the disk and run the command again", code="unwritable-output"
            ) from error


def _is_entry(entry: Any) -> bool:
    """Return whether a decoded line is an entry of a journal."""
    return isinstance(entry, dict) and all(
        isinstance(cast("dict[str, Any]", entry).get(name), str) for name in ("output", "state", "key")
    )


def _check_results(folder: Path) -> None:
    """Raise OutputError if files of a results directory were not written by a batch."""
    for name, start in _STARTS.items():
        path = folder / name
        try:
            with path.open("rb") as file:
                found = file.read(len(start))
        except FileNotFoundError:
            continue
        except OSError as error:
            text = f"{path}: cannot read the file: {error.strerror or error}"
            raise OutputError(
                f"{text}; choose a different directory with --results", code="foreign-directory"
            ) from error
        if found and found != start:
            text = (
                f"{path}: the file was not written by a batch; use --force to replace the file, or choose a different"
            )
            raise OutputError(f"{text} directory with --results", code="foreign-directory")
    for name in ("jobs", "logs"):
        if (folder / name).exists() and not (folder / name).is_dir():
            text = f"{folder / name}: not a directory; choose a different directory with --results"
            raise OutputError(text, code="foreign-directory")


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n"
