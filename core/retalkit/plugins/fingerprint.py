"""Hash of the source code of plugins that are installed editable."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from retalkit.plugins.registry import FoundDriver, FoundMetric, FoundStage


def editable_sources(found: FoundStage | FoundDriver | FoundMetric) -> str:
    """Return a hash of the Python files of the plugin's package if it is installed editable (``pip install -e``), else
    an empty string.

    During development the code of a plugin changes without its version, and cached results of older code must not be
    used.
    """
    build = found.spec.build
    module = build.partition(":")[0] if isinstance(build, str) else build.__module__
    return sources_hash(found.package, module.partition(".")[0])


@cache
def sources_hash(package: str, module: str) -> str:
    """Return a hash of the Python files of a module if its package is installed editable, else an empty string."""
    try:
        origin = metadata.distribution(package).read_text("direct_url.json")
        spec = find_spec(module)
    except (metadata.PackageNotFoundError, ValueError):
        return ""
    if origin is None or spec is None or not json.loads(origin).get("dir_info", {}).get("editable"):
        return ""
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = sorted(file for folder in folders for file in folder.rglob("*.py")) or [Path(spec.origin or "")]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
