"""A chosen stage, driver or finisher with validated options, and its identity for cache keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from retalkit.config import RunConfig
from retalkit.plugins.fingerprint import editable_sources
from retalkit.plugins.registry import FoundDriver, FoundFinisher, FoundStage
from retalkit.plugins.specs import StageConfig
from retalkit.stages import ObjectPool, Runtime, SpeechToMouth, StageKind
from retalkit.storage.cache import content_hash, make_key

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
        runtime = replace(_runtime(run), weights=self.weights, pool=pool)
        key = make_key("stage", self.identity(), run.device, run.precision, run.threads, runtime.backend)
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


def inference_identity(run: RunConfig, stage: PlannedStage[Any]) -> dict[str, Any]:
    """Return how the networks of a stage are run, as plain data for cache keys."""
    identity: dict[str, Any] = {"device": run.device, "precision": run.precision}
    if "torch" in stage.found.spec.requires and (backend := _runtime(run).backend) != "torch":
        identity["backend"] = _library_versions([backend])
    return identity


def _runtime(run: RunConfig) -> Runtime:
    return Runtime(device=run.device, precision=run.precision, threads=run.threads, inference=run.inference)


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
