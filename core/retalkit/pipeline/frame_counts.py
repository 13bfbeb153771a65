"""Counts of edited and unchanged output frames, and the times at which each face was edited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from retalkit.pipeline.face_job import NO_FACE, OUTSIDE_CUES
from retalkit.pipeline.preview import OutputWindow
from retalkit.stages import FrameResult, PassedThrough

_SURE = 0.999
_UNINFORMATIVE = (OUTSIDE_CUES, NO_FACE)
"""Reasons of unchanged frames that are recorded only if no other face has another reason. The first has the lowest
priority."""


@dataclass(frozen=True, slots=True)
class FrameRun:
    """Consecutive output frames in which a face was edited, or in which it was unchanged for one reason."""

    start: int
    stop: int
    reason: str
    """Reason why the face is unchanged, or an empty string for edited frames."""


@dataclass(slots=True)
class FrameCounts:
    """Counts of edited, faded and unchanged frames, grouped by reason, and the outcome of each face."""

    edited: int = 0
    faded: Counter[str] = field(default_factory=Counter[str])
    passed: Counter[str] = field(default_factory=Counter[str])
    runs: list[list[FrameRun]] = field(default_factory=list[list[FrameRun]])
    """Frames of each face job, as consecutive runs with one outcome."""

    def add(self, position: int, results: Sequence[FrameResult]) -> None:
        """Count the output frame at ``position`` based on the results for all faces. A frame counts as edited if at
        least one face was edited."""
        self.runs = self.runs or [[] for _ in results]
        for runs, result in zip(self.runs, results, strict=True):
            reason = result.reason if isinstance(result, PassedThrough) else ""
            _append(runs, FrameRun(position, position + 1, reason))
        edits = [result for result in results if not isinstance(result, PassedThrough)]
        if not edits:
            reasons = [result.reason for result in results if isinstance(result, PassedThrough)]
            self.passed[max(reasons, key=_priority)] += 1
            return
        self.edited += 1
        weakest = min(edits, key=lambda edit: edit.confidence)
        if weakest.confidence < _SURE and weakest.reason:
            self.faded[weakest.reason] += 1

    def merge(self, data: dict[str, Any]) -> None:
        """Add the counts of a completed segment."""
        self.edited += int(data["edited"])
        self.faded.update(data["faded"])
        self.passed.update(data["passed"])
        self.runs = self.runs or [[] for _ in data["runs"]]
        for runs, added in zip(self.runs, data["runs"], strict=True):
            for start, stop, reason in added:
                _append(runs, FrameRun(int(start), int(stop), str(reason)))

    def as_dict(self) -> dict[str, Any]:
        runs = [[[run.start, run.stop, run.reason] for run in of_job] for of_job in self.runs]
        return {"edited": self.edited, "faded": dict(self.faded), "passed": dict(self.passed), "runs": runs}


def _append(runs: list[FrameRun], added: FrameRun) -> None:
    if runs and runs[-1].stop == added.start and runs[-1].reason == added.reason:
        added = FrameRun(runs.pop().start, added.stop, added.reason)
    runs.append(added)


def _priority(reason: str) -> int:
    return _UNINFORMATIVE.index(reason) if reason in _UNINFORMATIVE else len(_UNINFORMATIVE)


def edited_times(counts: FrameCounts, window: OutputWindow, persons: Sequence[str]) -> list[dict[str, Any]]:
    """Return the edited time ranges of each person in seconds, as plain data for the run record.

    ``persons``: name of each face job's person.
    """
    return [
        {"person": person, "ranges": [_times(run, window) for run in runs if not run.reason]}
        for person, runs in zip(persons, counts.runs, strict=True)
    ]


def unedited_times(counts: FrameCounts, window: OutputWindow, persons: Sequence[str]) -> list[dict[str, Any]]:
    """Return the time ranges inside the cues in which a person was not edited, grouped by person and reason."""
    found: dict[tuple[str, str], list[list[float]]] = {}
    for person, runs in zip(persons, counts.runs, strict=True):
        for run in runs:
            if run.reason not in ("", OUTSIDE_CUES):
                found.setdefault((person, run.reason), []).append(_times(run, window))
    return [{"person": person, "reason": reason, "ranges": ranges} for (person, reason), ranges in found.items()]


def _times(run: FrameRun, window: OutputWindow) -> list[float]:
    """Return the start and end of a run in seconds."""
    last = run.stop - 1
    end = window.times(last, run.stop)[0] + window.timeline.durations(last, run.stop)[0]
    return [round(float(window.times(run.start, run.start + 1)[0]), 6), round(float(end), 6)]
