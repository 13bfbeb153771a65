"""Result of a batch as dataclasses, which the run, the tables and the index page share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from retalkit.batch.gate_results import needs_review, review_text
from retalkit.batch.jobs import Job

State = Literal["done", "needs review", "failed", "not run"]
STATES: Final[tuple[State, ...]] = ("done", "needs review", "failed", "not run")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutcome:
    """Result of one job."""

    job: Job
    state: State
    computed: bool = False
    """Whether the job was computed in this call. Otherwise, the result is from an earlier call."""
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Content of the journal's entry: ``code`` and ``reason`` of a failure, ``gates``, ``seconds``, ``cpu_seconds``,
    ``attempts``, ``worker``, ``log``, and the facts about the run that ``retalkit.batch.dubbing.run_job`` returns."""

    @property
    def reason(self) -> str:
        """Error message of a failed job in one line, otherwise an empty string."""
        return str(self.values.get("reason", ""))

    @property
    def problem(self) -> str:
        """Reason of a failure or of a review in one line, otherwise an empty string."""
        return self.reason or review_text(self.gates)

    @property
    def notes(self) -> Sequence[str]:
        """Notes of the run, such as a transcript that does not match the speech."""
        return self.values.get("notes", ())

    @property
    def gates(self) -> Sequence[Mapping[str, Any]]:
        """Results of the quality gates, see ``retalkit.batch.gate_results.GateResult``."""
        return self.values.get("gates", ())

    def plain(self) -> dict[str, Any]:
        """Return the result as JSON-compatible data."""
        job = self.job
        files = {"video": job.video, "speech": job.speech, "cues": job.cues, "output": job.output}
        files |= {"reference": job.reference, "transcript": job.transcript}
        return {
            **{name: None if path is None else str(path) for name, path in files.items()},
            "language": job.language,
            "settings": job.settings,
            "state": self.state,
            "computed": self.computed,
            **{name: value for name, value in self.values.items() if name not in _INTERNAL},
        }


_INTERNAL: Final = ("key", "state", "output", "gates_key", "output_stat", "inputs")
"""Keys of a journal's entry that are not part of the results."""


def job_state(entry_state: str, gates: Sequence[Mapping[str, Any]]) -> State:
    """Return the state of a job with an entry in the journal."""
    if entry_state == "failed":
        return "failed"
    return "needs review" if needs_review(gates) else "done"


@dataclass(slots=True)
class BatchOutcome:
    """Result of one call of a batch."""

    folder: Path
    """Results directory."""
    jobs: list[JobOutcome] = field(default_factory=list[JobOutcome])
    workers: int = 0
    wall_seconds: float = 0.0
    work_seconds: float = 0.0
    """Sum of the wall-clock times of all tasks in this call."""
    cpu_seconds: float = 0.0
    """Sum of the CPU times of all tasks in this call."""
    evaluated: int = 0
    """Number of jobs of which only the gates were evaluated in this call. They are included in ``computed``."""
    analyses: int = 0
    """Number of clips that were analysed once for several jobs in this call."""

    @property
    def counts(self) -> Mapping[State, int]:
        """Number of jobs in each state."""
        found = Counter(each.state for each in self.jobs)
        return {state: found[state] for state in STATES}

    @property
    def computed(self) -> int:
        """Number of jobs that were computed in this call."""
        return sum(each.computed for each in self.jobs)

    @property
    def efficiency(self) -> float:
        """Ratio of the sum of all work divided by the number of workers to the wall-clock time."""
        return self.work_seconds / max(self.workers * self.wall_seconds, 1e-9)
