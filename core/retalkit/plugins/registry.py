"""Registry of the stages, metrics, drivers, finishers and checkpoints of all plugins, with lookup by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from retalkit.errors import ConfigError, PluginError
from retalkit.plugins.metric_specs import MetricSpec
from retalkit.plugins.specs import CommandSpec, DriverSpec, FinisherSpec, RecogniserSpec, StageSpec, incompatible_api
from retalkit.stages import StageKind
from retalkit.weights.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class FoundStage:
    """Registered stage with the package that provides the stage."""

    spec: StageSpec
    package: str
    """Distribution name, or the path of a plugin file that does not belong to a distribution."""
    package_version: str
    """Distribution version, or the first hexadecimal digits of a plugin file's SHA-256 hash."""
    entry_point: str

    @property
    def label(self) -> str:
        """Stage kind and name for messages, such as ``lip_syncer 'exemplar'``."""
        return f"{self.spec.kind.value} '{self.spec.name}'"


@dataclass(frozen=True, slots=True)
class FoundMetric:
    """Registered metric with the package that provides the metric."""

    spec: MetricSpec
    package: str
    package_version: str


@dataclass(frozen=True, slots=True)
class FoundDriver:
    """Registered driver with the package that provides the driver."""

    spec: DriverSpec
    package: str
    package_version: str

    @property
    def label(self) -> str:
        """Driver name for messages, such as ``driver 'model'``."""
        return f"driver '{self.spec.name}'"


@dataclass(frozen=True, slots=True)
class FoundRecogniser:
    """Registered face recogniser with the package that provides the recogniser."""

    spec: RecogniserSpec
    package: str
    package_version: str

    @property
    def label(self) -> str:
        """Recogniser name for messages, such as ``recogniser 'dlib'``."""
        return f"recogniser '{self.spec.name}'"


@dataclass(frozen=True, slots=True)
class FoundFinisher:
    """Registered finisher with the package that provides the finisher."""

    spec: FinisherSpec
    package: str
    package_version: str

    @property
    def label(self) -> str:
        """Finisher name for messages, such as ``finisher 'sign'``."""
        return f"finisher '{self.spec.name}'"


@dataclass(frozen=True, slots=True)
class FoundCommand:
    """Registered command with the package that provides the command."""

    spec: CommandSpec
    package: str
    package_version: str

    @property
    def label(self) -> str:
        """Command name for messages, such as ``command 'train'``."""
        return f"command '{self.spec.name}'"


@dataclass(frozen=True, slots=True)
class PluginProblem:
    """One-line description of a plugin problem."""

    owner: str
    reason: str
    usable: bool = False
    """Whether all components of the plugin can still be used."""


FoundT = TypeVar("FoundT", FoundMetric, FoundDriver, FoundFinisher, FoundRecogniser)


@dataclass(slots=True)
class Registry:
    """All components that plugins provide. Stages are sorted by kind and name."""

    stages: list[FoundStage] = field(default_factory=list[FoundStage])
    problems: list[PluginProblem] = field(default_factory=list[PluginProblem])
    drivers: list[FoundDriver] = field(default_factory=list[FoundDriver])
    """Drivers with unique names in the order of discovery."""
    checkpoints: list[Checkpoint] = field(default_factory=list[Checkpoint])
    """Checkpoints with unique names, sorted by name."""
    metrics: list[FoundMetric] = field(default_factory=list[FoundMetric])
    """Metrics with unique names and unique measure names in the order of discovery."""
    recognisers: list[FoundRecogniser] = field(default_factory=list[FoundRecogniser])
    """Face recognisers with unique names, highest rank first."""
    finishers: list[FoundFinisher] = field(default_factory=list[FoundFinisher])
    """Finishers with unique names in the order of discovery."""
    commands: list[FoundCommand] = field(default_factory=list[FoundCommand])
    """Commands with unique names, sorted by name."""
    import_seconds: dict[str, float] = field(default_factory=dict[str, float])
    """Mapping from plugin label to the time in seconds for importing the plugin and calling its hooks."""

    def checkpoint(self, name: str) -> Checkpoint:
        """Return the checkpoint with the name ``name``. Raises PluginError if no plugin declares such a checkpoint."""
        names = [checkpoint.name for checkpoint in self.checkpoints]
        if name not in names:
            known = f"; available: {', '.join(names)}" if names else "; no plugin declares a checkpoint"
            raise PluginError(f"unknown checkpoint '{name}'{nearest(name, names) or known}", code="unknown-checkpoint")
        return self.checkpoints[names.index(name)]

    def driver(self, name: str) -> FoundDriver:
        """Return the driver with the name ``name``. Raises ConfigError if no such driver is registered."""
        return _named(self.drivers, name, "driver", "unknown-driver")

    def finisher(self, name: str) -> FoundFinisher:
        """Return the finisher with the name ``name``. Raises ConfigError if no such finisher is registered."""
        return _named(self.finishers, name, "finisher", "unknown-finisher")

    def recogniser(self, name: str) -> FoundRecogniser:
        """Return the recogniser with the name ``name``. Raises ConfigError if no such recogniser is registered."""
        return _named(self.recognisers, name, "recogniser", "unknown-recogniser")

    def metric(self, name: str) -> FoundMetric:
        """Return the metric with the name ``name``. Raises ConfigError if no such metric is registered."""
        return _named(self.metrics, name, "metric", "unknown-metric")

    def of_kind(self, kind: StageKind) -> list[FoundStage]:
        """Return all stages of one kind, including stages that cannot run on this machine."""
        return [found for found in self.stages if found.spec.kind == kind]

    def names(self, kind: StageKind) -> list[str]:
        """Return the valid values of ``use:``. A name that several packages provide is listed as ``PACKAGE:NAME``."""
        offered = self.of_kind(kind)
        plain = [found.spec.name for found in offered]
        return [
            found.spec.name if plain.count(found.spec.name) == 1 else f"{found.package}:{found.spec.name}"
            for found in offered
        ]

    def candidates(self, kind: StageKind, use: str) -> list[FoundStage]:
        """Return the stages that match ``use`` (``NAME`` or ``PACKAGE:NAME``)."""
        owner, _, name = use.rpartition(":")
        return [
            found
            for found in self.of_kind(kind)
            if found.spec.name == name and (not owner or _same_package(found.package, owner))
        ]

    def find(self, kind: StageKind, use: str) -> FoundStage:
        """Return the stage that ``use`` (``NAME`` or ``PACKAGE:NAME``) identifies.

        Raises ConfigError if no stage matches. Raises PluginError if several packages provide a matching stage, or if
        the stage implements an incompatible contract version.
        """
        offered = self.candidates(kind, use)
        if not offered:
            raise ConfigError(f"unknown {kind.value} '{use}'{self._suggestion(kind, use)}", code="unknown-stage")
        if len(offered) > 1:
            owners = " and ".join(found.package for found in offered)
            choice = f"{offered[0].package}:{offered[0].spec.name}"
            raise PluginError(
                f"{owners} both offer {offered[0].label}; select one with `use: {choice}`", code="ambiguous-stage"
            )
        if (reason := incompatible_api(kind, offered[0].spec.api)) is not None:
            raise PluginError(
                f"{offered[0].label} from {offered[0].package} cannot run: {reason}", code="incompatible-version"
            )
        return offered[0]

    def _suggestion(self, kind: StageKind, use: str) -> str:
        names = self.names(kind)
        text = nearest(use, names) or (
            f"; available: {', '.join(names)}" if names else f"; no {kind.value} is installed"
        )
        if self.problems:
            text += f" ({_count(len(self.problems), 'plugin problem')}; run `retalkit plugins` for details)"
        return text


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the name that is most similar to ``name``, or an empty string."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def _same_package(one: str, other: str) -> bool:
    """Return whether two distribution names are equal after name normalisation (PEP 503)."""
    return re.sub(r"[-_.]+", "-", one).lower() == re.sub(r"[-_.]+", "-", other).lower()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _named(offered: Sequence[FoundT], name: str, what: str, code: str) -> FoundT:
    names = [found.spec.name for found in offered]
    if name not in names:
        known = f"; available: {', '.join(names)}" if names else f"; no {what} is installed"
        raise ConfigError(f"unknown {what} '{name}'{nearest(name, names) or known}", code=code)
    return offered[names.index(name)]
