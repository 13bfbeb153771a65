"""Which plugins are installed, and what they offer."""

from __future__ import annotations

import difflib
import hashlib
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import cast

import pluggy

from retalkit.availability import foreign, foreign_api
from retalkit.errors import ConfigError, PluginError
from retalkit.metrics import PORTS, MetricSpec
from retalkit.plugins import GROUP, DriverSpec, Hooks, StageConfig, StageSpec
from retalkit.stages import API_VERSION, StageKind
from retalkit.weights.declarations import Checkpoint
from retalkit.weights.store import LOCK, NAME_RULE, usable_name


@dataclass(frozen=True, slots=True)
class FoundStage:
    """A stage that a plugin offers, and who offers it."""

    spec: StageSpec
    package: str
    """Distribution that holds the plugin, or the path of a plugin file."""
    package_version: str
    """For a plugin file the beginning of its SHA-256, since that is what changes with it."""
    entry_point: str

    @property
    def label(self) -> str:
        """How messages call it, for instance ``lip_syncer 'exemplar'``."""
        return f"{self.spec.kind.value} '{self.spec.name}'"


@dataclass(frozen=True, slots=True)
class FoundMetric:
    """A metric that a plugin offers, and who offers it."""

    spec: MetricSpec
    package: str
    package_version: str


@dataclass(frozen=True, slots=True)
class PluginProblem:
    """Something of a plugin that cannot be used, with the reason in one line."""

    owner: str
    reason: str


@dataclass(slots=True)
class Registry:
    """All that was found, in the order of stage kinds and then of names."""

    stages: list[FoundStage] = field(default_factory=list[FoundStage])
    problems: list[PluginProblem] = field(default_factory=list[PluginProblem])
    drivers: list[DriverSpec] = field(default_factory=list[DriverSpec])
    """In the order in which they were found; every name once."""
    checkpoints: list[Checkpoint] = field(default_factory=list[Checkpoint])
    """In the order of their names; every name once."""
    metrics: list[FoundMetric] = field(default_factory=list[FoundMetric])
    """In the order in which they were found; every name, and every measure's name, once."""

    def checkpoint(self, name: str) -> Checkpoint:
        """The checkpoint of that name. Raises PluginError if no plugin declares it."""
        names = [checkpoint.name for checkpoint in self.checkpoints]
        if name not in names:
            there = f"; there are: {', '.join(names)}" if names else "; no plugin declares any"
            raise PluginError(f"no checkpoint is named '{name}'{nearest(name, names) or there}")
        return self.checkpoints[names.index(name)]

    def driver(self, name: str) -> DriverSpec:
        """The driver of that name. Raises ConfigError if there is none."""
        names = [spec.name for spec in self.drivers]
        if name not in names:
            there = f"; there are: {', '.join(names)}" if names else "; none is installed"
            raise ConfigError(f"no driver is named '{name}'{nearest(name, names) or there}")
        return self.drivers[names.index(name)]

    def metric(self, name: str) -> FoundMetric:
        """The metric of that name. Raises ConfigError if there is none."""
        names = [found.spec.name for found in self.metrics]
        if name not in names:
            there = f"; there are: {', '.join(names)}" if names else "; none is installed"
            raise ConfigError(f"no metric is named '{name}'{nearest(name, names) or there}")
        return self.metrics[names.index(name)]

    def of_kind(self, kind: StageKind) -> list[FoundStage]:
        """Every stage of one kind, also those that cannot run here."""
        return [found for found in self.stages if found.spec.kind == kind]

    def names(self, kind: StageKind) -> list[str]:
        """What may stand behind ``use:``; a name that two packages offer is written ``PACKAGE:NAME``."""
        offered = self.of_kind(kind)
        plain = [found.spec.name for found in offered]
        return [
            found.spec.name if plain.count(found.spec.name) == 1 else f"{found.package}:{found.spec.name}"
            for found in offered
        ]

    def offers(self, kind: StageKind, use: str) -> list[FoundStage]:
        """Stages that ``use`` may mean: ``NAME`` or ``PACKAGE:NAME``."""
        owner, _, name = use.rpartition(":")
        return [
            found
            for found in self.of_kind(kind)
            if found.spec.name == name and (not owner or _same_package(found.package, owner))
        ]

    def find(self, kind: StageKind, use: str) -> FoundStage:
        """The stage that ``use`` (``NAME`` or ``PACKAGE:NAME``) means.

        Raises ConfigError if there is none (with the nearest name) and PluginError if two packages offer it or if it
        was made for other contracts.
        """
        offered = self.offers(kind, use)
        if not offered:
            raise ConfigError(f"no {kind.value} is named '{use}'{self._instead(kind, use)}")
        if len(offered) > 1:
            owners = " and ".join(found.package for found in offered)
            choice = f"{offered[0].package}:{offered[0].spec.name}"
            raise PluginError(f"{owners} both offer {offered[0].label}: choose one with `use: {choice}`")
        if (reason := foreign_api(offered[0])) is not None:
            raise PluginError(f"{offered[0].label} of {offered[0].package} cannot run: {reason}")
        return offered[0]

    def _instead(self, kind: StageKind, use: str) -> str:
        names = self.names(kind)
        text = nearest(use, names) or (f"; there are: {', '.join(names)}" if names else "; none is installed")
        if self.problems:
            text += f" ({_count(len(self.problems), 'plugin problem')}: see `retalkit plugins`)"
        return text


def discover(extra_files: Sequence[Path] = ()) -> Registry:
    """Loads every installed plugin and asks it for its stages; one that fails is reported in ``problems``.

    ``extra_files`` are plugin modules outside any package. Since somebody named them, one that cannot be read raises
    PluginError.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    known = {name for name in vars(Hooks) if not name.startswith("_")}
    registry = Registry()
    for entry_point in sorted(metadata.entry_points(group=GROUP), key=lambda point: (_package(point), point.name)):
        owner = _Owner(_package(entry_point), _version(entry_point), entry_point.name)
        try:
            plugin = entry_point.load()
        except (Exception, SystemExit) as error:
            registry.problems.append(PluginProblem(owner.label, f"could not be imported: {_one_line(error)}"))
            continue
        _register(manager, plugin, owner, known, registry)
    for path in extra_files:
        before = len(registry.problems)
        plugin = _load_file(path)
        _register(manager, plugin, _Owner(str(path), _digest(path), path.stem), known, registry)
        if len(registry.problems) > before:
            raise PluginError(f"{path}: {registry.problems[-1].reason}")
    order = list(StageKind)
    registry.checkpoints.sort(key=lambda checkpoint: checkpoint.name)
    registry.stages.sort(key=lambda found: (order.index(found.spec.kind), found.spec.name, found.package))
    return registry


def nearest(name: str, names: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the name that looks most like ``name``, or an empty text."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


@dataclass(frozen=True, slots=True)
class _Owner:
    package: str
    version: str
    entry_point: str

    @property
    def label(self) -> str:
        return f"{self.package} ({self.entry_point})"


def _register(
    manager: pluggy.PluginManager, plugin: object, owner: _Owner, known: set[str], registry: Registry
) -> None:
    def report(reason: str) -> None:
        registry.problems.append(PluginProblem(owner.label, reason))

    try:
        manager.register(plugin, name=owner.label)
        offered = _asked(manager, plugin, "retalkit_stages")
        drivers = _asked(manager, plugin, "retalkit_drivers")
        checkpoints = _asked(manager, plugin, "retalkit_checkpoints")
        metrics = _asked(manager, plugin, "retalkit_metrics")
    except (Exception, SystemExit) as error:
        report(f"could not say what it offers: {_one_line(error)}")
        return
    hooks = list(_hooks_of(plugin))
    if not hooks:
        report("offers nothing: it has no function marked with retalkit.plugins.hookimpl")
    for hook in hooks:
        if hook not in known:
            report(f"implements '{hook}', which is no hook of this version{nearest(hook, known)}")
    for spec in offered:
        if (reason := _fault(spec)) is not None:
            report(reason)
            continue
        found = FoundStage(cast(StageSpec, spec), owner.package, owner.version, owner.entry_point)
        if any(f.package == owner.package for f in registry.offers(found.spec.kind, found.spec.name)):
            report(f"offers {found.label} twice; only the first is listed")
        else:
            registry.stages.append(found)
    for driver in drivers:
        if not isinstance(driver, DriverSpec):
            report(f"offers {type(driver).__name__} where a DriverSpec is expected")
        elif any(driver.name == known_driver.name for known_driver in registry.drivers):
            report(f"offers the driver '{driver.name}', which another plugin offers; only the first is used")
        else:
            registry.drivers.append(driver)
    for checkpoint in checkpoints:
        if not isinstance(checkpoint, Checkpoint):
            report(f"offers {type(checkpoint).__name__} where a Checkpoint is expected")
        elif not usable_name(checkpoint.name):
            report(f"declares the checkpoint {checkpoint.name!r}: {NAME_RULE}, and not '{LOCK}'")
        elif any(checkpoint.name == known_one.name for known_one in registry.checkpoints):
            report(
                f"declares the checkpoint '{checkpoint.name}', which another plugin declares; only the first is used"
            )
        else:
            registry.checkpoints.append(checkpoint)
    for metric in metrics:
        if (reason := _metric_fault(metric, registry)) is not None:
            report(reason)
        else:
            registry.metrics.append(FoundMetric(cast(MetricSpec, metric), owner.package, owner.version))


def _asked(manager: pluggy.PluginManager, plugin: object, hook: str) -> list[object]:
    """What one plugin answers to one hook."""
    caller = manager.subset_hook_caller(hook, [other for other in manager.get_plugins() if other is not plugin])
    return [spec for result in caller() for spec in cast("Iterable[object]", result)]


def _fault(spec: object) -> str | None:
    """What makes a spec useless, or None."""
    if not isinstance(spec, StageSpec):
        return f"offers {type(spec).__name__} where a StageSpec is expected"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", str(spec.name)):
        return f"offers the name {spec.name!r}: only lower-case letters, digits and underscores make a stage name"
    if spec.kind not in set(StageKind):
        return f"offers '{spec.name}' as {spec.kind!r}, which is no kind of stage{nearest(str(spec.kind), StageKind)}"
    config = cast(object, spec.config)
    if not (isinstance(config, type) and issubclass(config, StageConfig)):
        return f"'{spec.name}' has options that are no StageConfig"
    if "use" in config.model_fields:
        return f"'{spec.name}' has an option named 'use', which names the stage itself"
    return None


def _metric_fault(spec: object, registry: Registry) -> str | None:
    """What makes a metric useless, or None."""
    if not isinstance(spec, MetricSpec):
        return f"offers {type(spec).__name__} where a MetricSpec is expected"
    names = (spec.name, *(measure.name for measure in spec.measures))
    for name in names:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", str(name)):
            return f"offers the metric name {name!r}: only lower-case letters, digits and underscores make one"
    if spec.api != API_VERSION:
        return f"offers the metric '{spec.name}', {foreign(spec.api)}"
    if unknown := sorted((spec.needs | spec.uses) - set(PORTS)):
        return f"offers the metric '{spec.name}', which needs '{unknown[0]}'{nearest(unknown[0], PORTS)}"
    if not spec.measures or any(m.direction == "nearer" and m.ideal is None for m in spec.measures):
        return f"offers the metric '{spec.name}' without measures, or one that is best near nothing"
    taken = {m.name: known.spec.name for known in registry.metrics for m in known.spec.measures}
    if any(spec.name == known.spec.name for known in registry.metrics):
        return f"offers the metric '{spec.name}', which another plugin offers; only the first is used"
    if doubled := next((m.name for m in spec.measures if m.name in taken or names[1:].count(m.name) > 1), None):
        owner = taken.get(doubled, spec.name)
        return f"offers the metric '{spec.name}', whose measure '{doubled}' is one of '{owner}', too"
    return None


def _hooks_of(plugin: object) -> Iterator[str]:
    for name in dir(plugin):
        if hasattr(getattr(plugin, name, None), f"{GROUP}_impl"):
            yield name


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise PluginError(f"{path}: there is no such plugin file")
    name = f"retalkit_plugin_file_{re.sub(r'[^0-9a-zA-Z_]', '_', str(path.resolve().with_suffix('')))}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path}: a plugin file must end in .py")
    module = module_from_spec(spec)
    # Dataclasses and pydantic look their own module up by name while it is executed.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise PluginError(f"{path}: could not be imported: {_one_line(error)}") from error
    return module


def _digest(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def _package(entry_point: metadata.EntryPoint) -> str:
    return entry_point.dist.name if entry_point.dist is not None else entry_point.module


def _version(entry_point: metadata.EntryPoint) -> str:
    return entry_point.dist.version if entry_point.dist is not None else "?"


def _same_package(one: str, other: str) -> bool:
    """Distribution names are equal when they differ in case, dots, dashes and underscores only (PEP 503)."""
    return re.sub(r"[-_.]+", "-", one).lower() == re.sub(r"[-_.]+", "-", other).lower()


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no reason given"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and frame.filename != __file__
    ]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text[:300]}{place}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
