"""Specs of the bundled reconstructors.

This module is imported whenever stages are listed, so it must not import an array library.
"""

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
    """Number of evenly spaced frames per track from which the track's mean face is computed. The actual number of
    frames may be up to twice as large.
    """
    min_shot: int = Field(default=12, ge=1)
    """Minimum track length in frames for a separate mean face. Shorter tracks use the most similar mean face."""
    same_person: float = Field(default=0.03, ge=0.0)
    """Root mean square difference between mean faces, in IOD, below which tracks share one mean face. IOD is the
    distance between the outer eye corners.
    """


class NoneConfig(StageConfig):
    """Options of the reconstructor ``none``, which has no configurable settings."""


@hookimpl
def retalkit_stages() -> Iterable[StageSpec]:
    """Return the specs of the reconstructors ``shallow``, ``deep3d`` and ``none``."""
    return [
        StageSpec(
            api=2,
            kind=StageKind.RECONSTRUCTOR,
            name="shallow",
            summary="head pose and mouth measures from a rigid fit of the person's mean face to the mesh landmarks",
            build="retalkit_reconstructors.shallow:ShallowReconstructor",
            licence="Apache-2.0",
            config=ShallowConfig,
            needs=frozenset({"landmarks:mesh478"}),
            gives=frozenset({"coefficients:mesh"}),
            requires=("scipy",),
        ),
        *deep3d.STAGES,
        StageSpec(
            api=2,
            kind=StageKind.RECONSTRUCTOR,
            name="none",
            summary="no face model and no coefficients",
            build="retalkit_reconstructors.no_model:NoneReconstructor",
            licence="Apache-2.0",
            config=NoneConfig,
            gives=frozenset({"coefficients:none"}),
        ),
    ]


@hookimpl
def retalkit_checkpoints() -> Iterable[Checkpoint]:
    """Return the checkpoints of the bundled reconstructors' networks."""
    return deep3d.CHECKPOINTS
