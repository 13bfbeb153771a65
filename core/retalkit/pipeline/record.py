"""The run record: what was done with which configuration, and what it cost. One JSON beside each output."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class RunRecord:
    """What a run leaves beside its output."""

    output: Path
    record: Path
    """Where this record lies: the output's name with ``.json`` behind."""
    frames_edited: int = 0
    frames_passed: dict[str, int] = field(default_factory=dict[str, int])
    """Reason -> frames that came through as they were."""
    frames_faded: dict[str, int] = field(default_factory=dict[str, int])
    """Reason -> frames that were edited with less than full confidence."""
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    """Step -> wall-clock seconds."""
    cached_steps: list[str] = field(default_factory=list[str])
    cost: dict[str, float] = field(default_factory=dict[str, float])
    """Step -> seconds that computing it takes, measured in this run or, where it was cached, when it was computed."""
    stage_cost: dict[str, float] = field(default_factory=dict[str, float])
    """Place of a stage that makes pixels, such as ``enhancers.0`` -> seconds of its own; ``cost`` of ``references``,
    ``lips`` and ``render`` holds them, too."""
    wall_seconds: float = 0.0
    output_seconds: float = 0.0
    realtime_factor: float = 0.0
    """Seconds of video made in a second of wall-clock time."""
    peak_memory_bytes: int = 0
    """Largest resident memory of the process that made this run."""
    peak_memory_cost: int = 0
    """The same of a run that computes every step: those that were cached count with what they took when they were
    computed. 0 where that is not known."""
    notes: list[str] = field(default_factory=list[str])
    artefacts: dict[str, Path] = field(default_factory=dict[str, Path])
    inputs: dict[str, str] = field(default_factory=dict[str, str])
    """``video`` and ``speech`` -> path and SHA-256 of the content."""
    configuration: dict[str, Any] = field(default_factory=dict[str, Any])
    versions: dict[str, str] = field(default_factory=dict[str, str])
    """Package -> version, for retalkit, the plugins used and the libraries that decide the result."""
    weights: dict[str, str] = field(default_factory=dict[str, str])
    """Stage and name of each file that it read (weights, a motion file) -> SHA-256."""
    weight_bytes: dict[str, int] = field(default_factory=dict[str, int])
    """The same files -> size."""
    seed: int = 0

    def save(self) -> None:
        """Writes the record atomically."""
        data = asdict(self)
        temporary = self.record.with_name(f".{self.record.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}")
        try:
            temporary.write_text(json.dumps(data, indent=2, default=str, ensure_ascii=False) + "\n", encoding="utf-8")
            temporary.replace(self.record)
        finally:
            temporary.unlink(missing_ok=True)
