"""Discovery of installed plugins and plugin files."""

from __future__ import annotations

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
    FoundCommand,
    FoundDriver,
    FoundFinisher,
    FoundMetric,
    FoundRecogniser,
    FoundStage,
    PluginProblem,
    Registry,
    nearest,
)
from retalkit.plugins.specs import CommandSpec, DriverSpec, FinisherSpec, RecogniserSpec, StageSpec
from retalkit.plugins.validation import (
    checkpoint_error,
    command_spec_error,
    driver_spec_error,
    finisher_spec_error,
    metric_spec_error,
    recogniser_spec_error,
    stage_spec_error,
)
from retalkit.stages import StageKind
from retalkit.storage.cache import content_hash
from retalkit.weights.checkpoint import Checkpoint


def discover(extra_files: Sequence[Path] = ()) -> Registry:
    """Import all installed plugins and return a registry of their specs. Failures are reported in
    ``Registry.problems``.

    ``extra_files`` are single-file plugin modules that do not belong to a package. Raises PluginError if one of these
    files is invalid, because the user requested the file explicitly.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    registry = Registry()
    owners = [(_owner(entry_point), entry_point) for entry_point in metadata.entry_points(group=GROUP)]
    for owner, entry_point in sorted(owners, key=lambda each: (each[0].package, each[0].entry_point)):
        loaded = attempt(entry_point.load)
        if loaded.failure is None:
            _register(manager, loaded, owner, registry)
        else:
            registry.problems.append(PluginProblem(owner.label, f"could not be imported: {loaded.reason}"))
    for path in {path.resolve(): path for path in extra_files}.values():
        before = len(registry.problems)
        _register(manager, load_file(path), _Owner(str(path), _digest(path), path.stem), registry)
        if broken := [problem for problem in registry.problems[before:] if not problem.usable]:
            raise PluginError(f"{path}: {broken[-1].reason}", code="invalid-plugin")
    registry.commands.sort(key=lambda found: found.spec.name)
    order = list(StageKind)
    registry.recognisers.sort(key=lambda found: (-found.spec.rank, found.spec.name))
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
    """Call the hooks of an imported plugin and register all valid specs."""
    plugin = loaded.result

    def report(reason: str, *, usable: bool = False) -> None:
        registry.problems.append(PluginProblem(owner.label, reason, usable))

    if twin := next((name for name, other in manager.list_name_plugin() if other is plugin), None):
        report(f"refers to the same module as {twin}; the module is registered once", usable=True)
        return
    called = attempt(partial(_call_hooks, manager, plugin, owner.label))
    registry.import_seconds[owner.label] = loaded.seconds + called.seconds
    if called.result is None:
        report(f"a hook failed: {called.reason}")
        return
    if printed := loaded.printed or called.printed:
        report(f"prints during import or in its hooks: '{printed}'", usable=True)
    known = [name for name in vars(Hooks) if not name.startswith("_")]
    if not called.result:
        report("offers nothing because no function is decorated with retalkit.plugins.hookimpl")
    for hook, answer in called.result.items():
        if hook not in known:
            report(f"implements the unknown hook '{hook}'{nearest(hook, known)}")
        elif answer is None:
            report(f"{hook} returned None, expected a list")
    _add_specs({hook: answer for hook, answer in called.result.items() if answer is not None}, owner, registry, report)


def _call_hooks(manager: pluggy.PluginManager, plugin: object, name: str) -> dict[str, list[object] | None]:
    """Return a mapping from hook name to the hook's result, which is None for unknown hooks and hooks that return
    None."""
    manager.register(plugin, name=name)
    others = [other for other in manager.get_plugins() if other is not plugin]
    answers: dict[str, list[object] | None] = {}
    for hook in [name for name in dir(plugin) if hasattr(getattr(plugin, name, None), f"{GROUP}_impl")]:
        given = manager.subset_hook_caller(hook, others)() if hasattr(Hooks, hook) else []
        answers[hook] = list(given[0]) if given else None
    return answers


def _add_specs(
    offered: Mapping[str, list[object]], owner: _Owner, registry: Registry, report: Callable[[str], None]
) -> None:
    """Add all valid specs to the registry and report the invalid specs."""
    for spec in offered.get("retalkit_stages", ()):
        if (reason := stage_spec_error(spec)) is not None:
            report(reason)
            continue
        found = FoundStage(cast(StageSpec, spec), owner.package, owner.version, owner.entry_point)
        if any(f.package == owner.package for f in registry.candidates(found.spec.kind, found.spec.name)):
            report(f"offers {found.label} twice; only the first is listed")
        else:
            registry.stages.append(found)
    for driver in offered.get("retalkit_drivers", ()):
        if (reason := driver_spec_error(driver, registry)) is not None:
            report(reason)
        else:
            registry.drivers.append(FoundDriver(cast(DriverSpec, driver), owner.package, owner.version))
    for recogniser in offered.get("retalkit_recognisers", ()):
        if (reason := recogniser_spec_error(recogniser, registry)) is not None:
            report(reason)
        else:
            registry.recognisers.append(FoundRecogniser(cast(RecogniserSpec, recogniser), owner.package, owner.version))
    for finisher in offered.get("retalkit_finishers", ()):
        if (reason := finisher_spec_error(finisher, registry)) is not None:
            report(reason)
        else:
            registry.finishers.append(FoundFinisher(cast(FinisherSpec, finisher), owner.package, owner.version))
    for command in offered.get("retalkit_commands", ()):
        if (reason := command_spec_error(command, registry)) is not None:
            report(reason)
        else:
            registry.commands.append(FoundCommand(cast(CommandSpec, command), owner.package, owner.version))
    for checkpoint in offered.get("retalkit_checkpoints", ()):
        if (reason := checkpoint_error(checkpoint, registry)) is not None:
            report(reason)
        else:
            registry.checkpoints.append(cast(Checkpoint, checkpoint))
    for metric in offered.get("retalkit_metrics", ()):
        if (reason := metric_spec_error(metric, registry)) is not None:
            report(reason)
        else:
            registry.metrics.append(FoundMetric(cast(MetricSpec, metric), owner.package, owner.version))


def _digest(path: Path) -> str:
    return f"sha256:{content_hash(path)[:12]}"


def _owner(entry_point: metadata.EntryPoint) -> _Owner:
    distribution = entry_point.dist
    if distribution is None:
        return _Owner(entry_point.module, "?", entry_point.name)
    fields = distribution.metadata
    return _Owner(fields["Name"], fields["Version"], entry_point.name)
