"""Checks whether a stage or metric can run on this machine. They import nothing of it."""

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
    """Return why the stage cannot run on this machine, as one phrase, or None."""
    if (reason := incompatible_api(found.spec.kind, found.spec.api) or missing_packages(found)) is not None:
        return reason
    return _lacks_weights(found.spec.checkpoints)


def missing_packages(found: FoundStage) -> str | None:
    """Return which Python packages the stage lacks, as one phrase with the command that installs them, or None."""
    return _lacks_packages(found.spec.requires, found.spec.install)


def missing_driver_packages(found: FoundDriver | FoundFinisher) -> str | None:
    """Return which Python packages a driver or finisher lacks, as one phrase with the command that installs them."""
    return _lacks_packages(found.spec.requires, found.spec.install)


def metric_availability(found: FoundMetric) -> str | None:
    """Return why the metric cannot be measured on this machine, as one phrase, or None."""
    spec = found.spec
    if (reason := _lacks_packages(spec.requires, spec.install)) is not None:
        return reason
    return _lacks_weights(spec.checkpoints)


def _lacks_weights(checkpoints: Sequence[str]) -> str | None:
    store = WeightStore()
    absent = [name for name in checkpoints if store.path(name) is None]
    return missing_weights(absent) if absent else None


def _lacks_packages(requires: Sequence[str], install: str) -> str | None:
    missing = [name for name in requires if not _importable(name)]
    if not missing:
        return None
    how = f" (pip install '{install}')" if install else ""
    return f"needs the Python package{'s' if len(missing) > 1 else ''} {', '.join(missing)}{how}"


def _importable(name: str) -> bool:
    # Only the top-level package is looked up. Looking up a submodule would import its parents.
    try:
        return find_spec(name.partition(".")[0]) is not None
    except ValueError:
        return False
