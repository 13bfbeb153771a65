"""Which plugins are installed, and what they offer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import pluggy

from retalkit.errors import PluginError
from retalkit.plugins.hooks import GROUP, Hooks
from retalkit.plugins.loading import Attempt, attempt, load_file
from retalkit.plugins.metric_specs import MetricSpec
from retalkit.plugins.registry import (
    FoundDriver,
    FoundFinisher,
    FoundMetric,
    FoundStage,
    PluginProblem,
    Registry,
    nearest,
)
from retalkit.plugins.specs import DriverSpec, FinisherSpec, StageSpec
from retalkit.plugins.validation import checkpoint_fault, driver_fault, finisher_fault, metric_fault, stage_fault
from retalkit.stages import StageKind
from retalkit.weights.checkpoint import Checkpoint


def discover(extra_files: Sequence[Path] = ()) -> Registry:
    """Loads every installed plugin and asks it for its stages; one that fails is reported in ``problems``.

    ``extra_files`` are plugin modules outside any package, each a single file. Since somebody named them, one that
    cannot be used raises PluginError.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    registry = Registry()
    for entry_point in sorted(metadata.entry_points(group=GROUP), key=lambda point: (_package(point), point.name)):
        owner = _Owner(_package(entry_point), _version(entry_point), entry_point.name)
        loaded = attempt(entry_point.load)
        if loaded.failure is None:
            _register(manager, loaded, owner, registry)
        else:
            registry.problems.append(PluginProblem(owner.label, f"could not be imported: {loaded.reason}"))
    for path in {path.resolve(): path for path in extra_files}.values():
        before = len(registry.problems)
        _register(manager, load_file(path), _Owner(str(path), _digest(path), path.stem), registry)
        if broken := [problem for problem in registry.problems[before:] if not problem.usable]:
            raise PluginError(f"{path}: {broken[-1].reason}")
    order = list(StageKind)
    registry.checkpoints.sort(key=lambda checkpoint: checkpoint.name)
    registry.stages.sort(key=lambda found: (order.index(found.spec.kind), found.spec.name, found.package))
    return registry


@dataclass(frozen=True, slots=True)
class _Owner:
    package: str
    version: str
    entry_point: str

    @property
    def label(self) -> str:
        return f"{self.package} ({self.entry_point})"


def _register(manager: pluggy.PluginManager, loaded: Attempt[Any], owner: _Owner, registry: Registry) -> None:
    """Asks a plugin that could be imported, and takes what can be used."""
    plugin = loaded.result

    def report(reason: str, *, usable: bool = False) -> None:
        registry.problems.append(PluginProblem(owner.label, reason, usable))

    if twin := next((name for name, other in manager.list_name_plugin() if other is plugin), None):
        report(f"names the same module as {twin}: it is asked once", usable=True)
        return
    asked = attempt(partial(_answers, manager, plugin, owner.label))
    registry.import_seconds[owner.label] = loaded.seconds + asked.seconds
    if asked.result is None:
        report(f"could not say what it offers: {asked.reason}")
        return
    if printed := loaded.printed or asked.printed:
        report(f"prints while it is imported or asked what it offers: '{printed}'", usable=True)
    known = [name for name in vars(Hooks) if not name.startswith("_")]
    if not asked.result:
        report("offers nothing: it has no function marked with retalkit.plugins.hookimpl")
    for hook, answer in asked.result.items():
        if hook not in known:
            report(f"implements '{hook}', which is no hook of this version{nearest(hook, known)}")
        elif answer is None:
            report(f"returns None from '{hook}', where a list is expected")
    _take({hook: answer for hook, answer in asked.result.items() if answer is not None}, owner, registry, report)


def _answers(manager: pluggy.PluginManager, plugin: object, name: str) -> dict[str, list[object] | None]:
    """Every function of a plugin that is marked as a hook -> what it answers; None where it answers nothing, or where
    this version has no such hook."""
    manager.register(plugin, name=name)
    others = [other for other in manager.get_plugins() if other is not plugin]
    answers: dict[str, list[object] | None] = {}
    for hook in [name for name in dir(plugin) if hasattr(getattr(plugin, name, None), f"{GROUP}_impl")]:
        given = manager.subset_hook_caller(hook, others)() if hasattr(Hooks, hook) else []
        answers[hook] = list(given[0]) if given else None
    return answers


def _take(
    offered: Mapping[str, list[object]], owner: _Owner, registry: Registry, report: Callable[[str], None]
) -> None:
    """Puts into the registry what has no fault."""
    for spec in offered.get("retalkit_stages", ()):
        if (reason := stage_fault(spec)) is not None:
            report(reason)
            continue
        found = FoundStage(cast(StageSpec, spec), owner.package, owner.version, owner.entry_point)
        if any(f.package == owner.package for f in registry.offers(found.spec.kind, found.spec.name)):
            report(f"offers {found.label} twice; only the first is listed")
        else:
            registry.stages.append(found)
    for driver in offered.get("retalkit_drivers", ()):
        if (reason := driver_fault(driver, registry)) is not None:
            report(reason)
        else:
            registry.drivers.append(FoundDriver(cast(DriverSpec, driver), owner.package, owner.version))
    for finisher in offered.get("retalkit_finishers", ()):
        if (reason := finisher_fault(finisher, registry)) is not None:
            report(reason)
        else:
            registry.finishers.append(FoundFinisher(cast(FinisherSpec, finisher), owner.package, owner.version))
    for checkpoint in offered.get("retalkit_checkpoints", ()):
        if (reason := checkpoint_fault(checkpoint, registry)) is not None:
            report(reason)
        else:
            registry.checkpoints.append(cast(Checkpoint, checkpoint))
    for metric in offered.get("retalkit_metrics", ()):
        if (reason := metric_fault(metric, registry)) is not None:
            report(reason)
        else:
            registry.metrics.append(FoundMetric(cast(MetricSpec, metric), owner.package, owner.version))


def _digest(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def _package(entry_point: metadata.EntryPoint) -> str:
    return entry_point.dist.name if entry_point.dist is not None else entry_point.module


def _version(entry_point: metadata.EntryPoint) -> str:
    return entry_point.dist.version if entry_point.dist is not None else "?"
