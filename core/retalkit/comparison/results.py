"""Results of a comparison as plain dataclasses, shared by computation, statistics and report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from retalkit.plugins.metric_specs import Measure

REAL: Final = "real"
"""Arm with the re-encoded unedited clip and its own audio. The scores of this arm are those of an ideal method."""
OWN: Final = "own"
"""Arm with the clip dubbed with its own audio, so that the clip's frames are the ground truth."""
SPEECH: Final = "speech"
"""Arm with the clip dubbed with a speech listed in the comparison file."""
MISMATCHED: Final = "mismatched"
"""Arm with the videos of ``own``, scored against another clip's audio and lips to measure the chance level."""
SILENCE: Final = "silence"
"""Arm with the clip dubbed with silence."""
NOISE: Final = "noise"
"""Arm with the clip dubbed with noise only, at the level of the clip's own audio."""
NOISY: Final = {"noisy_20": 20.0, "noisy_10": 10.0, "noisy_0": 0.0}
"""Mapping from arm to signal-to-noise ratio in dB. In these arms, the clip is dubbed with its own audio plus noise.

The videos are scored against the clean audio and the clip's own lips.
"""
ARMS: Final = (REAL, OWN, SPEECH, MISMATCHED, SILENCE, NOISE, *NOISY)

ANCHOR: Final = "(real video)"
"""Variant name of the cells in the arm ``real``."""


@dataclass(frozen=True, slots=True)
class CellName:
    """Identity of a cell, which is one scored video of the comparison."""

    clip: str
    arm: str
    speech: str
    """Speech name in the arm ``speech``, name of the other clip in the arm ``mismatched``, otherwise empty."""
    variant: str
    """Variant name, or ``ANCHOR`` in the arm ``real``."""
    seed: int = 0
    rerun: int = 0
    """Rerun number, or 0 for the original run. Reruns start without a cache and quantify run-to-run variation."""

    @property
    def label(self) -> str:
        """Readable name for messages."""
        parts = [self.clip, self.arm, self.speech, self.variant]
        parts += [f"seed {self.seed}"] if self.seed else []
        parts += [f"rerun {self.rerun}"] if self.rerun else []
        return " / ".join(part for part in parts if part)


@dataclass(slots=True)
class CellResult:
    """Scores of one cell, or the reason why the cell has no scores."""

    name: CellName
    key: str
    """Name of the cell's directory in the subdirectory ``cells`` of the output directory."""
    state: Literal["done", "failed"]
    failure: str = ""
    """Error message in one line, or an empty string if the cell did not fail."""
    scores: dict[str, float | None] = field(default_factory=dict[str, "float | None"])
    """Mapping from measure to value, which is None if undefined for this cell."""
    absent: dict[str, str] = field(default_factory=dict[str, str])
    """Mapping from metric to the reason why the metric was not computed for this cell."""
    failed_metrics: dict[str, str] = field(default_factory=dict[str, str])
    """Mapping from metric to error message."""
    video: str = ""
    """Path of the video relative to the output directory."""
    record: dict[str, Any] = field(default_factory=dict[str, Any])
    """Run record, which is empty in the arm ``real``."""
    notes: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class VariantInfo:
    """Description of one variant."""

    name: str
    is_base: bool
    stages: dict[str, str]
    """Mapping from configuration key to stage name in pipeline order, such as ``enhancers.0`` to ``detail``."""
    differences: dict[str, str]
    """Mapping from configuration key to value, for every key that differs from the base."""
    configuration: dict[str, Any]
    """Content of the complete run file."""
    weights: tuple[dict[str, Any], ...]
    """``name``, ``bytes``, ``licence`` and ``commercial_use`` of each checkpoint."""
    licences: tuple[str, ...]
    """Unique licences of the variant's stages."""


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """Description of one metric."""

    name: str
    summary: str
    source: str
    licence: str
    package: str
    """Name and version of the distribution that provides the metric."""
    measures: tuple[Measure, ...]
    unavailable: str = ""
    """Reason why the metric is unavailable in this installation, such as missing weights, or an empty string."""


@dataclass(slots=True)
class Results:
    """All results of a comparison."""

    title: str
    created: str
    """Creation time in ISO 8601 format, UTC."""
    comparison: dict[str, Any]
    """Content of the comparison file, with default values for omitted keys."""
    variants: list[VariantInfo]
    metrics: list[MetricInfo]
    cells: list[CellResult]
    versions: dict[str, str]
    """Mapping from package to version."""
    machine: dict[str, str]
    """Machine description with the keys ``system``, ``processor``, ``cores`` and ``python``."""
    jobs: int = 1
    """Number of parallel jobs. Timings are unreliable if more than one job runs."""

    @property
    def base(self) -> VariantInfo:
        return next(variant for variant in self.variants if variant.is_base)

    def measures(self) -> list[Measure]:
        """Return every measure in the order of the metrics."""
        return [measure for metric in self.metrics for measure in metric.measures]
