"""File formats of Content Credentials: media types, and which formats contain a manifest or need a sidecar file."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Final

from retalkit.paths import is_file

EMBEDDED: Final = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime"}
"""Media types of the output formats whose files contain the manifest."""
SIDECAR_SUFFIX: Final = ".c2pa"
SIDECAR_TYPE: Final = "application/c2pa"
_TYPES: Final = {**EMBEDDED, ".mkv": "video/x-matroska", ".wav": "audio/wav", ".m4a": "audio/mp4"}
_UNKNOWN: Final = "application/octet-stream"


def media_type(path: Path) -> str:
    """Return the media type of a file, according to its suffix."""
    suffix = path.suffix.lower()
    return _TYPES.get(suffix) or mimetypes.types_map.get(suffix, _UNKNOWN)


def sidecar_path(output: Path) -> Path | None:
    """Return the path of the sidecar file that contains an output's manifest, or None if the output contains it."""
    return None if output.suffix.lower() in EMBEDDED else output.with_suffix(SIDECAR_SUFFIX)


def find_sidecar(path: Path) -> Path | None:
    """Return the existing sidecar file of a media file, or None if there is no sidecar file."""
    candidates = (path.with_suffix(SIDECAR_SUFFIX), path.with_name(path.name + SIDECAR_SUFFIX))
    return next((file for file in candidates if file != path and is_file(file)), None)
