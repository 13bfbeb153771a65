"""Atomic writing of rendered files into a directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from retalkit.errors import OutputError


def check_folder(folder: Path, files: Mapping[PurePosixPath, str], *, replace: bool) -> None:
    """Raise OutputError if writing ``files`` into ``folder`` would overwrite other files.

    If ``replace`` is set, existing files with the names in ``files`` may be overwritten.
    """
    if not folder.parent.is_dir():
        raise OutputError(
            f"{folder}: directory {folder.parent} not found: create it, or choose another --output",
            code="directory-not-found",
        )
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder}: exists and is not a directory: choose another --output", code="not-a-directory")
    if not replace:
        if any(folder.iterdir()):
            raise OutputError(
                f"{folder}: already exists: choose another directory with --output, or replace the files of an "
                "earlier call with --force",
                code="output-exists",
            )
        return
    inside = folder.resolve()
    for path in files:
        target = folder / path
        if target.is_dir() and not target.is_symlink():
            raise OutputError(
                f"{target}: is a directory, a file is expected: choose another --output", code="path-is-directory"
            )
        for parent in target.relative_to(folder).parents:
            above = folder / parent
            if above.exists() and (not above.is_dir() or not above.resolve().is_relative_to(inside)):
                raise OutputError(
                    f"{above}: is not a directory inside {folder}: choose another --output", code="not-a-directory"
                )


def write_package(folder: Path, files: Mapping[PurePosixPath, str]) -> None:
    """Write all files to a temporary directory next to ``folder`` and move the files into ``folder``.

    A failure leaves no partial output. Call ``check_folder`` first. Raises OutputError if the directory cannot be
    written.
    """
    try:
        with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
            staging = Path(temporary) / folder.name
            for path, text in files.items():
                target = staging / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8", newline="\n")
            _move(staging, folder, files)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written: {error.strerror or error}", code="unwritable-output"
        ) from error


def _move(staging: Path, folder: Path, files: Mapping[PurePosixPath, str]) -> None:
    if folder.is_dir() and any(folder.iterdir()):
        for path in files:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (staging / path).replace(folder / path)
        return
    if folder.is_dir():
        # Renaming a directory onto an existing empty directory is not supported on every system.
        folder.rmdir()
    staging.rename(folder)
