"""Specs of the stages, drivers and finishers that a plugin offers, and the base class of their options."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator

from retalkit.stages import CONTRACT_VERSIONS, Runtime, SpeechToMouth, StageKind


class Choice(BaseModel):
    """A component by name, and its options, as a run file writes it: ``{use: NAME, option: value}`` or ``NAME``.

    The options are validated against the component's own model by ``retalkit.config.load``.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    use: str = Field(description="Name of the component, or PACKAGE:NAME if two packages offer the same name.")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"use": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class DriverChoice(Choice):
    """Which driver a lip syncer uses, and its options. As the type of an option, it makes the driver available as
    ``runtime.drivers[OPTION_NAME]``."""


class StageConfig(BaseModel):
    """Base class of the options of stages, drivers and finishers. Unknown keys are errors; values are immutable.

    The string below a field is its description in the JSON Schema of run files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    def files(self) -> dict[str, Path]:
        """Return the files that the component reads besides its input: name -> path.

        They must exist before work starts, and their content is part of the cache key. By default these are the options
        of type Path; a component that ships weights adds them.
        """
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: value for name, value in values if isinstance(value, Path)}

    def needs(self) -> frozenset[str]:
        """Return the ports that the stage reads with these options, besides those of its spec."""
        return frozenset()

    def checkpoints(self) -> tuple[str, ...]:
        """Return the names of the checkpoints that these options require, besides those of the spec."""
        return ()

    def drivers(self) -> dict[str, DriverChoice]:
        """Return the drivers that the stage uses with these options: option name -> choice."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: value for name, value in values if isinstance(value, DriverChoice)}


@dataclass(frozen=True, slots=True)
class StageSpec:
    """Static description of a stage. Reading it imports nothing of the stage."""

    kind: StageKind
    name: str
    """Name after ``use:`` in a run file; lower case with underscores."""
    summary: str
    """One line for ``retalkit plugins``."""
    build: str | Callable[[Any, Runtime], Any]
    """``package.module:Class`` (imported when the stage is built) or a callable; called with options and runtime."""
    licence: str
    """SPDX expression of code and weights together."""
    config: type[StageConfig] = StageConfig
    needs: frozenset[str] = frozenset()
    """Ports that it reads, such as ``landmarks:mesh478``; see docs/contracts.md."""
    gives: frozenset[str] = frozenset()
    """Ports that it provides, such as ``coefficients:mesh``."""
    version: str = "1"
    """Part of the cache key. Increase it whenever the result changes."""
    requires: tuple[str, ...] = ()
    """Modules that must be importable for the stage to run, such as ``torch``."""
    install: str = ""
    """Argument of ``pip install`` that provides them, such as ``retalkit[paper]``."""
    checkpoints: tuple[str, ...] = ()
    """Names of the checkpoints that it loads with any options; ``StageConfig.checkpoints`` adds to them."""
    optional_checkpoints: tuple[str, ...] = ()
    """Names that ``StageConfig.checkpoints`` may add, for ``retalkit weights list``."""
    api: int = 1
    """Contract version that it was written for (``retalkit.stages.CONTRACT_VERSIONS``)."""

    def make(self, config: StageConfig, runtime: Runtime | None = None) -> Any:
        """Import and build the stage. It loads its networks now."""
        return resolve(self.build)(config, runtime if runtime is not None else Runtime())

    @property
    def enhances_references(self) -> bool:
        """Whether the stage can be listed under ``reference_enhancers:``."""
        return self.kind == StageKind.ENHANCER and "reference:image" in self.gives


@dataclass(frozen=True, slots=True)
class DriverSpec:
    """Static description of a driver: a model that predicts mouth motion from speech. Lip syncers use it by name;
    ``retalkit evaluate speech-to-mouth`` measures it."""

    name: str
    """Name in ``driver: {use: NAME}`` and ``--driver``; lower case with underscores."""
    summary: str
    """One line."""
    build: str | Callable[[Any, Runtime], SpeechToMouth]
    """``package.module:Class`` (imported when the driver is built) or a callable; called with options and runtime."""
    config: type[StageConfig] = StageConfig
    version: str = "1"
    """Part of the cache key. Increase it whenever the result changes."""
    requires: tuple[str, ...] = ()
    """Modules that must be importable for the driver to run."""
    install: str = ""
    """Argument of ``pip install`` that provides them."""
    api: int = 1
    """Contract version that it was written for (``retalkit.stages.CONTRACT_VERSIONS``)."""

    def make(self, config: StageConfig | None = None, runtime: Runtime | None = None) -> SpeechToMouth:
        """Import and build the driver."""
        options = config if config is not None else self.config()
        return resolve(self.build)(options, runtime if runtime is not None else Runtime())


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """Data of a run that a finisher can read."""

    output: Path
    """Path of the finished file. It does not exist yet, or will be replaced."""
    video: Path
    """The source video."""
    speech: Path
    record: Mapping[str, Any]
    """The run record as plain data: configuration, versions, hashes of inputs and weights, frame counts."""


class Finisher(Protocol):
    """Changes the finished file before it is renamed to its final path, for example to sign or label it."""

    def finish(self, source: Path, target: Path, run: FinishedRun) -> None:
        """Read the muxed file ``source`` and write the finished file ``target`` (same container, does not exist yet).

        Do not change ``source``. An exception ends the run without output; a RetalkitError is shown to the user.
        """
        ...


@dataclass(frozen=True, slots=True)
class FinisherSpec:
    """Static description of a finisher."""

    name: str
    """Name in ``finishers: [NAME]``; lower case with underscores."""
    summary: str
    """One line."""
    build: str | Callable[[Any], Finisher]
    """``package.module:Class`` (imported when it is built) or a callable; called with the options."""
    config: type[StageConfig] = StageConfig
    requires: tuple[str, ...] = ()
    """Modules that must be importable for it to run."""
    install: str = ""
    """Argument of ``pip install`` that provides them."""
    api: int = 1
    """Contract version that it was written for (``retalkit.stages.CONTRACT_VERSIONS``)."""

    def make(self, config: StageConfig) -> Finisher:
        """Import and build the finisher."""
        return resolve(self.build)(config)


def resolve(build: str | Callable[..., Any]) -> Callable[..., Any]:
    """Import and return the object that ``package.module:name`` names. A callable is returned unchanged."""
    return pkgutil.resolve_name(build) if isinstance(build, str) else build


def incompatible_api(contract: str, api: int) -> str | None:
    """Return why a spec made for version ``api`` of a contract cannot be used, or None.

    ``contract``: a key of ``retalkit.stages.CONTRACT_VERSIONS``.
    """
    version = CONTRACT_VERSIONS[contract]
    if version.accepts(api):
        return None
    accepted = str(version.current) if version.oldest == version.current else f"{version.oldest} to {version.current}"
    return f"made for version {api} of the {contract} contract, this Retalkit accepts version {accepted}"
