"""Puts rendered files into a folder: all of them or none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from retalkit.errors import OutputError


def check_folder(folder: Path, files: Mapping[PurePosixPath, str], *, replace: bool) -> None:
    """Raises OutputError where the files cannot go into ``folder`` without losing something that is there.

    ``replace`` allows to replace files of the same names, and nothing else.
    """
    if not folder.parent.is_dir():
        raise OutputError(f"{folder}: the folder {folder.parent} is not there: make it first, or name another --output")
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder}: is there and is no folder: name another one with --output")
    if not replace:
        if any(folder.iterdir()):
            raise OutputError(
                f"{folder}: is there already: name another folder with --output, or replace what this command wrote "
                "with --force"
            )
        return
    inside = folder.resolve()
    for path in files:
        target = folder / path
        if target.is_dir() and not target.is_symlink():
            raise OutputError(f"{target}: is a folder where a file would be written: name another --output")
        for parent in target.relative_to(folder).parents:
            above = folder / parent
            if above.exists() and (not above.is_dir() or not above.resolve().is_relative_to(inside)):
                raise OutputError(f"{above}: is no folder inside {folder}: name another --output")


def write(folder: Path, files: Mapping[PurePosixPath, str]) -> None:
    """Writes all files beside ``folder`` first and moves them then, so that a failure leaves nothing half made.

    ``check_folder`` was called. Raises OutputError where the folder cannot be written.
    """
    try:
        with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
            made = Path(temporary) / folder.name
            for path, text in files.items():
                target = made / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8", newline="\n")
            _move(made, folder, files)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}") from error


def _move(made: Path, folder: Path, files: Mapping[PurePosixPath, str]) -> None:
    if folder.is_dir() and any(folder.iterdir()):
        for path in files:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).replace(folder / path)
        return
    if folder.is_dir():
        # Not every system renames onto an empty folder.
        folder.rmdir()
    made.rename(folder)
