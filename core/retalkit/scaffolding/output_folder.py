"""Atomic writing of rendered files to a directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from retalkit.errors import OutputError


def check_folder(folder: Path, files: Mapping[PurePosixPath, str], *, replace: bool) -> None:
    """Raise OutputError if writing ``files`` to ``folder`` would overwrite existing files.

    If ``replace`` is set, files listed in ``files`` may be overwritten.
    """
    if not folder.parent.is_dir():
        raise OutputError(
            f"{folder}: parent directory {folder.parent} not found: create it, or choose a different directory "
            "with --output",
            code="directory-not-found",
        )
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise OutputError(
            f"{folder}: exists but is not a directory: choose a different directory with --output",
            code="not-a-directory",
        )
    if not replace:
        if any(folder.iterdir()):
            raise OutputError(
                f"{folder}: directory already exists: choose a different directory with --output, or pass --force to "
                "replace the files of an earlier call",
                code="output-exists",
            )
        return
    inside = folder.resolve()
    for path in files:
        target = folder / path
        if target.is_dir() and not target.is_symlink():
            raise OutputError(
                f"{target}: expected a file, but found a directory: choose a different directory with --output",
                code="path-is-directory",
            )
        for parent in target.relative_to(folder).parents:
            above = folder / parent
            if above.exists() and (not above.is_dir() or not above.resolve().is_relative_to(inside)):
                raise OutputError(
                    f"{above}: expected a directory inside {folder}: choose a different directory with --output",
                    code="not-a-directory",
                )


def write_package(folder: Path, files: Mapping[PurePosixPath, str]) -> None:
    """Write all files to a temporary directory next to ``folder`` and move them to ``folder``.

    An error leaves no partial output. ``check_folder`` must be called first. Raises OutputError if the directory cannot
    be written.
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
            f"{folder}: cannot write the package: {error.strerror or error}: choose a different directory with "
            "--output",
            code="unwritable-output",
        ) from error


def _move(staging: Path, folder: Path, files: Mapping[PurePosixPath, str]) -> None:
    if folder.is_dir() and any(folder.iterdir()):
        for path in files:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (staging / path).replace(folder / path)
        return
    if folder.is_dir():
        # Some systems cannot rename a directory to the name of an existing empty directory.
        folder.rmdir()
    staging.rename(folder)
