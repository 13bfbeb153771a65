"""Specs of the stages, drivers, recognisers, finishers and commands that a plugin provides, and the base class of their
options."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator

from retalkit.paths import partial_path
from retalkit.stages import CONTRACT_VERSIONS, DigitalSourceType, FaceRecogniser, Runtime, SpeechToMouth, StageKind


class Choice(BaseModel):
    """Component name and options, as written in a run file: ``{use: NAME, option: value}`` or ``NAME``.

    ``retalkit.config.load`` validates the options with the component's own options model.
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
    """Driver name and options of a lip syncer. An option with this type provides the driver as
    ``runtime.drivers[OPTION_NAME]``."""


class StageConfig(BaseModel):
    """Base class for the options of stages, drivers and finishers. Unknown keys raise errors, and instances are
    immutable.

    The docstring below a field is the field's description in the JSON Schema of run files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    def files(self) -> dict[str, Path]:
        """Return the name and path of each additional input file that the component uses.

        The files must exist before the run starts, and their content is part of the cache key. The default
        implementation returns all options of the type Path. A component that is distributed with its own weights must
        override this method to add the weight files.
        """
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: value for name, value in values if isinstance(value, Path)}

    def needs(self) -> frozenset[str]:
        """Return the ports that the stage requires for these options in addition to the ports in its spec."""
        return frozenset()

    def packages(self) -> dict[str, str]:
        """Return the modules that these options require in addition to the modules in the spec.

        The result maps each module name to the ``pip install`` argument that installs the module.
        """
        return {}

    def check_files(self) -> None:
        """Check the content of the files that the options select. Raises ConfigError if a file is invalid.

        The planner calls this method before the run starts. All files exist, and all required packages are installed.
        """

    def checkpoints(self) -> tuple[str, ...]:
        """Return the names of the checkpoints that these options require in addition to the checkpoints in the spec."""
        return ()

    def drivers(self) -> dict[str, DriverChoice]:
        """Return the driver choice of each option that selects a driver, by option name."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: value for name, value in values if isinstance(value, DriverChoice)}


@dataclass(frozen=True, slots=True)
class StageSpec:
    """Static description of a stage, which can be used without importing the stage."""

    kind: StageKind
    name: str
    """Stage name for ``use:`` in a run file, in lower case with underscores."""
    summary: str
    """One-line summary for ``retalkit plugins``."""
    build: str | Callable[[Any, Runtime], Any]
    """Import path ``package.module:Class``, which is imported when the stage is constructed, or a callable.

    The imported class or the callable is called with the options and the runtime.
    """
    licence: str
    """SPDX expression for the combined licences of the code and the weights."""
    config: type[StageConfig] = StageConfig
    needs: frozenset[str] = frozenset()
    """Ports that the stage requires, such as ``landmarks:mesh478``. See docs/contracts.md."""
    gives: frozenset[str] = frozenset()
    """Ports that the stage provides, such as ``coefficients:mesh``."""
    version: str = "1"
    """Stage version, which is part of the cache key. The version must be increased whenever the result changes."""
    requires: tuple[str, ...] = ()
    """Modules that must be importable for the stage to run, such as ``torch``."""
    install: str = ""
    """Argument for ``pip install`` that installs the required modules, such as ``retalkit[paper]``."""
    checkpoints: tuple[str, ...] = ()
    """Names of the checkpoints that the stage loads for all options. ``StageConfig.checkpoints`` returns additional
    names."""
    parallel: bool = False
    """Whether parts of one run may be processed at the same time. This is useful for stages that use one CPU core.

    Several processes then render parts of the output. Every process opens a session, which reads the cached results of
    the first. Several sessions of a detector process parts of the clip, also in several processes. Each session also
    receives the eight frames before its part. A denoiser may run in another process beside the detector."""
    eases: bool = False
    """Whether a lip syncer follows ``LipSyncClip.strength``. The edits of other lip syncers fade in and out."""
    optional_checkpoints: tuple[str, ...] = ()
    """Names that ``StageConfig.checkpoints`` may return. ``retalkit weights list`` includes these checkpoints."""
    api: int = 1
    """Contract version that the stage implements (``retalkit.stages.CONTRACT_VERSIONS``)."""
    digital_source_type: DigitalSourceType | None = None
    """Origin of the pixels that the stage writes into the output. The output's Content Credentials declare the type.

    If a lip syncer declares no type, ``COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA`` is declared for it. An enhancer
    declares a type if it generates pixels with a network. Stages of other kinds need no type.
    """

    def make(self, config: StageConfig, runtime: Runtime | None = None) -> Any:
        """Import and construct the stage. The constructor loads the stage's networks."""
        return resolve(self.build)(config, runtime if runtime is not None else Runtime())

    @property
    def output_source_type(self) -> DigitalSourceType | None:
        """Type that the stage adds to the output's Content Credentials, or None if the stage adds no type."""
        if self.digital_source_type is None and self.kind == StageKind.LIP_SYNCER:
            return DigitalSourceType.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA
        return self.digital_source_type

    @property
    def enhances_references(self) -> bool:
        """Whether the stage can be listed in ``reference_enhancers:``."""
        return self.kind == StageKind.ENHANCER and "reference:image" in self.gives


@dataclass(frozen=True, slots=True)
class DriverSpec:
    """Static description of a driver, which is a model that predicts mouth motion from speech.

    Lip syncers select a driver by name. ``retalkit evaluate speech-to-mouth`` evaluates a driver.
    """

    name: str
    """Driver name for ``driver: {use: NAME}`` and ``--driver``, in lower case with underscores."""
    summary: str
    """One-line summary."""
    build: str | Callable[[Any, Runtime], SpeechToMouth]
    """Import path ``package.module:Class``, which is imported when the driver is constructed, or a callable.

    The imported class or the callable is called with the options and the runtime.
    """
    config: type[StageConfig] = StageConfig
    version: str = "1"
    """Driver version, which is part of the cache key. The version must be increased whenever the result changes."""
    requires: tuple[str, ...] = ()
    """Modules that must be importable for the driver to run."""
    install: str = ""
    """Argument for ``pip install`` that installs the required modules."""
    api: int = 1
    """Contract version that the driver implements (``retalkit.stages.CONTRACT_VERSIONS``)."""

    def make(self, config: StageConfig | None = None, runtime: Runtime | None = None) -> SpeechToMouth:
        """Import and construct the driver."""
        options = config if config is not None else self.config()
        return resolve(self.build)(options, runtime if runtime is not None else Runtime())


@dataclass(frozen=True, slots=True, kw_only=True)
class RecogniserSpec:
    """Static description of a face recogniser, which recognises persons across shots."""

    name: str
    """Recogniser name for ``recogniser: NAME``, in lower case with underscores."""
    summary: str
    """One-line summary."""
    build: str | Callable[[Runtime], FaceRecogniser]
    """Import path ``package.module:Class``, which is imported when the recogniser is constructed, or a callable.

    The imported class or the callable is called with the runtime.
    """
    licence: str
    """SPDX expression for the combined licences of the code and the weights."""
    rank: int
    """Position among recognisers. ``recogniser: auto`` selects the recogniser with the highest rank that can run."""
    version: str = "1"
    """Version, which is part of the cache key. The version must be increased whenever the result changes."""
    requires: tuple[str, ...] = ()
    """Modules that must be importable for the recogniser to run."""
    install: str = ""
    """Argument for ``pip install`` that installs the required modules."""
    checkpoints: tuple[str, ...] = ()
    """Names of the checkpoints that the recogniser loads."""
    api: int = 1
    """Contract version that the recogniser implements (``retalkit.stages.CONTRACT_VERSIONS``)."""

    def make(self, runtime: Runtime | None = None) -> FaceRecogniser:
        """Import and construct the recogniser."""
        return resolve(self.build)(runtime if runtime is not None else Runtime())


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """Run data that a finisher receives."""

    output: Path
    """Path of the finished file. At the time of the call, the path does not exist or contains a file that will be
    replaced."""
    video: Path
    """Path of the source video."""
    speech: Path
    record: Mapping[str, Any]
    """Run record as plain data: configuration, versions, hashes of inputs and weights, and frame counts."""
    results: dict[str, Any] = field(default_factory=dict[str, Any])
    """Plain data that the finisher adds to the run record as ``finishers.NAME``."""
    sidecars: dict[str, Path] = field(default_factory=dict[str, Path])
    """Mapping from suffix to temporary path for each additional file that ``sidecar`` returned."""

    def sidecar(self, suffix: str) -> Path:
        """Return the temporary path of an additional file, such as a subtitle file or an external manifest.

        The finisher writes the file. When the output is renamed, the file is renamed to the output's name with
        ``suffix`` instead of the output's suffix.
        """
        if suffix not in self.sidecars:
            self.sidecars[suffix] = partial_path(self.output.with_suffix(suffix))
        return self.sidecars[suffix]


class Finisher(Protocol):
    """Post-processor for the finished file, such as signing or labelling, before the file is renamed to its final path.

    Finishers are constructed before the run starts, so a constructor that rejects its options or its environment stops
    the run before any work. A finisher may have an attribute ``notes``, a sequence of messages for the user.
    """

    def finish(self, source: Path, target: Path, run: FinishedRun) -> None:
        """Read the muxed file ``source`` and write the finished file ``target``.

        Both files have the same container format. ``target`` does not exist before the call. ``source`` must not be
        modified. If an exception is raised, the run ends without output. The message of a RetalkitError is shown to the
        user.
        """
        ...


@dataclass(frozen=True, slots=True)
class FinisherSpec:
    """Static description of a finisher."""

    name: str
    """Finisher name for ``finishers: [NAME]``, in lower case with underscores."""
    summary: str
    """One-line summary."""
    build: str | Callable[[Any], Finisher]
    """Import path ``package.module:Class``, which is imported when the finisher is constructed, or a callable.

    The imported class or the callable is called with the options.
    """
    config: type[StageConfig] = StageConfig
    requires: tuple[str, ...] = ()
    """Modules that must be importable for the finisher to run."""
    install: str = ""
    """Argument for ``pip install`` that installs the required modules."""
    api: int = 1
    """Contract version that the finisher implements (``retalkit.stages.CONTRACT_VERSIONS``)."""

    def make(self, config: StageConfig) -> Finisher:
        """Import and construct the finisher."""
        return resolve(self.build)(config)


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """Static description of a command, such as ``train`` in ``retalkit train``."""

    name: str
    """Command name, in lower case with hyphens."""
    summary: str
    """One-line summary for ``retalkit --help``."""
    application: str
    """Import path ``package.module:name`` of a ``typer.Typer`` object, or of a function that returns one.

    The module is imported when the command runs.
    """
    requires: tuple[str, ...] = ()
    """Modules that must be importable for the command to run."""
    install: str = ""
    """Argument for ``pip install`` that installs the required modules."""
    api: int = 1
    """Contract version that the command implements (``retalkit.stages.CONTRACT_VERSIONS``)."""
    checkpoints: tuple[str, ...] = ()
    """Names of the checkpoints that the command can use, for ``retalkit weights list``. The command runs without
    them."""


def resolve(build: str | Callable[..., Any]) -> Callable[..., Any]:
    """Import and return the object at the import path ``package.module:name``. A callable is returned unchanged."""
    return pkgutil.resolve_name(build) if isinstance(build, str) else build


def incompatible_api(contract: str, api: int) -> str | None:
    """Return why a contract's version ``api`` is not supported, or None if the version is supported.

    ``contract`` is a key of ``retalkit.stages.CONTRACT_VERSIONS``.
    """
    version = CONTRACT_VERSIONS[contract]
    if version.accepts(api):
        return None
    accepted = str(version.current) if version.oldest == version.current else f"{version.oldest} to {version.current}"
    return f"made for version {api} of the {contract} contract, this Retalkit accepts version {accepted}"
