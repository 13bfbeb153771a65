"""Checkpoints of a run: atomic files, the newest ones and the best one."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import Any, Final, cast
from zipfile import ZipFile

import torch
from retalkit.errors import OutputError

_NAME: Final = re.compile(r"step-(\d{9})\.pt")
BEST: Final = "best.pt"


class CheckpointFolder:
    """Directory with the checkpoints of one run."""

    def __init__(self, folder: Path, keep: int) -> None:
        """``keep``: number of newest checkpoints that are kept."""
        self.folder, self._keep = folder, keep

    def files(self) -> list[Path]:
        """Return the checkpoints, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if _NAME.fullmatch(path.name))

    @property
    def newest(self) -> Path | None:
        """Newest checkpoint, or None."""
        return files[-1] if (files := self.files()) else None

    @property
    def best(self) -> Path | None:
        """Checkpoint with the best evaluation, or None."""
        path = self.folder / BEST
        return path if path.is_file() else None

    def save(self, state: dict[str, Any], step: int, *, best: bool) -> Path:
        """Write a checkpoint atomically, and remove old ones."""
        path = self.folder / f"step-{step:09d}.pt"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for left in self.folder.glob("*.partial"):
                left.unlink()
            _write(state, path)
            if best:
                _copy(path, self.folder / BEST)
        except (OSError, RuntimeError) as error:
            reason = write_failure(error)
            raise OutputError(
                f"{path}: cannot write the checkpoint ({reason}); free disk space and run the same command again",
                code="unwritable-output",
            ) from error
        for old in self.files()[: -self._keep]:
            old.unlink()
        return path


def write_failure(error: Exception) -> str:
    """Return the reason for which a file was not written. torch reports a full disk as a RuntimeError, whose context is
    the OSError."""
    reason = error if isinstance(error, OSError) else error.__context__
    return str(getattr(reason, "strerror", None) or error).partition("\n")[0]


def read_state(path: Path) -> dict[str, Any]:
    """Return the contents of a checkpoint on the CPU.

    Raises:
        OutputError: the file is damaged, or is no checkpoint of a run.
    """
    try:
        # torch does not compare the checksums of the tensors.
        with ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is None:
            state = torch.load(path, map_location="cpu", weights_only=True)
            if isinstance(state, dict) and "step" in state:
                return cast("dict[str, Any]", state)
        reason = "it is no checkpoint of a run" if damaged is None else f"{damaged} is damaged"
    except Exception as error:
        raise _unreadable(path, type(error).__name__) from error
    raise _unreadable(path, reason)


def _unreadable(path: Path, reason: str) -> OutputError:
    return OutputError(
        f"{path}: the checkpoint cannot be read ({reason}); delete the file to resume at the previous one",
        code="unreadable-file",
    )


def _write(state: dict[str, Any], path: Path) -> None:
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _copy(source: Path, target: Path) -> None:
    partial = target.with_suffix(".partial")
    with contextlib.suppress(FileNotFoundError):
        partial.unlink()
    try:
        os.link(source, partial)
    except OSError:
        # Some file systems have no hard links.
        shutil.copyfile(source, partial)
    partial.replace(target)
