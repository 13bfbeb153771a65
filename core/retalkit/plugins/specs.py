"""Specs of the stages and drivers that a plugin offers, and the base class of their options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from retalkit.stages import CONTRACT_VERSIONS, SpeechToMouth, StageKind


class StageConfig(BaseModel):
    """Base of every stage's options: unknown keys are errors, values do not change after reading.

    The string below a field is its description in the JSON Schema of run files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    def files(self) -> dict[str, Path]:
        """What the stage reads besides its input: name -> file. They must exist before work starts, and their content
        is part of the cache key. Here: the options that name a file; a stage with weights of its own adds them."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: value for name, value in values if isinstance(value, Path)}

    def needs(self) -> frozenset[str]:
        """Ports that the stage reads with these options, besides those that its spec names."""
        return frozenset()

    def on_reference(self) -> bool:
        """Whether an enhancer with these options sharpens the reference before the lip syncer, not its result."""
        return getattr(self, "on", None) == "reference"

    def checkpoints(self) -> tuple[str, ...]:
        """Names of the checkpoints that the stage loads with these options, besides those that its spec names."""
        return ()


@dataclass(frozen=True, slots=True)
class StageSpec:
    """Says all about a stage without importing it."""

    kind: StageKind
    name: str
    """What a run file writes behind ``use:``; lower case with underscores."""
    summary: str
    """One line for ``retalkit plugins``."""
    build: str | Callable[[Any], Any]
    """``package.module:Class`` (imported when the stage is built) or a callable; called with the read config."""
    licence: str
    """SPDX expression of code and weights together."""
    config: type[StageConfig] = StageConfig
    needs: frozenset[str] = frozenset()
    """Ports it reads, such as ``landmarks:mesh478``; see docs/contracts.md."""
    gives: frozenset[str] = frozenset()
    """Ports it offers, such as ``coefficients:mesh``."""
    version: str = "1"
    """Raise it whenever the result changes: it is part of the cache key."""
    requires: tuple[str, ...] = ()
    """Modules that must be importable for the stage to run here, such as ``torch``."""
    install: str = ""
    """What pip installs to have them, such as ``retalkit[paper]``."""
    checkpoints: tuple[str, ...] = ()
    """Names of the checkpoints that it loads with any options; ``StageConfig.checkpoints`` adds to them."""
    optional_checkpoints: tuple[str, ...] = ()
    """Names that ``StageConfig.checkpoints`` may add, for ``retalkit weights list``."""
    api: int = 1
    """Version of the contracts that it was made for (``retalkit.stages.CONTRACT_VERSIONS``)."""

    def make(self, config: StageConfig) -> Any:
        """Imports and builds the stage."""
        return _built(self.build)(config)


@dataclass(frozen=True, slots=True)
class DriverSpec:
    """A model that says what the mouth does while something is said. A lip syncer may use it; ``retalkit evaluate
    speech-to-mouth`` measures it."""

    name: str
    """What ``--driver`` names; lower case with underscores."""
    summary: str
    """One line."""
    build: str | Callable[[], SpeechToMouth]
    """``package.module:Class`` (imported when the driver is built) or a callable; called without arguments."""
    api: int = 1
    """Version of the contracts that it was made for (``retalkit.stages.CONTRACT_VERSIONS``)."""

    def make(self) -> SpeechToMouth:
        """Imports and builds the driver."""
        return _built(self.build)()


def _built(build: str | Callable[..., Any]) -> Callable[..., Any]:
    if isinstance(build, str):
        module, _, attribute = build.partition(":")
        return getattr(import_module(module), attribute)
    return build


def incompatible_api(contract: str, api: int) -> str | None:
    """Why a spec made for version ``api`` of a contract cannot be used, or None.

    ``contract``: a key of ``retalkit.stages.CONTRACT_VERSIONS``.
    """
    version = CONTRACT_VERSIONS[contract]
    if version.accepts(api):
        return None
    accepted = str(version.current) if version.oldest == version.current else f"{version.oldest} to {version.current}"
    return f"made for version {api} of the {contract} contract, this Retalkit accepts version {accepted}"
