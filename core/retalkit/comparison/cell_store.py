"""Storage for a comparison's videos, scores and failures, addressed by content key.

Directory layout: ``videos/KEY/video.mp4`` and its run record, ``cells/KEY/METRIC.json`` for each metric, and
``cells/KEY/failure.json``.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from retalkit.metrics.scoring import MetricScore, fingerprint
from retalkit.plugins.registry import FoundMetric
from retalkit.storage.cache import CacheEntry

_VIDEO = "video.mp4"
_FAILURE = "failure.json"


class CellStore:
    """Store for videos, scores and failures in the output directory of one comparison."""

    def __init__(self, folder: Path, measured_by: str = "") -> None:
        """Open the store in ``folder``.

        ``measured_by`` is the tracker's cache key from ``retalkit.metrics.open_scene.measurement_key``. Scores that
        were computed with a different tracker are ignored.
        """
        self.folder = folder
        self.measured_by = measured_by

    def video(self, key: str) -> Path:
        """Return the path of a task's video, which may not exist yet."""
        return self.folder / "videos" / key / _VIDEO

    def record(self, key: str) -> dict[str, Any]:
        """Return the run record of a video, or an empty dictionary if no readable record exists."""
        path = self.video(key).with_name(_VIDEO + ".json")
        try:
            data: Any = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def cell(self, key: str) -> CacheEntry:
        return CacheEntry(self.folder / "cells" / key)

    def log(self, key: str) -> Path:
        """Return the path of the log file that contains the output of a task's process."""
        return self.folder / "logs" / f"{key}.txt"

    # ------------------------------------------------------------------ scores

    def put_score(self, key: str, found: FoundMetric, given: MetricScore) -> None:
        """Store a metric's result for a cell."""
        data = {
            "fingerprint": fingerprint(found),
            "measured_by": self.measured_by,
            "scores": {name: value if math.isfinite(value) else str(value) for name, value in given.scores.items()},
            "absent": given.skip_reason,
            "error": given.error,
        }
        with self.cell(key).write(f"{found.spec.name}.json") as path:
            path.write_text(json.dumps(data, indent=1), encoding="utf-8")

    def score(self, key: str, found: FoundMetric) -> MetricScore | None:
        """Return a metric's stored result, or None if the result is missing or outdated."""
        path = self.cell(key).path(f"{found.spec.name}.json")
        if path is None:
            return None
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["fingerprint"] != fingerprint(found) or data.get("measured_by") != self.measured_by:
            return None
        return MetricScore(
            {name: float(value) for name, value in data["scores"].items()}, data["absent"], data["error"]
        )

    # ------------------------------------------------------------------ failures

    def put_failure(self, key: str, line: str) -> None:
        with self.cell(key).write(_FAILURE) as path:
            path.write_text(json.dumps({"failure": line}), encoding="utf-8")

    def failure(self, key: str) -> str:
        """Return the cell's error message in one line, or an empty string if the cell has not failed."""
        path = self.cell(key).path(_FAILURE)
        return "" if path is None else str(json.loads(path.read_text(encoding="utf-8"))["failure"])

    def forget_failure(self, key: str) -> None:
        path = self.cell(key).path(_FAILURE)
        if path is not None:
            path.unlink()
