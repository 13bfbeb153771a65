"""Checks whether a stage or metric can run on this machine, without importing its code."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from retalkit.plugins.specs import incompatible_api
from retalkit.weights.describe import missing_weights
from retalkit.weights.store import WeightStore

if TYPE_CHECKING:
    from retalkit.plugins.registry import (
        FoundCommand,
        FoundDriver,
        FoundFinisher,
        FoundMetric,
        FoundRecogniser,
        FoundStage,
    )
    from retalkit.plugins.specs import StageConfig


def availability(found: FoundStage) -> str | None:
    """Return a phrase that explains why the stage cannot run on this machine, or None if the stage can run."""
    if (reason := incompatible_api(found.spec.kind, found.spec.api) or missing_packages(found)) is not None:
        return reason
    return _lacks_weights(found.spec.checkpoints)


def missing_packages(found: FoundStage) -> str | None:
    """Return a phrase that lists the stage's missing Python packages and their installation command, or None."""
    return _lacks_packages(found.spec.requires, found.spec.install)


def missing_driver_packages(found: FoundDriver | FoundFinisher) -> str | None:
    """Return a phrase that lists the missing packages of a driver or finisher and their installation command, or
    None."""
    return _lacks_packages(found.spec.requires, found.spec.install)


def missing_command_packages(found: FoundCommand) -> str | None:
    """Return a phrase that lists the command's missing Python packages and their installation command, or None."""
    return _lacks_packages(found.spec.requires, found.spec.install)


def missing_option_packages(config: StageConfig) -> str | None:
    """Return a phrase that lists the missing Python packages that ``config`` requires, or None if all packages can be
    imported."""
    packages = config.packages()
    missing = [name for name in packages if not _importable(name)]
    return _lacks_packages(missing, packages[missing[0]]) if missing else None


def metric_availability(found: FoundMetric) -> str | None:
    """Return a phrase that explains why the metric cannot be computed on this machine, or None if the metric can be
    computed."""
    spec = found.spec
    if (reason := _lacks_packages(spec.requires, spec.install)) is not None:
        return reason
    return _lacks_weights(spec.checkpoints)


def recogniser_availability(found: FoundRecogniser) -> str | None:
    """Return a phrase that explains why the face recogniser cannot run on this machine, or None if it can run."""
    spec = found.spec
    return _lacks_packages(spec.requires, spec.install) or _lacks_weights(spec.checkpoints)


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
    # Only the top-level package is looked up, because looking up a submodule would import its parent packages.
    try:
        return find_spec(name.partition(".")[0]) is not None
    except ValueError:
        return False
