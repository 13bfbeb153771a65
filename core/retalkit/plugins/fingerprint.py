"""Source code hashes for plugins that are installed in editable mode."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from retalkit.plugins.registry import FoundDriver, FoundMetric, FoundRecogniser, FoundStage


def editable_sources(found: FoundStage | FoundDriver | FoundMetric | FoundRecogniser) -> str:
    """Return a hash of the plugin package's Python files, or an empty string if the package is not an editable install.

    During development with ``pip install -e`` the plugin's code can change while its version does not. The hash ensures
    that cached results of outdated code are not used.
    """
    build = found.spec.build
    module = build.partition(":")[0] if isinstance(build, str) else build.__module__
    return sources_hash(found.package, module.partition(".")[0])


@cache
def library_version(package: str) -> str | None:
    """Return the version of an installed package, or None if the package is not installed.

    The result is stored, because ``importlib.metadata`` parses the package's description for every call.
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@cache
def sources_hash(package: str, module: str) -> str:
    """Return a hash of the module's Python files, or an empty string if the package is not an editable install."""
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
