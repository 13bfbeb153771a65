"""Facts of a run for the manifest: the part of the run record that contains no private path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import urlsplit, urlunsplit

_COPIED: Final = (
    "configuration",
    "digital_source_type",
    "edits",
    "frames_edited",
    "frames_passed",
    "output_seconds",
    "seed",
    "versions",
    "weights",
)
"""Fields of the run record that the manifest contains. All other fields contain paths, notes or timings."""
_TEXTS: Final = frozenset({("configuration", "label", "text")})
"""Free texts, which may contain a slash and are not paths."""


def public_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a run record that may be published with the video.

    Paths are replaced with file names. The inputs are identified by their SHA-256 hashes.
    """
    facts = {name: record[name] for name in _COPIED if record.get(name) not in (None, "", {}, [])}
    inputs = cast("Mapping[str, Any]", record.get("inputs", {}))
    hashes = {name: value for name, value in inputs.items() if name.endswith("_sha256")}
    return {**cast("dict[str, Any]", _without_paths(facts, ())), "inputs": hashes}


def _without_paths(value: Any, place: tuple[str, ...]) -> Any:
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {without_path(str(name)): _without_paths(item, (*place, str(name))) for name, item in items}
    if isinstance(value, list | tuple):
        return [_without_paths(item, place) for item in cast("list[Any]", value)]
    if isinstance(value, str):
        return value if place in _TEXTS else without_path(value)
    return value


def without_path(text: str) -> str:
    """Return the last component of a path, a URL without user name, password and query, or any other text unchanged."""
    if text.startswith(("http://", "https://")):
        parts = urlsplit(text)
        host = parts.hostname or ""
        return urlunsplit((parts.scheme, f"{host}:{parts.port}" if parts.port else host, parts.path, "", ""))
    return text.replace("\\", "/").rstrip("/").rpartition("/")[2]
