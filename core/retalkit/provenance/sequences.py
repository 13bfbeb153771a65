"""Image sequences: a list of the images' hashes, which the signature in a sidecar file covers."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from retalkit.storage.cache import content_hash

HASH_LIST: Final = "SHA256SUMS"
"""Name of the list in the directory of the images, in the format of the program ``sha256sum``."""
MANIFEST: Final = f"{HASH_LIST}.c2pa"


def write_hash_list(folder: Path) -> Path:
    """Write the list of all files in a directory and return its path."""
    path = folder / HASH_LIST
    path.write_text("".join(f"{value}  {name}\n" for name, value in _hashes(folder).items()), encoding="utf-8")
    return path


def changed_files(folder: Path) -> list[str]:
    """Return the names of the files that were changed, added or removed since the list was written."""
    lines = (folder / HASH_LIST).read_text(encoding="utf-8").splitlines()
    listed = {name: value for value, _, name in (line.partition("  ") for line in lines)}
    found = _hashes(folder)
    return sorted(name for name in listed | found if listed.get(name) != found.get(name))


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.iterdir() if path.name not in (HASH_LIST, MANIFEST))
    return {path.name: content_hash(path) if path.is_file() else "" for path in files}
