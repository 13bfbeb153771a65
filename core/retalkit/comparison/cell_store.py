"""Where a comparison keeps what it has computed: videos, scores and failures, each under its key.

``videos/KEY/video.mp4`` with its run record, ``cells/KEY/METRIC.json`` for each metric, ``cells/KEY/failure.json``.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from retalkit.metrics.scoring import MetricScore, fingerprint
from retalkit.plugins.registry import FoundMetric
from retalkit.storage.cache import Folder

_VIDEO = "video.mp4"
_FAILURE = "failure.json"


class CellStore:
    """The folder of one comparison."""

    def __init__(self, folder: Path, measured_by: str = "") -> None:
        """``measured_by``: see ``retalkit.metrics.open_scene``; scores that were measured by something else do not
        count."""
        self.folder = folder
        self.measured_by = measured_by

    def video(self, key: str) -> Path:
        """Where the video of a task lies, or will lie."""
        return self.folder / "videos" / key / _VIDEO

    def record(self, key: str) -> dict[str, Any]:
        """The run record beside a video; empty where there is none."""
        path = self.video(key).with_name(_VIDEO + ".json")
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def cell(self, key: str) -> Folder:
        return Folder(self.folder / "cells" / key)

    def log(self, key: str) -> Path:
        """What the process of a task printed."""
        return self.folder / "logs" / f"{key}.txt"

    # ------------------------------------------------------------------ scores

    def put_score(self, key: str, found: FoundMetric, given: MetricScore) -> None:
        """Stores what a metric gave for a cell."""
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
        """What the metric gave, as long as it would give the same now."""
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
        """Why the cell failed, in one line; empty where it did not."""
        path = self.cell(key).path(_FAILURE)
        return "" if path is None else str(json.loads(path.read_text(encoding="utf-8"))["failure"])

    def forget_failure(self, key: str) -> None:
        path = self.cell(key).path(_FAILURE)
        if path is not None:
            path.unlink()
