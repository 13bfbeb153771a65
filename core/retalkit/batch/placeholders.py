"""Placeholders in the paths of a job list, such as ``{video.stem}_{language}.mp4``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from retalkit.errors import BatchError
from retalkit.plugins.registry import nearest

NAMES: Final = (
    "video.stem",
    "video.name",
    "video.folder",
    "speech.stem",
    "speech.name",
    "speech.folder",
    "cues.stem",
    "cues.name",
    "cues.folder",
    "language",
    "preset",
)
"""All placeholders. ``stem`` is the file name without suffix, ``folder`` is the name of the file's directory."""
_PLACEHOLDER: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def path_values(name: str, path: Path) -> dict[str, str]:
    """Return the values of the placeholders of one file. ``name``: ``video``, ``speech`` or ``cues``."""
    return {f"{name}.stem": path.stem, f"{name}.name": path.name, f"{name}.folder": path.absolute().parent.name}


def fill(template: str, values: Mapping[str, str], origin: str, key: str) -> str:
    """Return the template with values instead of placeholders. ``{{`` and ``}}`` stand for single braces.

    Raises BatchError if a placeholder is unknown, or if the job has no value for it.
    """

    def value(match: re.Match[str]) -> str:
        text, name = match[0], match[1]
        if text in ("{{", "}}"):
            return text[0]
        if name is None:
            raise BatchError(
                f"{origin}: {key}: single '{text}' in '{template}'; write '{text * 2}' for a brace",
                code="invalid-placeholder",
            )
        if name not in NAMES:
            hint = nearest(name, NAMES) or f"; available: {', '.join(NAMES)}"
            raise BatchError(f"{origin}: {key}: unknown placeholder '{{{name}}}'{hint}", code="unknown-placeholder")
        if not values.get(name):
            raise BatchError(
                f"{origin}: {key}: the job has no {name.partition('.')[0]}, which '{{{name}}}' requires",
                code="missing-value",
            )
        return values[name]

    return _PLACEHOLDER.sub(value, template)


def fixed_folder(template: str) -> Path:
    """Return the directory of a template before the first placeholder."""
    folder = Path()
    for part in Path(template).parts[:-1]:
        if _PLACEHOLDER.search(part):
            break
        folder /= part
    return folder
