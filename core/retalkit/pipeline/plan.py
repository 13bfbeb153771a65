"""The plan of a run: the chosen stages, checked before any work starts to fit together and to run here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from retalkit.config import Choice, RunConfig, read_options
from retalkit.errors import PlanError
from retalkit.plugins.availability import availability, missing_driver_packages, missing_packages
from retalkit.plugins.fingerprint import editable_sources
from retalkit.plugins.registry import FoundDriver, FoundFinisher, FoundStage, Registry, nearest
from retalkit.plugins.specs import StageConfig, incompatible_api
from retalkit.stages import (
    Denoiser,
    Detector,
    Enhancer,
    ExpressionEditor,
    LipSyncer,
    ObjectPool,
    Reconstructor,
    ReferenceEnhancer,
    Runtime,
    SpeechToMouth,
    StageKind,
)
from retalkit.storage.cache import content_hash, make_key
from retalkit.weights.describe import missing_weights
from retalkit.weights.store import WeightStore

INITIAL_PORTS = frozenset({"frames", "speech:waveform", "speech:activity", "speech:mel"})
"""What the runner itself provides to every stage."""

MUST_GIVE = {
    StageKind.DETECTOR: "landmarks:",
    StageKind.RECONSTRUCTOR: "coefficients:",
    StageKind.EXPRESSION_EDITOR: "reference:",
    StageKind.LIP_SYNCER: "face:edit",
}
"""Port, or prefix of it, that every stage of the kind must provide."""

_ALWAYS_GIVEN = ("landmarks:", "coefficients:", "speech:waveform", "face:edit")
"""Ports that are the purpose of their stage: who requests them does not change what the stage computes."""

_REFERENCE_IMAGE = "reference:image"
_FACE_EDIT = "face:edit"

StageT = TypeVar("StageT")


@dataclass(frozen=True, slots=True)
class PlannedDriver:
    """A chosen driver with validated options."""

    found: FoundDriver
    config: StageConfig
    weights: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Checkpoint name -> file in the store, for a driver without a lip syncer; else the lip syncer's weights contain
    them."""

    def identity(self) -> dict[str, Any]:
        """Return plain data that changes whenever the driver may predict another motion: part of cache keys."""
        spec = self.found.spec
        return {
            "package": self.found.package,
            "package_version": self.found.package_version,
            "name": spec.name,
            "version": spec.version,
            "config": self.config.model_dump(mode="json", exclude=set(self.config.files())),
            "files": _file_hashes(self.config),
            "libraries": _library_versions(spec.requires),
            "sources": editable_sources(self.found),
        }

    def make(self, runtime: Runtime) -> SpeechToMouth:
        """Import and build the driver, with its networks."""
        return self.found.spec.make(self.config, replace(runtime, weights={**runtime.weights, **self.weights}))


@dataclass(frozen=True, slots=True)
class PlannedStage(Generic[StageT]):
    """A chosen stage with validated options."""

    found: FoundStage
    config: StageConfig
    config_path: str
    """Where the configuration names it, such as ``lip_syncer`` or ``enhancers.0``."""
    drivers: Mapping[str, PlannedDriver] = field(default_factory=dict[str, PlannedDriver])
    """Option name -> driver."""
    requested_ports: frozenset[str] = frozenset()
    """Ports of this stage that later stages need."""
    weights: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Checkpoint name -> file in the store."""
    weight_hashes: Mapping[str, str] = field(default_factory=dict[str, str])
    """Checkpoint name -> SHA-256 of that file, as noted when it was stored."""

    @property
    def kind(self) -> StageKind:
        return self.found.spec.kind

    @property
    def label(self) -> str:
        return self.found.label

    @property
    def owner(self) -> str:
        """The label with the package, or plugin file, that offers the stage."""
        return f"{self.label} of {self.found.package}"

    @property
    def enhances_references(self) -> bool:
        """Whether it stands in ``reference_enhancers:``."""
        return self.config_path.startswith("reference_enhancers.")

    @property
    def needs(self) -> frozenset[str]:
        """Ports that it reads in its place."""
        ports = self.found.spec.needs | self.config.needs()
        return (ports - {_FACE_EDIT}) | {_REFERENCE_IMAGE} if self.enhances_references else ports

    @property
    def gives(self) -> frozenset[str]:
        """Ports that it provides in its place."""
        ports = self.found.spec.gives
        if self.kind != StageKind.ENHANCER:
            return ports
        return frozenset({_REFERENCE_IMAGE}) if self.enhances_references else ports - {_REFERENCE_IMAGE}

    @property
    def landmark_scheme(self) -> str:
        """Scheme of the landmarks that it provides, such as ``mesh478``; empty if it provides none."""
        return _suffix(self.found.spec.gives, "landmarks:")

    @property
    def coefficient_space(self) -> str:
        """Space of the coefficients that it provides, such as ``mesh``; empty if it provides none."""
        return _suffix(self.found.spec.gives, "coefficients:")

    @property
    def reads_frames(self) -> bool:
        """Whether frames must be decoded for it; else it works on the stored analysis alone."""
        return "frames" in self.found.spec.needs

    def make(self, run: RunConfig, pool: ObjectPool) -> StageT:
        """Return the stage of ``pool``; it is imported and built, with its networks, at the first call."""
        runtime = Runtime(
            device=run.device, precision=run.precision, threads=run.threads, weights=self.weights, pool=pool
        )
        key = make_key("stage", self.identity(), run.device, run.precision, run.threads)
        return pool.get(key, lambda: self._build(runtime))

    def _build(self, runtime: Runtime) -> StageT:
        drivers = {name: driver.make(runtime) for name, driver in self.drivers.items()}
        return cast("StageT", self.found.spec.make(self.config, replace(runtime, drivers=drivers)))

    def identity(self) -> dict[str, Any]:
        """Return plain data that changes whenever the stage may compute another result: part of cache keys."""
        return {
            "kind": self.kind.value,
            "place": "reference" if self.enhances_references else "",
            "package": self.found.package,
            "package_version": self.found.package_version,
            "name": self.found.spec.name,
            "version": self.found.spec.version,
            "config": self.config.model_dump(mode="json", exclude={*self.config.files(), *self.drivers}),
            "drivers": {name: driver.identity() for name, driver in self.drivers.items()},
            "files": _file_hashes(self.config),
            "weights": dict(self.weight_hashes),
            "libraries": _library_versions(self.found.spec.requires),
            "sources": editable_sources(self.found),
            "wanted": sorted(port for port in self.requested_ports if not port.startswith(_ALWAYS_GIVEN)),
        }

    def files(self) -> dict[str, Path]:
        """Return every file that the stage and its drivers read: name -> path."""
        own = {**self.config.files(), **self.weights}
        return own | {
            f"{name}.{file}": path
            for name, driver in self.drivers.items()
            for file, path in driver.config.files().items()
        }

    def file_hashes(self) -> dict[str, str]:
        """Return the SHA-256 of each of ``files()``."""
        own = {**_file_hashes(self.config), **self.weight_hashes}
        return own | {
            f"{name}.{file}": digest
            for name, driver in self.drivers.items()
            for file, digest in _file_hashes(driver.config).items()
        }


@dataclass(frozen=True, slots=True)
class PlannedFinisher:
    """A chosen finisher with validated options."""

    found: FoundFinisher
    config: StageConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The stages of a run, each with the protocol that its sessions follow."""

    config: RunConfig
    detector: PlannedStage[Detector]
    reconstructor: PlannedStage[Reconstructor]
    expression_editor: PlannedStage[ExpressionEditor]
    reference_enhancers: tuple[PlannedStage[ReferenceEnhancer], ...] = ()
    denoiser: PlannedStage[Denoiser]
    lip_syncer: PlannedStage[LipSyncer]
    enhancers: tuple[PlannedStage[Enhancer], ...] = ()
    finishers: tuple[PlannedFinisher, ...] = ()

    @property
    def stages(self) -> tuple[PlannedStage[Any], ...]:
        """All stages, in the order in which their results are used."""
        return (
            self.detector,
            self.reconstructor,
            self.expression_editor,
            *self.reference_enhancers,
            self.denoiser,
            self.lip_syncer,
            *self.enhancers,
        )

    @property
    def pixel_stages(self) -> tuple[PlannedStage[Any], ...]:
        """The stages that make pixels: editor, reference enhancers, lip syncer, enhancers."""
        return (self.expression_editor, *self.reference_enhancers, self.lip_syncer, *self.enhancers)

    def package_versions(self) -> dict[str, str]:
        """Return package or plugin file -> version, for every stage, driver and finisher."""
        drivers = [driver.found for stage in self.stages for driver in stage.drivers.values()]
        found = [*(stage.found for stage in self.stages), *drivers, *(each.found for each in self.finishers)]
        return {each.package: each.package_version for each in found}


def plan(config: RunConfig, registry: Registry) -> Plan:
    """Choose the stages of a run and check them.

    Raises PlanError where a stage is not installed, cannot run here, or needs what no earlier stage provides;
    ConfigError for an invalid option; PluginError where two packages offer one name.
    """
    _check_installed(config, registry)
    store = WeightStore()
    stages = [_planned(*choice, registry) for choice in _in_order(config)]
    for stage in stages:
        _check_runnable(stage, registry)
    _check_weights(stages, registry, store)
    _check_device(config, stages)
    stages = [_with_weights(stage, store) for stage in stages]
    requested: list[set[str]] = [set() for _ in stages]
    for position, stage in enumerate(stages):
        for need in sorted(stage.needs):
            provider = _provider(need, stages[:position])
            if provider is not None:
                requested[provider[0]].add(provider[1])
            elif need not in INITIAL_PORTS:
                raise PlanError(_mismatch(need, stage, stages[:position], registry), code="missing-port")
    stages = [replace(stage, requested_ports=frozenset(r)) for stage, r in zip(stages, requested, strict=True)]
    by_kind = {stage.kind: stage for stage in stages}
    return Plan(
        config=config,
        detector=by_kind[StageKind.DETECTOR],
        reconstructor=by_kind[StageKind.RECONSTRUCTOR],
        expression_editor=by_kind[StageKind.EXPRESSION_EDITOR],
        reference_enhancers=tuple(stage for stage in stages if stage.enhances_references),
        denoiser=by_kind[StageKind.DENOISER],
        lip_syncer=by_kind[StageKind.LIP_SYNCER],
        enhancers=tuple(s for s in stages if s.kind == StageKind.ENHANCER and not s.enhances_references),
        finishers=tuple(_planned_finisher(number, choice, registry) for number, choice in enumerate(config.finishers)),
    )


def plan_driver(choice: Choice, registry: Registry, config_path: str) -> PlannedDriver:
    """Choose a driver and check it, to measure it without a lip syncer.

    ``config_path`` names it in messages, such as ``--driver``. Raises ConfigError for an unknown name or an invalid
    option, PlanError where packages, files or weights are missing.
    """
    driver = _planned_driver(choice, registry)
    _check_driver(driver, config_path)
    store, names = WeightStore(), driver.config.checkpoints()
    if missing := [name for name in names if store.path(name) is None]:
        reason = missing_weights(missing, registry.checkpoints, store.folder)
        message = f"{config_path}: {driver.found.label} cannot run here: {reason}"
        raise PlanError(message, code="missing-weights")
    return replace(driver, weights={name: store.file(name) for name in names})


def required_checkpoints(config: RunConfig, registry: Registry) -> list[str]:
    """Return the names of the checkpoints that a run loads, whether they are in the store or not.

    Raises PlanError where a stage is not installed, ConfigError for an invalid option.
    """
    _check_installed(config, registry)
    return list(dict.fromkeys(n for choice in config.choices for n in _checkpoints(_planned(*choice, registry))))


def _in_order(config: RunConfig) -> list[tuple[StageKind, str, Choice]]:
    """Return the choices of a configuration in the order in which the stages' results are used."""
    first = [choice for choice in config.choices if choice[0] in (StageKind.DETECTOR, StageKind.RECONSTRUCTOR)]
    editor = [choice for choice in config.choices if choice[0] == StageKind.EXPRESSION_EDITOR]
    references = [choice for choice in config.choices if choice[1].startswith("reference_enhancers.")]
    rest = [choice for choice in config.choices if choice not in (*first, *editor, *references)]
    return [*first, *editor, *references, *rest]


def _planned(kind: StageKind, config_path: str, choice: Choice, registry: Registry) -> PlannedStage[Any]:
    found = registry.find(kind, choice.use)
    options = read_options(found, choice)
    drivers = {name: _planned_driver(driver, registry) for name, driver in options.drivers().items()}
    return PlannedStage(found, options, config_path, drivers)


def _planned_driver(choice: Choice, registry: Registry) -> PlannedDriver:
    found = registry.driver(choice.use)
    return PlannedDriver(found, read_options(found, choice))


def _planned_finisher(number: int, choice: Choice, registry: Registry) -> PlannedFinisher:
    found = registry.finisher(choice.use)
    if (reason := missing_driver_packages(found)) is not None:
        raise PlanError(f"finishers.{number}: '{choice.use}' cannot run here: it {reason}", code="missing-package")
    return PlannedFinisher(found, read_options(found, choice))


def _check_runnable(stage: PlannedStage[Any], registry: Registry) -> None:
    """Raise PlanError where packages or files are missing or the spec does not declare what its kind must provide."""
    if (reason := incompatible_api(stage.kind, stage.found.spec.api) or missing_packages(stage.found)) is not None:
        raise PlanError(
            f"{stage.label} cannot run here: it {reason}{_alternatives(stage, registry)}", code="missing-package"
        )
    if stage.enhances_references and not stage.found.spec.enhances_references:
        raise PlanError(
            f"{stage.config_path}: {stage.label} does not enhance references: move it to `enhancers`",
            code="not-a-reference-enhancer",
        )
    for name, driver in stage.drivers.items():
        _check_driver(driver, f"{stage.config_path}.{name}")
    _check_files(stage.config, stage.config_path)
    start = MUST_GIVE.get(stage.kind)
    if start is not None and not any(port.startswith(start) for port in stage.found.spec.gives):
        port = f"{start}NAME" if start.endswith(":") else start
        raise PlanError(
            f"{stage.owner} does not declare that it provides {port}, as every {stage.kind.value} must: choose another "
            "one and report this to its author",
            code="missing-port",
        )


def _check_driver(driver: PlannedDriver, config_path: str) -> None:
    """Raise PlanError where packages or files of a driver are missing."""
    if (reason := missing_driver_packages(driver.found)) is not None:
        raise PlanError(f"{config_path}: {driver.found.label} cannot run here: it {reason}", code="missing-package")
    _check_files(driver.config, config_path)


def _check_files(config: StageConfig, config_path: str) -> None:
    for name, path in config.files().items():
        if not path.is_file():
            raise PlanError(f"{config_path}.{name}: there is no file {path}", code="file-not-found")


def _check_weights(stages: list[PlannedStage[Any]], registry: Registry, store: WeightStore) -> None:
    """Raise PlanError that names every missing checkpoint with its file, its size, and the command that gets it."""
    missing = {name: stage.label for stage in stages for name in _checkpoints(stage) if store.path(name) is None}
    if not missing:
        return
    labels = ", ".join(dict.fromkeys(missing.values()))
    reason = missing_weights(list(missing), registry.checkpoints, store.folder)
    raise PlanError(f"{labels} cannot run here: {reason}", code="missing-weights")


def _with_weights(stage: PlannedStage[Any], store: WeightStore) -> PlannedStage[Any]:
    names = _checkpoints(stage)
    files = {name: store.file(name) for name in names}
    return replace(stage, weights=files, weight_hashes={name: store.sha256(name) for name in names})


def _checkpoints(stage: PlannedStage[Any]) -> tuple[str, ...]:
    of_drivers = (name for driver in stage.drivers.values() for name in driver.config.checkpoints())
    return tuple(dict.fromkeys((*stage.found.spec.checkpoints, *stage.config.checkpoints(), *of_drivers)))


def _check_device(config: RunConfig, stages: list[PlannedStage[Any]]) -> None:
    """Raise PlanError where the run requests a device that torch does not find."""
    users = [stage.label for stage in stages if "torch" in stage.found.spec.requires]
    if config.device == "cpu" or not users:
        return
    import torch

    available = torch.cuda.is_available() if config.device.startswith("cuda") else torch.backends.mps.is_available()
    number = int(config.device.partition(":")[2] or 0)
    if not available or (config.device.startswith("cuda") and number >= torch.cuda.device_count()):
        raise PlanError(
            f"device: torch finds no {config.device} here, which {users[0]} would run on: set device=cpu",
            code="missing-device",
        )


def _check_installed(config: RunConfig, registry: Registry) -> None:
    missing = [(kind, choice.use) for kind, _, choice in config.choices if not registry.candidates(kind, choice.use)]
    if not missing:
        return
    names = list(dict.fromkeys(f"{kind.value} '{use}'" for kind, use in missing))
    hint = nearest(missing[0][1], registry.names(missing[0][0])) if len(names) == 1 else ""
    verb = "is" if len(names) == 1 else "are"
    raise PlanError(
        f"{', '.join(names)} {verb} not installed{hint or '; `retalkit plugins` lists the installed stages'}",
        code="unknown-stage",
    )


def _provider(need: str, before: list[PlannedStage[Any]]) -> tuple[int, str] | None:
    """Return (position, port) of the last stage that provides ``need``, else of the last convertible port."""
    candidates = [
        (position, port) for position in range(len(before) - 1, -1, -1) for port in sorted(before[position].gives)
    ]
    exact = next((candidate for candidate in candidates if candidate[1] == need), None)
    return exact or next((candidate for candidate in candidates if _fits(candidate[1], need)), None)


def _fits(port: str, need: str) -> bool:
    """Whether ``port`` is ``need``, or landmarks that can be converted to it."""
    if port == need:
        return True
    if not (port.startswith("landmarks:") and need.startswith("landmarks:")):
        return False
    # Imported here because it needs NumPy, which listing and checking otherwise do without.
    from retalkit.geometry.schemes import convertible

    return need.removeprefix("landmarks:") in convertible(port.removeprefix("landmarks:"))


def _mismatch(need: str, stage: PlannedStage[Any], before: list[PlannedStage[Any]], registry: Registry) -> str:
    """Return one sentence that names both stages and the fix."""
    if not before:
        return (
            f"{stage.label} is the first stage and needs {need}, which only later stages provide"
            f"{_alternatives(stage, registry)}"
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
    gives = ", ".join(sorted(partner.gives)) or "nothing"
    text = f"{stage.label} needs {need}, but {partner.label} provides {gives}"
    if helpers:
        kind = partner.kind.value
        names = " or ".join(dict.fromkeys(f"{kind}.use={f.spec.name}" for f in helpers if f.spec.kind == partner.kind))
        return f"{text}: set {names}"
    return f"{text} and no installed stage before it can provide it{_alternatives(stage, registry)}"


def _partner(need: str, before: list[PlannedStage[Any]], helpers: list[FoundStage]) -> PlannedStage[Any]:
    """Return the earlier stage from which ``need`` should come."""
    kinds = {found.spec.kind for found in helpers}
    family = need.partition(":")[0] + ":"
    for stage in reversed(before):
        if stage.kind in kinds or (not kinds and any(port.startswith(family) for port in stage.gives)):
            return stage
    return before[-1]


def _alternatives(stage: PlannedStage[Any], registry: Registry) -> str:
    names = [
        found.spec.name
        for found in registry.of_kind(stage.kind)
        if found is not stage.found and availability(found) is None
    ]
    return f"; set {stage.config_path}.use to another {stage.kind.value}, such as {names[0]}" if names else ""


def _library_versions(requires: Iterable[str]) -> dict[str, str]:
    """Return the version of each package in ``requires``: another version may compute other numbers."""
    versions: dict[str, str] = {}
    for name in requires:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name.partition(".")[0])
    return versions


def _file_hashes(config: StageConfig) -> dict[str, str]:
    return {name: content_hash(path) for name, path in config.files().items()}


def _suffix(ports: Iterable[str], start: str) -> str:
    return next((port.removeprefix(start) for port in sorted(ports) if port.startswith(start)), "")
