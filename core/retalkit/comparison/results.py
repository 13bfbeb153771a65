"""Results of a comparison as dataclasses, which the computation, the statistics and the report share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from retalkit.plugins.metric_specs import Measure

REAL: Final = "real"
"""Arm with the re-encoded unedited clip and the clip's own audio. An ideal method would achieve identical scores."""
OWN: Final = "own"
"""Arm in which each clip is dubbed with its own audio, so that the clip's frames are the ground truth."""
SPEECH: Final = "speech"
"""Arm in which each clip is dubbed with each speech listed in the comparison file."""
MISMATCHED: Final = "mismatched"
"""Arm with the videos of ``own``, scored against a different clip's audio and lips to determine the chance level."""
SILENCE: Final = "silence"
"""Arm in which each clip is dubbed with silence."""
NOISE: Final = "noise"
"""Arm in which each clip is dubbed with noise only, at the level of the clip's own audio."""
NOISY: Final = {"noisy_20": 20.0, "noisy_10": 10.0, "noisy_0": 0.0}
"""Mapping from arm to signal-to-noise ratio in dB. In these arms, each clip is dubbed with its own audio plus noise.

The videos are scored against the clean audio and the clip's own lips.
"""
ARMS: Final = (REAL, OWN, SPEECH, MISMATCHED, SILENCE, NOISE, *NOISY)

ANCHOR: Final = "(real video)"
"""Variant name of the cells in the arm ``real``."""


@dataclass(frozen=True, slots=True)
class CellName:
    """Identity of a cell. A cell is one scored video of the comparison."""

    clip: str
    arm: str
    speech: str
    """Speech name in the arm ``speech``, the other clip's name in the arm ``mismatched``, otherwise an empty string."""
    variant: str
    """Variant name, or ``ANCHOR`` in the arm ``real``."""
    seed: int = 0
    rerun: int = 0
    """Rerun number, or 0 for the original run. Reruns do not use the cache and quantify run-to-run variation."""

    @property
    def label(self) -> str:
        """Human-readable name for messages."""
        parts = [self.clip, self.arm, self.speech, self.variant]
        parts += [f"seed {self.seed}"] if self.seed else []
        parts += [f"rerun {self.rerun}"] if self.rerun else []
        return " / ".join(part for part in parts if part)


@dataclass(slots=True)
class CellResult:
    """Scores of one cell, or the reason why the cell has no scores."""

    name: CellName
    key: str
    """Name of the cell's directory in the output subdirectory ``cells``."""
    state: Literal["done", "failed"]
    failure: str = ""
    """Error message in one line, or an empty string if the cell did not fail."""
    scores: dict[str, float | None] = field(default_factory=dict[str, "float | None"])
    """Mapping from measure name to value, which is None if the value is undefined for this cell."""
    absent: dict[str, str] = field(default_factory=dict[str, str])
    """Mapping from metric name to the reason why the metric was not computed for this cell."""
    failed_metrics: dict[str, str] = field(default_factory=dict[str, str])
    """Mapping from metric name to error message."""
    video: str = ""
    """Path of the video relative to the output directory."""
    record: dict[str, Any] = field(default_factory=dict[str, Any])
    """Run record. The dictionary is empty in the arm ``real``."""
    notes: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class VariantInfo:
    """Description of one variant."""

    name: str
    is_base: bool
    stages: dict[str, str]
    """Mapping from configuration key to stage name in pipeline order, such as ``enhancers.0`` to ``detail``."""
    differences: dict[str, str]
    """Mapping from configuration key to value, for each key whose value differs from the base."""
    configuration: dict[str, Any]
    """Content of the complete run file with all defaults."""
    weights: tuple[dict[str, Any], ...]
    """Checkpoints as mappings with the keys ``name``, ``bytes``, ``licence`` and ``commercial_use``."""
    licences: tuple[str, ...]
    """Licences of the variant's stages, without duplicates."""


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """Description of one metric."""

    name: str
    summary: str
    source: str
    licence: str
    package: str
    """Name and version of the package that provides the metric."""
    measures: tuple[Measure, ...]
    unavailable: str = ""
    """Reason why the metric is unavailable in this installation, such as missing weights. Empty for available
    metrics."""


@dataclass(slots=True)
class Results:
    """All results of a comparison."""

    title: str
    created: str
    """Creation time in ISO 8601 format, UTC."""
    comparison: dict[str, Any]
    """Content of the comparison file, including default values for omitted keys."""
    variants: list[VariantInfo]
    metrics: list[MetricInfo]
    cells: list[CellResult]
    versions: dict[str, str]
    """Mapping from package name to version."""
    machine: dict[str, str]
    """Machine description with the keys ``system``, ``processor``, ``cores`` and ``python``."""
    jobs: int = 1
    """Number of jobs that ran in parallel. Timings are unreliable for values above 1."""

    @property
    def base(self) -> VariantInfo:
        return next(variant for variant in self.variants if variant.is_base)

    def measures(self) -> list[Measure]:
        """Return all measures in the order of the metrics."""
        return [measure for metric in self.metrics for measure in metric.measures]
