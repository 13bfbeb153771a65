"""What keeps a stage or metric from running here, and what tells one state of its code from another. Imports nothing of
it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from retalkit.plugins.specs import incompatible_api
from retalkit.weights.describe import missing_weights
from retalkit.weights.store import WeightStore

if TYPE_CHECKING:
    from retalkit.plugins.registry import FoundDriver, FoundFinisher, FoundMetric, FoundStage


def availability(found: FoundStage) -> str | None:
    """Why the stage cannot run on this machine, in one phrase, or None. Imports nothing."""
    if (reason := incompatible_api(found.spec.kind, found.spec.api) or missing_packages(found)) is not None:
        return reason
    store = WeightStore()
    absent = [name for name in found.spec.checkpoints if store.path(name) is None]
    if absent:
        return missing_weights(absent)
    return None


def missing_packages(found: FoundStage) -> str | None:
    """Which Python packages the stage lacks here, in one phrase with the way to get them, or None."""
    return _lacks_packages(found.spec.requires, found.spec.install)


def missing_driver_packages(found: FoundDriver | FoundFinisher) -> str | None:
    """Return which Python packages a driver or finisher lacks, in one phrase with the command that installs them."""
    return _lacks_packages(found.spec.requires, found.spec.install)


def missing_of_metric(found: FoundMetric) -> str | None:
    """Why the metric cannot be measured on this machine, in one phrase, or None. Imports nothing."""
    spec = found.spec
    if (reason := _lacks_packages(spec.requires, spec.install)) is not None:
        return reason
    store = WeightStore()
    absent = [name for name in spec.checkpoints if store.path(name) is None]
    if absent:
        return missing_weights(absent)
    return None


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
