"""Chooses the stages of a run and checks, before any work starts, that they fit together and can run here."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from retalkit.config.model import RunConfig, StageChoice, read_options
from retalkit.errors import PlanError
from retalkit.plugins.availability import availability, missing_packages
from retalkit.plugins.fingerprint import editable_sources
from retalkit.plugins.registry import FoundStage, Registry, nearest
from retalkit.plugins.specs import StageConfig, incompatible_api
from retalkit.stages import StageKind
from retalkit.storage.cache import content_hash
from retalkit.weights.describe import how_to_get_all
from retalkit.weights.store import WeightStore

INITIAL_PORTS = frozenset({"frames", "speech:waveform", "speech:activity", "speech:mel"})
"""What the runner itself offers to every stage."""

MUST_GIVE = {
    StageKind.DETECTOR: "landmarks:",
    StageKind.RECONSTRUCTOR: "coefficients:",
    StageKind.EXPRESSION_EDITOR: "reference:",
    StageKind.LIP_SYNCER: "face:edit",
}
"""Port, or beginning of it, that a stage of the kind cannot do without."""

_ALWAYS_GIVEN = ("landmarks:", "coefficients:", "speech:waveform", "face:edit")
"""Ports that are the whole purpose of their stage: who wants them does not change what it computes."""


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """A chosen stage with its options read."""

    found: FoundStage
    config: StageConfig
    place: str
    """Where the configuration names it, such as ``lip_syncer`` or ``enhancers.0``."""
    wanted: frozenset[str] = frozenset()
    """Ports of this stage that later stages need."""
    weights: dict[str, Path] = field(default_factory=dict[str, Path])
    """Checkpoint name -> file in the store."""
    weight_hashes: dict[str, str] = field(default_factory=dict[str, str])
    """Checkpoint name -> SHA-256 of that file, as noted when it came into the store."""

    @property
    def kind(self) -> StageKind:
        return self.found.spec.kind

    @property
    def label(self) -> str:
        return self.found.label

    @property
    def landmark_scheme(self) -> str:
        """Scheme of the landmarks that it gives, such as ``mesh478``; empty if it gives none."""
        return _suffix(self.found.spec.gives, "landmarks:")

    @property
    def owner(self) -> str:
        """The label with the package, or plugin file, that offers it."""
        return f"{self.label} of {self.found.package}"

    @property
    def coefficient_space(self) -> str:
        """Space of the coefficients that it gives, such as ``mesh``; empty if it gives none."""
        return _suffix(self.found.spec.gives, "coefficients:")

    @property
    def reads_frames(self) -> bool:
        """False: it works on what analysis stored, so that the frames need not be decoded for it."""
        return "frames" in self.found.spec.needs

    def make(self) -> Any:
        """Imports and builds the stage."""
        return self.found.spec.make(self.config)

    def identity(self) -> dict[str, Any]:
        """Plain data that changes whenever the stage may give another result: part of cache keys."""
        return {
            "kind": self.kind.value,
            "package": self.found.package,
            "package_version": self.found.package_version,
            "name": self.found.spec.name,
            "version": self.found.spec.version,
            "config": self.config.model_dump(mode="json", exclude=set(self.config.files())),
            "files": self.file_hashes(),
            "weights": self.weight_hashes,
            "libraries": self.libraries(),
            "sources": editable_sources(self.found),
            "wanted": sorted(port for port in self.wanted if not port.startswith(_ALWAYS_GIVEN)),
        }

    def libraries(self) -> dict[str, str]:
        """Version of each package that the stage names in ``requires``: another one may compute other numbers."""
        versions: dict[str, str] = {}
        for name in self.found.spec.requires:
            with suppress(metadata.PackageNotFoundError):
                versions[name] = metadata.version(name.partition(".")[0])
        return versions

    def file_hashes(self) -> dict[str, str]:
        """SHA-256 of the content of each of ``StageConfig.files``."""
        return {name: content_hash(path) for name, path in self.config.files().items()}


@dataclass(frozen=True, slots=True)
class Plan:
    """The stages of a run in the order in which their results are used."""

    config: RunConfig
    stages: tuple[PlannedStage, ...]

    def one(self, kind: StageKind) -> PlannedStage:
        """The stage of a kind of which there is exactly one."""
        return next(stage for stage in self.stages if stage.kind == kind)

    def all(self, kind: StageKind) -> list[PlannedStage]:
        return [stage for stage in self.stages if stage.kind == kind]

    def reference_enhancers(self) -> list[PlannedStage]:
        """Enhancers that work before the lip syncer, in the order of the run file."""
        return [stage for stage in self.all(StageKind.ENHANCER) if stage.config.on_reference()]

    def result_enhancers(self) -> list[PlannedStage]:
        """Enhancers that work after the lip syncer, in the order of the run file."""
        return [stage for stage in self.all(StageKind.ENHANCER) if not stage.config.on_reference()]

    def wanted(self, stage: PlannedStage) -> frozenset[str]:
        """Ports of ``stage`` that later stages need."""
        return stage.wanted

    def package_versions(self) -> dict[str, str]:
        """Package or plugin file -> version, for every stage of the plan."""
        return {stage.found.package: stage.found.package_version for stage in self.stages}


def plan(config: RunConfig, registry: Registry) -> Plan:
    """Raises PlanError where a stage is not installed, cannot run here, or needs what none before it gives; ConfigError
    for a wrong option; PluginError where two packages offer one name."""
    _check_installed(config, registry)
    store = WeightStore()
    stages = [_planned(*choice, registry) for choice in config.choices]
    for stage in stages:
        if (reason := incompatible_api(stage.kind, stage.found.spec.api) or missing_packages(stage.found)) is not None:
            raise PlanError(f"{stage.label} cannot run here: it {reason}{_others(stage, registry)}")
        for name, path in stage.config.files().items():
            if not path.is_file():
                raise PlanError(f"{stage.place}.{name}: there is no file {path}")
        _check_gives(stage)
    _check_weights(stages, registry, store)
    _check_device(config, stages)
    stages = [_with_weights(stage, store) for stage in stages]
    wanted: list[set[str]] = [set() for _ in stages]
    for position, stage in enumerate(stages):
        for need in sorted(stage.found.spec.needs | stage.config.needs()):
            provider = _provider(need, stages[:position])
            if provider is not None:
                wanted[provider[0]].add(provider[1])
            elif need not in INITIAL_PORTS:
                raise PlanError(_mismatch(need, stage, stages[:position], registry))
    return Plan(config, tuple(replace(stage, wanted=frozenset(w)) for stage, w in zip(stages, wanted, strict=True)))


def needed_checkpoints(config: RunConfig, registry: Registry) -> list[str]:
    """Names of the checkpoints that the stages of a run load, whatever is in the store. Raises PlanError where a stage
    is not installed, ConfigError for a wrong option."""
    _check_installed(config, registry)
    return list(dict.fromkeys(n for choice in config.choices for n in _checkpoints(_planned(*choice, registry))))


def _check_weights(stages: list[PlannedStage], registry: Registry, store: WeightStore) -> None:
    """Raises PlanError that says of every missing checkpoint which file it is, how large, and how to get it."""
    missing = {name: stage.label for stage in stages for name in _checkpoints(stage) if store.path(name) is None}
    if not missing:
        return
    labels = ", ".join(dict.fromkeys(missing.values()))
    known = {checkpoint.name for checkpoint in registry.checkpoints}
    told = how_to_get_all([registry.checkpoint(name) for name in missing if name in known])
    told = "; ".join([*([told] if told else []), *(f"'{name}'" for name in missing if name not in known)])
    raise PlanError(f"{labels} cannot run here without weights that are not in {store.folder}: {told}")


def _with_weights(stage: PlannedStage, store: WeightStore) -> PlannedStage:
    names = _checkpoints(stage)
    files = {name: store.file(name) for name in names}
    return replace(stage, weights=files, weight_hashes={name: store.content(name) for name in names})


def _checkpoints(stage: PlannedStage) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*stage.found.spec.checkpoints, *stage.config.checkpoints())))


def _check_device(config: RunConfig, stages: list[PlannedStage]) -> None:
    """Raises PlanError where the run asks for a device that torch does not find."""
    users = [stage.label for stage in stages if "torch" in stage.found.spec.requires]
    if config.device == "cpu" or not users:
        return
    import torch

    there = torch.cuda.is_available() if config.device.startswith("cuda") else torch.backends.mps.is_available()
    number = int(config.device.partition(":")[2] or 0)
    if not there or (config.device.startswith("cuda") and number >= torch.cuda.device_count()):
        raise PlanError(f"device: torch finds no {config.device} here, which {users[0]} would run on: set device=cpu")


def _planned(kind: StageKind, place: str, choice: StageChoice, registry: Registry) -> PlannedStage:
    found = registry.find(kind, choice.use)
    return PlannedStage(found, read_options(found, choice), place)


def _check_installed(config: RunConfig, registry: Registry) -> None:
    missing = [(kind, choice.use) for kind, _, choice in config.choices if not registry.offers(kind, choice.use)]
    if not missing:
        return
    names = list(dict.fromkeys(f"{kind.value} '{use}'" for kind, use in missing))
    hint = nearest(missing[0][1], registry.names(missing[0][0])) if len(names) == 1 else ""
    verb = "is" if len(names) == 1 else "are"
    raise PlanError(
        f"{', '.join(names)} {verb} not installed{hint or '; `retalkit plugins` lists the stages that are'}"
    )


def _check_gives(stage: PlannedStage) -> None:
    start = MUST_GIVE.get(stage.kind)
    if start is not None and not any(port.startswith(start) for port in stage.found.spec.gives):
        port = f"{start}NAME" if start.endswith(":") else start
        raise PlanError(
            f"{stage.label} of {stage.found.package} does not say that it gives {port}, as every {stage.kind.value} "
            "must: choose another one and tell its author"
        )


def _provider(need: str, before: list[PlannedStage]) -> tuple[int, str] | None:
    """(position, port) of the last stage that gives ``need``, else of the last that gives something convertible."""
    offered = [
        (position, port)
        for position in range(len(before) - 1, -1, -1)
        for port in sorted(before[position].found.spec.gives)
    ]
    exact = next((offer for offer in offered if offer[1] == need), None)
    return exact or next((offer for offer in offered if _fits(offer[1], need)), None)


def _fits(port: str, need: str) -> bool:
    """Whether ``port`` is ``need``, or landmarks that can be made into it."""
    if port == need:
        return True
    if not (port.startswith("landmarks:") and need.startswith("landmarks:")):
        return False
    # Imported here because it takes numpy, which listing and checking otherwise do without.
    from retalkit.geometry.schemes import convertible

    return need.removeprefix("landmarks:") in convertible(port.removeprefix("landmarks:"))


def _mismatch(need: str, stage: PlannedStage, before: list[PlannedStage], registry: Registry) -> str:
    """One sentence that names both stages and the fix."""
    if not before:
        return (
            f"{stage.label} is the first stage and needs {need}, which only later stages give{_others(stage, registry)}"
        )
    kinds = {earlier.kind for earlier in before}
    helpers = [
        found
        for found in registry.stages
        if found.spec.kind in kinds
        and found.spec.kind != stage.kind
        and any(_fits(port, need) for port in found.spec.gives)
        and availability(found) is None
    ]
    partner = _partner(need, before, helpers)
    gives = ", ".join(sorted(partner.found.spec.gives)) or "nothing"
    text = f"{stage.label} needs {need}, but {partner.label} gives {gives}"
    if helpers:
        kind = partner.kind.value
        names = " or ".join(dict.fromkeys(f"{kind}.use={f.spec.name}" for f in helpers if f.spec.kind == partner.kind))
        return f"{text}: set {names}"
    return f"{text} and no installed stage before it can give it{_others(stage, registry)}"


def _partner(need: str, before: list[PlannedStage], helpers: list[FoundStage]) -> PlannedStage:
    """The earlier stage that stands where ``need`` should come from."""
    kinds = {found.spec.kind for found in helpers}
    family = need.partition(":")[0] + ":"
    for stage in reversed(before):
        if stage.kind in kinds or (not kinds and any(port.startswith(family) for port in stage.found.spec.gives)):
            return stage
    return before[-1]


def _others(stage: PlannedStage, registry: Registry) -> str:
    names = [
        found.spec.name
        for found in registry.of_kind(stage.kind)
        if found is not stage.found and availability(found) is None
    ]
    return f"; set {stage.place}.use to another {stage.kind.value}, such as {names[0]}" if names else ""


def _suffix(ports: Iterable[str], start: str) -> str:
    return next((port.removeprefix(start) for port in sorted(ports) if port.startswith(start)), "")
