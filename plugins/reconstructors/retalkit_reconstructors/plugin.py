"""Specs of the reconstructors that ship with Retalkit. Light: nothing here imports an array library's heavy parts."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field
from retalkit.plugins import StageConfig, StageSpec, hookimpl
from retalkit.stages import StageKind
from retalkit.weights.checkpoint import Checkpoint

import retalkit_reconstructors.deep3d.interface as deep3d


class ShallowConfig(StageConfig):
    """Options of the reconstructor ``shallow``."""

    frames_per_shot: int = Field(default=200, ge=1)
    """Frames of a shot that its mean face is made from, evenly spread, at most twice as many."""
    min_shot: int = Field(default=12, ge=1)
    """Frames that a shot needs for a mean face of its own; shorter ones take the nearest."""
    same_person: float = Field(default=0.03, ge=0.0)
    """Shots share a mean face when theirs differ by less than this, root mean square in IOD."""


@hookimpl
def retalkit_stages() -> Iterable[StageSpec]:
    return [
        StageSpec(
            api=2,
            kind=StageKind.RECONSTRUCTOR,
            name="shallow",
            summary="Head pose and mouth measures by a rigid fit of the person's mean face to the mesh landmarks",
            build="retalkit_reconstructors.shallow:ShallowReconstructor",
            licence="Apache-2.0",
            config=ShallowConfig,
            needs=frozenset({"landmarks:mesh478"}),
            gives=frozenset({"coefficients:mesh"}),
            requires=("scipy",),
        ),
        *deep3d.STAGES,
    ]


@hookimpl
def retalkit_checkpoints() -> Iterable[Checkpoint]:
    """What the published networks load."""
    return deep3d.CHECKPOINTS
