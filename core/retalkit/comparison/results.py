"""Results of a comparison as plain dataclasses, shared by computation, statistics and report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from retalkit.plugins.metric_specs import Measure

REAL: Final = "real"
"""Arm: the unedited clip with its own sound, re-encoded. The score of a perfect method."""
OWN: Final = "own"
"""Arm: the clip dubbed with its own sound, so that its own frames are the ground truth."""
SPEECH: Final = "speech"
"""Arm: the clip dubbed with a speech listed in the comparison file."""
MISMATCHED: Final = "mismatched"
"""Arm: the video of ``own`` scored against the sound and lips of another clip. The chance level."""
SILENCE: Final = "silence"
"""Arm: the clip dubbed with silence."""
NOISE: Final = "noise"
"""Arm: the clip dubbed with noise only, at the level of its own sound."""
NOISY: Final = {"noisy_20": 20.0, "noisy_10": 10.0, "noisy_0": 0.0}
"""Arms -> signal-to-noise ratio in dB: the clip dubbed with its own sound plus noise. Scored against the clean sound
and the clip's own lips."""
ARMS: Final = (REAL, OWN, SPEECH, MISMATCHED, SILENCE, NOISE, *NOISY)

ANCHOR: Final = "(real video)"
"""Variant name of the cells of the arm ``real``."""


@dataclass(frozen=True, slots=True)
class CellName:
    """Identity of a cell: one scored video of the comparison."""

    clip: str
    arm: str
    speech: str
    """Name of the speech in the arm ``speech``, of the other clip in the arm ``mismatched``, else empty."""
    variant: str
    """``ANCHOR`` in the arm ``real``."""
    seed: int = 0
    rerun: int = 0
    """Number of the rerun, or 0 for the original run. Reruns start without cache and show run-to-run variation."""

    @property
    def label(self) -> str:
        """Readable name, used in messages."""
        parts = [self.clip, self.arm, self.speech, self.variant]
        parts += [f"seed {self.seed}"] if self.seed else []
        parts += [f"rerun {self.rerun}"] if self.rerun else []
        return " / ".join(part for part in parts if part)


@dataclass(slots=True)
class CellResult:
    """Scores of one cell, or the reason why there are none."""

    name: CellName
    key: str
    """Directory name below ``cells/`` of the output directory."""
    state: Literal["done", "failed"]
    failure: str = ""
    """One line."""
    scores: dict[str, float | None] = field(default_factory=dict[str, "float | None"])
    """Measure -> value; None if it is undefined for this cell."""
    absent: dict[str, str] = field(default_factory=dict[str, str])
    """Metric -> why it was not measured here."""
    failed_metrics: dict[str, str] = field(default_factory=dict[str, str])
    """Metric -> error message."""
    video: str = ""
    """Path of the video relative to the output directory."""
    record: dict[str, Any] = field(default_factory=dict[str, Any])
    """The run record; empty in the arm ``real``."""
    notes: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class VariantInfo:
    """Description of one variant."""

    name: str
    is_base: bool
    stages: dict[str, str]
    """Configuration key -> stage name, for instance ``enhancers.0`` -> ``detail``, in pipeline order."""
    differences: dict[str, str]
    """Configuration key -> value, for every key that differs from the base."""
    configuration: dict[str, Any]
    """The complete run file."""
    weights: tuple[dict[str, Any], ...]
    """``name``, ``bytes``, ``licence``, ``commercial_use`` of each checkpoint."""
    licences: tuple[str, ...]
    """Unique licences of its stages."""


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """Description of one metric."""

    name: str
    summary: str
    source: str
    licence: str
    package: str
    """Name and version of the distribution that provides it."""
    measures: tuple[Measure, ...]
    unavailable: str = ""
    """Why the metric is unavailable in this installation, such as missing weights; else empty."""


@dataclass(slots=True)
class Results:
    """All results of a comparison."""

    title: str
    created: str
    """ISO 8601, UTC."""
    comparison: dict[str, Any]
    """Content of the comparison file with all defaults filled in."""
    variants: list[VariantInfo]
    metrics: list[MetricInfo]
    cells: list[CellResult]
    versions: dict[str, str]
    """Package -> version."""
    machine: dict[str, str]
    """``system``, ``processor``, ``cores``, ``python``."""
    jobs: int = 1
    """Number of parallel jobs. Timings are unreliable above 1."""

    @property
    def base(self) -> VariantInfo:
        return next(variant for variant in self.variants if variant.is_base)

    def measures(self) -> list[Measure]:
        """Return every measure in the order of the metrics."""
        return [measure for metric in self.metrics for measure in metric.measures]
