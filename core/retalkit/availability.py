"""What keeps a stage or metric from running here, and what tells one state of its code from another. Imports nothing of
it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from retalkit.stages import API_VERSION
from retalkit.weights.store import WeightStore

if TYPE_CHECKING:
    from retalkit.discovery import FoundMetric, FoundStage


def availability(found: FoundStage) -> str | None:
    """Why the stage cannot run on this machine, in one phrase, or None. Imports nothing."""
    if (reason := foreign_api(found) or missing_packages(found)) is not None:
        return reason
    store = WeightStore()
    absent = [name for name in found.spec.checkpoints if store.path(name) is None]
    if absent:
        return f"needs the weights {', '.join(absent)}: see `retalkit weights list`"
    return None


def missing_packages(found: FoundStage) -> str | None:
    """Which Python packages the stage lacks here, in one phrase with the way to get them, or None."""
    return _lacks_packages(found.spec.requires, found.spec.install)


def editable_sources(found: FoundStage | FoundMetric) -> str:
    """Hash of the Python files of a stage's or metric's package where it is installed editable (``pip install -e``).
    Else empty.

    Who works on a plugin changes its code and not its version: what the code gave before must not be taken for what it
    gives now.
    """
    build = found.spec.build
    module = build.partition(":")[0] if isinstance(build, str) else build.__module__
    return sources_hash(found.package, module.partition(".")[0])


@cache
def sources_hash(package: str, module: str) -> str:
    """Hash of the Python files of a module, where its package is installed editable. Else empty."""
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


def foreign_api(found: FoundStage) -> str | None:
    """Why the stage does not fit this version's contracts, or None."""
    if found.spec.api == API_VERSION:
        return None
    return foreign(found.spec.api)


def missing_of_metric(found: FoundMetric) -> str | None:
    """Why the metric cannot be measured on this machine, in one phrase, or None. Imports nothing."""
    spec = found.spec
    if (reason := _lacks_packages(spec.requires, spec.install)) is not None:
        return reason
    store = WeightStore()
    absent = [name for name in spec.checkpoints if store.path(name) is None]
    if absent:
        return f"needs the weights {', '.join(absent)}: `retalkit weights pull {' '.join(absent)}` gets them"
    return None


def foreign(api: int) -> str:
    """How something that was made for contracts of version ``api`` is told to be no match."""
    return f"made for version {api} of the stage contracts, this Retalkit has version {API_VERSION}"


def _lacks_packages(requires: Sequence[str], install: str) -> str | None:
    missing = [name for name in requires if not _importable(name)]
    if not missing:
        return None
    how = f" (pip install '{install}')" if install else ""
    return f"needs the Python package{'s' if len(missing) > 1 else ''} {', '.join(missing)}{how}"


def _importable(name: str) -> bool:
    # Only the top package is looked up: to look further Python would have to import it.
    try:
        return find_spec(name.partition(".")[0]) is not None
    except ValueError:
        return False
