"""Removal of the server's paths from texts that users see, and conversion of results to valid JSON."""

from __future__ import annotations

import math
import re
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Final

_FILE_URL: Final = re.compile(r"\bfile:/+")
_PATH: Final = re.compile(r"(?<![\w/.<])/(?!/)(?:[^\s/:'\"<>|]+/)+")
"""Absolute path up to the last slash. Relative paths and URLs are not matched."""


def scrub(text: str, folder: Path | None = None) -> str:
    """Return the text with file names in place of absolute paths. ``folder``: directory of the session."""
    text = _FILE_URL.sub("/", text)
    if folder is not None:
        text = scrub_session(text, folder)
    for known in _known_folders():
        # These directories may contain spaces, which end a path in a message otherwise.
        text = text.replace(f"{known}/", "/-/") if known in text else text
    return _PATH.sub("", text)


def scrub_session(text: str, folder: Path) -> str:
    """Return the text, which may be HTML with images, without the paths of the session."""
    root = re.escape(str(folder))
    text = re.sub(rf"{root}/files/[a-z0-9]+/|{root}/jobs/[a-z0-9]+/|{root}/(?:cache/)?", "", text)
    return text.replace(str(folder), "session").replace(str(folder.parent), "sessions")


def scrub_all(value: Any, folder: Path) -> Any:
    """Return plain data in which every string is scrubbed."""
    if isinstance(value, dict):
        return {scrub_all(key, folder): scrub_all(item, folder) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrub_all(item, folder) for item in value]
    return scrub(value, folder) if isinstance(value, str) else value


def valid_json(value: Any) -> Any:
    """Return plain data that every JSON parser and UTF-8 accept.

    Infinite values and NaN become None, unpaired surrogates become question marks, and other objects become strings.
    """
    if isinstance(value, dict):
        return {valid_json(str(key)): valid_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [valid_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    return str(value).encode("utf-8", "replace").decode("utf-8")


@cache
def _known_folders() -> tuple[str, ...]:
    folders = {str(Path.home()), str(Path.cwd()), sys.prefix, sys.base_prefix, tempfile.gettempdir()}
    return tuple(sorted((each for each in folders if len(each) > 1), key=len, reverse=True))
