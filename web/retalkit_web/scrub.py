"""Removal of the server's paths from texts that users see."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

_PATH: Final = re.compile(r"(?<![\w:/.<])/(?:[^\s/:'\"<>|]+/)+")
"""Absolute path up to the last slash. Relative paths and URLs are not matched."""


def scrub(text: str, folder: Path) -> str:
    """Return the text with file names in place of absolute paths. ``folder``: directory of the session."""
    root = re.escape(str(folder))
    text = re.sub(rf"{root}/files/[a-z0-9]+/|{root}/jobs/[a-z0-9]+/|{root}/(?:cache/)?", "", text)
    return _PATH.sub("", text)


def scrub_all(value: Any, folder: Path) -> Any:
    """Return plain data in which every string is scrubbed."""
    if isinstance(value, dict):
        return {key: scrub_all(item, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [scrub_all(item, folder) for item in value]
    return scrub(value, folder) if isinstance(value, str) else value
