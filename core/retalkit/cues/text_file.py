"""Text of a cue sheet."""

from __future__ import annotations

from pathlib import Path

from retalkit.errors import CueError
from retalkit.paths import missing


def read_text(path: Path) -> str:
    """Return the content of a UTF-8 file without its byte-order mark. Raises CueError if the file is unreadable."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        code = "file-not-found" if isinstance(error, FileNotFoundError) else "unreadable-file"
        problem = f"cannot read the file: {error.strerror or error}"
        message = missing(path, problem) if code == "file-not-found" else f"{path}: {problem}"
        raise CueError(message, code=code) from error
    except UnicodeDecodeError as error:
        raise CueError(
            f"{path}: not a UTF-8 file; save the file with UTF-8 encoding", code="unreadable-file"
        ) from error
    if "\0" in text:
        raise CueError(f"{path}: the file contains NUL characters; save the file as UTF-8 text", code="unreadable-file")
    return text
