"""Selected stages, drivers and finishers with validated options, and their identities for cache keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from retalkit.config import RunConfig
from retalkit.plugins.fingerprint import editable_sources, library_version
from retalkit.plugins.registry import FoundDriver, FoundFinisher, FoundRecogniser, FoundStage
from retalkit.plugins.specs import Finisher, StageConfig
from retalkit.stages import FaceRecogniser, ObjectPool, Runtime, SpeechToMouth, StageKind
from retalkit.storage.cache import content_hash, make_key

_ALWAYS_GIVEN = ("landmarks:", "coefficients:", "speech:waveform", "face:edit")
"""Ports that a stage always computes, regardless of the ports that later stages request."""

_REFERENCE_IMAGE = "reference:image"
_FACE_EDIT = "face:edit"

StageT = TypeVar("StageT")


@dataclass(frozen=True, slots=True)
class PlannedDriver:
    """Selected driver with validated options."""

    found: FoundDriver
    config: StageConfig
    weights: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Mapping from checkpoint name to path in the weight store, for a driver that is used without a lip syncer.

    If a lip syncer uses the driver, the lip syncer's ``weights`` include the driver's weights.
    """

    def identity(self) -> dict[str, Any]:
        """Return the plain data that identifies the driver's predictions in cache keys.

        The data changes whenever the predicted motion may change.
        """
        spec = self.found.spec
        return {
            "package": self.found.package,
            "package_version": self.found.package_version,
            "name": spec.name,
            "version": spec.version,
            "config": self.config.model_dump(mode="json", exclude=set(self.config.files())),
            "files": _file_hashes(self.config),
            "libraries": _library_versions([*spec.requires, *self.config.packages()]),
            "sources": editable_sources(self.found),
        }

    def make(self, runtime: Runtime) -> SpeechToMouth:
        """Import and construct the driver, including its networks."""
        return self.found.spec.make(self.config, replace(runtime, weights={**runtime.weights, **self.weights}))


@dataclass(frozen=True, slots=True)
class PlannedStage(Generic[StageT]):
    """Selected stage with validated options."""

    found: FoundStage
    config: StageConfig
    config_path: str
    """Path of the stage in the configuration, such as ``lip_syncer`` or ``enhancers.0``."""
    drivers: Mapping[str, PlannedDriver] = field(default_factory=dict[str, PlannedDriver])
    """Mapping from option name to driver."""
    requested_ports: frozenset[str] = frozenset()
    """Ports of this stage that later stages require."""
    weights: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Mapping from checkpoint name to path in the weight store."""
    weight_hashes: Mapping[str, str] = field(default_factory=dict[str, str])
    """Mapping from checkpoint name to the SHA-256 hash that was recorded when the checkpoint file was stored."""

    @property
    def kind(self) -> StageKind:
        return self.found.spec.kind

    @property
    def label(self) -> str:
        return self.found.label

    @property
    def owner(self) -> str:
        """Stage label and the package or plugin file that provides the stage."""
        return f"{self.label} of {self.found.package}"

    @property
    def enhances_references(self) -> bool:
        """Whether the stage is listed in ``reference_enhancers:``."""
        return self.config_path.startswith("reference_enhancers.")

    @property
    def needs(self) -> frozenset[str]:
        """Ports that the stage requires at its position in the configuration."""
        ports = self.found.spec.needs | self.config.needs()
        return (ports - {_FACE_EDIT}) | {_REFERENCE_IMAGE} if self.enhances_references else ports

    @property
    def gives(self) -> frozenset[str]:
        """Ports that the stage provides at its position in the configuration."""
        ports = self.found.spec.gives
        if self.kind != StageKind.ENHANCER:
            return ports
        return frozenset({_REFERENCE_IMAGE}) if self.enhances_references else ports - {_REFERENCE_IMAGE}

    @property
    def landmark_scheme(self) -> str:
        """Landmark scheme that the stage provides, such as ``mesh478``, or an empty string if the stage provides no
        landmarks."""
        return _suffix(self.found.spec.gives, "landmarks:")

    @property
    def coefficient_space(self) -> str:
        """Coefficient space that the stage provides, such as ``mesh``, or an empty string if the stage provides no
        coefficients."""
        return _suffix(self.found.spec.gives, "coefficients:")

    @property
    def reads_frames(self) -> bool:
        """Whether the stage requires decoded frames in addition to the stored analysis."""
        return "frames" in self.found.spec.needs

    def make(self, run: RunConfig, pool: ObjectPool) -> StageT:
        """Return the stage from ``pool``. The first call imports and constructs the stage, including its networks."""
        runtime = replace(_runtime(run), weights=self.weights, pool=pool)
        key = make_key("stage", self.identity(), run.device, run.precision, run.threads, runtime.backend)
        return pool.get(key, lambda: self._build(runtime))

    def _build(self, runtime: Runtime) -> StageT:
        drivers = {name: driver.make(runtime) for name, driver in self.drivers.items()}
        return cast("StageT", self.found.spec.make(self.config, replace(runtime, drivers=drivers)))

    def identity(self) -> dict[str, Any]:
        """Return the plain data that identifies the stage's result in cache keys.

        The data changes whenever the result may change.
        """
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
            "libraries": _library_versions([*self.found.spec.requires, *self.config.packages()]),
            "sources": editable_sources(self.found),
            "wanted": sorted(port for port in self.requested_ports if not port.startswith(_ALWAYS_GIVEN)),
        }

    def files(self) -> dict[str, Path]:
        """Return the name and path of every file that the stage and its drivers use."""
        own = {**self.config.files(), **self.weights}
        return own | {
            f"{name}.{file}": path
            for name, driver in self.drivers.items()
            for file, path in driver.config.files().items()
        }

    def file_hashes(self) -> dict[str, str]:
        """Return the SHA-256 hash of each file in ``files()``."""
        own = {**_file_hashes(self.config), **self.weight_hashes}
        return own | {
            f"{name}.{file}": digest
            for name, driver in self.drivers.items()
            for file, digest in _file_hashes(driver.config).items()
        }


@dataclass(frozen=True, slots=True)
class PlannedRecogniser:
    """Selected face recogniser."""

    found: FoundRecogniser
    weights: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Mapping from checkpoint name to path in the weight store."""
    weight_hashes: Mapping[str, str] = field(default_factory=dict[str, str])

    def identity(self) -> dict[str, Any]:
        """Return the plain data that identifies the recogniser's descriptors in cache keys."""
        spec = self.found.spec
        return {
            "package": self.found.package,
            "package_version": self.found.package_version,
            "name": spec.name,
            "version": spec.version,
            "weights": dict(self.weight_hashes),
            "libraries": _library_versions(spec.requires),
            "sources": editable_sources(self.found),
        }

    def make(self, run: RunConfig, pool: ObjectPool) -> FaceRecogniser:
        """Return the recogniser from ``pool``. The first call imports and constructs the recogniser."""
        runtime = replace(_runtime(run), weights=self.weights, pool=pool)
        key = make_key("recogniser", self.identity(), run.device)
        return pool.get(key, lambda: self.found.spec.make(runtime))


@dataclass(frozen=True, slots=True)
class PlannedFinisher:
    """Selected finisher with validated options."""

    found: FoundFinisher
    config: StageConfig

    def make(self) -> Finisher:
        """Import and construct the finisher."""
        return self.found.spec.make(self.config)


def inference_identity(run: RunConfig, stage: PlannedStage[Any]) -> dict[str, Any]:
    """Return plain data for cache keys that describes how the stage's networks are executed."""
    identity: dict[str, Any] = {"device": run.device, "precision": run.precision}
    if "torch" in stage.found.spec.requires and (backend := _runtime(run).backend) != "torch":
        identity["backend"] = _library_versions([backend])
    return identity


def _runtime(run: RunConfig) -> Runtime:
    return Runtime(device=run.device, precision=run.precision, threads=run.threads, inference=run.inference)


def _library_versions(requires: Iterable[str]) -> dict[str, str]:
    """Return the version of each package in ``requires``, because results may differ between package versions."""
    versions = {name: library_version(name.partition(".")[0]) for name in requires}
    return {name: version for name, version in versions.items() if version is not None}


def _file_hashes(config: StageConfig) -> dict[str, str]:
    return {name: content_hash(path) for name, path in config.files().items()}


def _suffix(ports: Iterable[str], start: str) -> str:
    return next((port.removeprefix(start) for port in sorted(ports) if port.startswith(start)), "")
