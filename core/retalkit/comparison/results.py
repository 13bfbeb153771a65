"""What a comparison has found so far: plain data between computing, statistics and report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from retalkit.plugins.metric_specs import Measure

REAL: Final = "real"
"""Arm: the clip itself through the encoder with its own sound, unedited. What a perfect method would give."""
OWN: Final = "own"
"""Arm: the clip dubbed with its own sound, so that its own frames are the truth."""
SPEECH: Final = "speech"
"""Arm: the clip dubbed with a speech that the comparison file names."""
MISMATCHED: Final = "mismatched"
"""Arm: the video of ``own`` scored against sound and lips of another clip. What chance gives."""
SILENCE: Final = "silence"
"""Arm: the clip dubbed with silence."""
NOISE: Final = "noise"
"""Arm: the clip dubbed with noise alone, as loud as its own sound."""
NOISY: Final = {"noisy_20": 20.0, "noisy_10": 10.0, "noisy_0": 0.0}
"""Arms: the clip dubbed with its own sound in noise, and the speech's level above the noise in dB. Scored against the
clean sound and the clip's own lips."""
ARMS: Final = (REAL, OWN, SPEECH, MISMATCHED, SILENCE, NOISE, *NOISY)

ANCHOR: Final = "(real video)"
"""Stands where a variant stands for cells of the arm ``real``."""


@dataclass(frozen=True, slots=True)
class CellName:
    """Which cell of the comparison."""

    clip: str
    arm: str
    speech: str
    """Name of the speech where the arm is ``speech``, of the wrong clip where it is ``mismatched``, else empty."""
    variant: str
    """``ANCHOR`` in the arm ``real``."""
    seed: int = 0
    rerun: int = 0
    """More than 0: the same again from nothing, to see how far numbers move by themselves."""

    @property
    def label(self) -> str:
        """How messages and folders of previews call it."""
        parts = [self.clip, self.arm, self.speech, self.variant]
        parts += [f"seed {self.seed}"] if self.seed else []
        parts += [f"rerun {self.rerun}"] if self.rerun else []
        return " / ".join(part for part in parts if part)


@dataclass(slots=True)
class CellResult:
    """One cell: its scores, or why there are none."""

    name: CellName
    key: str
    """Folder below ``cells/`` of the output folder."""
    state: Literal["done", "failed"]
    failure: str = ""
    """One line."""
    scores: dict[str, float | None] = field(default_factory=dict[str, "float | None"])
    """Measure -> value; None where it is not defined for this cell."""
    absent: dict[str, str] = field(default_factory=dict[str, str])
    """Metric -> why it was not measured here."""
    failed_metrics: dict[str, str] = field(default_factory=dict[str, str])
    """Metric -> the error that it ended with."""
    video: str = ""
    """Path of the video relative to the output folder."""
    record: dict[str, Any] = field(default_factory=dict[str, Any])
    """The run record; empty in the arm ``real``."""
    notes: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class VariantInfo:
    """One variant as it was run."""

    name: str
    is_base: bool
    stages: dict[str, str]
    """Place -> stage, for instance ``enhancers.0`` -> ``detail``; in the order of a run."""
    differences: dict[str, str]
    """Place -> value, for what differs from the base."""
    configuration: dict[str, Any]
    """The whole run file."""
    weights: tuple[dict[str, Any], ...]
    """``name``, ``bytes``, ``licence``, ``commercial_use`` of each checkpoint that it loads."""
    licences: tuple[str, ...]
    """Of its stages, each once."""


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """One metric as the report explains it."""

    name: str
    summary: str
    source: str
    licence: str
    package: str
    """Distribution that offers it, and its version."""
    measures: tuple[Measure, ...]
    unavailable: str = ""
    """Why it was measured nowhere, such as missing weights; else empty."""


@dataclass(slots=True)
class Results:
    """A whole comparison."""

    title: str
    created: str
    """ISO 8601, UTC."""
    comparison: dict[str, Any]
    """The comparison file as it was read, all defaults filled in."""
    variants: list[VariantInfo]
    metrics: list[MetricInfo]
    cells: list[CellResult]
    versions: dict[str, str]
    """Package -> version."""
    machine: dict[str, str]
    """``system``, ``processor``, ``cores``, ``python``."""
    jobs: int = 1
    """Cells that were computed at once: more than 1 makes times longer."""

    @property
    def base(self) -> VariantInfo:
        return next(variant for variant in self.variants if variant.is_base)

    def measures(self) -> list[Measure]:
        """Every measure, in the order of the metrics."""
        return [measure for metric in self.metrics for measure in metric.measures]
