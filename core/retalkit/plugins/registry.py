"""What was found: stages, metrics, drivers and checkpoints of all plugins, and how a name finds one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from retalkit.errors import ConfigError, PluginError
from retalkit.plugins.metric_specs import MetricSpec
from retalkit.plugins.specs import DriverSpec, FinisherSpec, StageSpec, incompatible_api
from retalkit.stages import StageKind
from retalkit.weights.checkpoint import Checkpoint


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
class FoundDriver:
    """A driver that a plugin offers, and who offers it."""

    spec: DriverSpec
    package: str
    package_version: str

    @property
    def label(self) -> str:
        """How messages call it, for instance ``driver 'name'``."""
        return f"driver '{self.spec.name}'"


@dataclass(frozen=True, slots=True)
class FoundFinisher:
    """A finisher that a plugin offers, and its package."""

    spec: FinisherSpec
    package: str
    package_version: str

    @property
    def label(self) -> str:
        """How messages call it, for instance ``finisher 'name'``."""
        return f"finisher '{self.spec.name}'"


@dataclass(frozen=True, slots=True)
class PluginProblem:
    """What is wrong with a plugin, in one line."""

    owner: str
    reason: str
    usable: bool = False
    """Whether all that it offers can be used nevertheless."""


FoundT = TypeVar("FoundT", FoundMetric, FoundDriver, FoundFinisher)


@dataclass(slots=True)
class Registry:
    """All that was found, in the order of stage kinds and then of names."""

    stages: list[FoundStage] = field(default_factory=list[FoundStage])
    problems: list[PluginProblem] = field(default_factory=list[PluginProblem])
    drivers: list[FoundDriver] = field(default_factory=list[FoundDriver])
    """In the order in which they were found; every name once."""
    checkpoints: list[Checkpoint] = field(default_factory=list[Checkpoint])
    """In the order of their names; every name once."""
    metrics: list[FoundMetric] = field(default_factory=list[FoundMetric])
    """In the order in which they were found; every name, and every measure's name, once."""
    finishers: list[FoundFinisher] = field(default_factory=list[FoundFinisher])
    """In the order in which they were found; every name once."""
    import_seconds: dict[str, float] = field(default_factory=dict[str, float])
    """Plugin -> seconds that it took to import it and to ask what it offers."""

    def checkpoint(self, name: str) -> Checkpoint:
        """The checkpoint of that name. Raises PluginError if no plugin declares it."""
        names = [checkpoint.name for checkpoint in self.checkpoints]
        if name not in names:
            there = f"; there are: {', '.join(names)}" if names else "; no plugin declares any"
            raise PluginError(f"no checkpoint is named '{name}'{nearest(name, names) or there}")
        return self.checkpoints[names.index(name)]

    def driver(self, name: str) -> FoundDriver:
        """The driver of that name. Raises ConfigError if there is none."""
        return _named(self.drivers, name, "driver")

    def finisher(self, name: str) -> FoundFinisher:
        """Return the finisher of that name. Raises ConfigError if there is none."""
        return _named(self.finishers, name, "finisher")

    def metric(self, name: str) -> FoundMetric:
        """The metric of that name. Raises ConfigError if there is none."""
        return _named(self.metrics, name, "metric")

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
        if (reason := incompatible_api(kind, offered[0].spec.api)) is not None:
            raise PluginError(f"{offered[0].label} of {offered[0].package} cannot run: {reason}")
        return offered[0]

    def _instead(self, kind: StageKind, use: str) -> str:
        names = self.names(kind)
        text = nearest(use, names) or (f"; there are: {', '.join(names)}" if names else "; none is installed")
        if self.problems:
            text += f" ({_count(len(self.problems), 'plugin problem')}: see `retalkit plugins`)"
        return text


def nearest(name: str, names: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the name that looks most like ``name``, or an empty text."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def _same_package(one: str, other: str) -> bool:
    """Distribution names are equal when they differ in case, dots, dashes and underscores only (PEP 503)."""
    return re.sub(r"[-_.]+", "-", one).lower() == re.sub(r"[-_.]+", "-", other).lower()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _named(offered: Sequence[FoundT], name: str, what: str) -> FoundT:
    names = [found.spec.name for found in offered]
    if name not in names:
        there = f"; there are: {', '.join(names)}" if names else "; none is installed"
        raise ConfigError(f"no {what} is named '{name}'{nearest(name, names) or there}")
    return offered[names.index(name)]
