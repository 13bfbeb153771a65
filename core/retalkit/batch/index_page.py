"""Index page of a batch, which shows all results side by side. The page requires no network connection."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined

from retalkit._version import __version__
from retalkit.batch.gate_limits import MINIMUMS
from retalkit.batch.gate_results import frames_text
from retalkit.batch.outcome import STATES, BatchOutcome, JobOutcome, State
from retalkit.batch.result_file import result_file
from retalkit.pipeline.record import record_path

PAGE_FILE: Final = "index.html"
_SHOWN: Final = 300
"""Maximum number of jobs on the page. Failed jobs and jobs that need review are shown first."""
_PRELOADED: Final = 48
"""Maximum number of jobs with which the browser loads the first frame of every video."""
_SHOWN_RANGES: Final = 30
"""Maximum number of frame ranges that the page lists for one gate."""
_ORDER: Final[tuple[State, ...]] = ("failed", "needs review", "done", "not run")


def write_index(outcome: BatchOutcome) -> Path:
    """Write ``index.html`` to the results directory and return its path. Videos are linked by relative paths."""
    ordered = sorted(outcome.jobs, key=lambda each: _ORDER.index(each.state))
    shown = ordered[:_SHOWN]
    groups: dict[Path, list[JobOutcome]] = {}
    for each in shown:
        groups.setdefault(each.job.video, []).append(each)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = (files("retalkit.batch") / "templates" / "index.html.j2").read_text(encoding="utf-8")
    page = environment.from_string(template).render(
        version=__version__,
        created=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        counts=[(state, outcome.counts[state]) for state in STATES],
        total=len(outcome.jobs),
        hidden=len(ordered) - len(shown),
        preload="metadata" if len(shown) <= _PRELOADED else "none",
        groups=[
            {
                "name": video.name,
                "source": _link(video, outcome.folder),
                "is_video": video.suffix.lower() in _PLAYABLE,
                "jobs": [_card(each, outcome.folder) for each in jobs],
            }
            for video, jobs in groups.items()
        ],
    )
    with result_file(outcome.folder / PAGE_FILE) as path:
        path.write_text(page, encoding="utf-8")
    return outcome.folder / PAGE_FILE


_PLAYABLE: Final = (".mp4", ".m4v", ".mov", ".mkv", ".webm")


def _card(each: JobOutcome, folder: Path) -> dict[str, Any]:
    job, values = each.job, each.values
    frames = int(values.get("frames_edited", 0)) + sum(values.get("frames_passed", {}).values())
    speech = job.cues or job.speech
    return {
        "name": job.output.name,
        "language": job.language,
        "speech": speech.name if speech is not None else "",
        "state": each.state,
        "reason": each.reason,
        "source": _link(job.output, folder) if each.state in ("done", "needs review") else "",
        "log": quote(str(values.get("log", ""))),
        "record": _link(record_path(job.output), folder),
        "edited": f"{values.get('frames_edited', 0)} of {frames} frames edited" if frames else "",
        "settings": job.settings,
        "notes": list(each.notes),
        "gates": [_gate(gate) for gate in each.gates],
    }


_NAMES: Final = {"face_lost": "face lost", "drift": "drift (frames)"}


def _gate(gate: Mapping[str, Any]) -> dict[str, Any]:
    name, value, limit = str(gate["gate"]), gate.get("value"), gate.get("limit")
    sign = "≥" if name in MINIMUMS else "≤"
    times: Sequence[float] = gate.get("seconds", ())
    ranges: Sequence[Sequence[int]] = gate.get("frames", ())
    return {
        "name": _NAMES.get(name, name),
        "verdict": gate["verdict"],
        "value": "" if value is None else _amount(name, value),
        "limit": "" if limit is None else f"{sign} {_amount(name, limit)}",
        "text": gate.get("text", ""),
        "ranges": [
            {"text": frames_text([frames]), "time": f"{time:.3f}"}
            for frames, time in zip(ranges[:_SHOWN_RANGES], times, strict=False)
        ],
        "more": max(len(ranges) - _SHOWN_RANGES, 0),
    }


def _amount(gate: str, value: float) -> str:
    """Format a value or limit of a gate. Shares are shown as percentages."""
    return f"{value:.2g}" if gate in ("lips", "drift") else f"{100 * value:.3g} %"


def _link(path: Path, folder: Path) -> str:
    """Return a relative URL of a file."""
    try:
        relative = os.path.relpath(path.absolute(), folder.absolute())
    except ValueError:  # another drive on Windows
        return path.absolute().as_uri()
    return quote(Path(relative).as_posix())
