"""Quality gate for damaged videos, whose frames cannot all be decoded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from retalkit.batch.gate_results import EDGE, GateResult, runs_of, verdict_of
from retalkit.media.sound import open_sound
from retalkit.media.sources import VideoSource, open_source
from retalkit.media.timeline import build_timeline
from retalkit.pipeline.analysis_store import analysed_part
from retalkit.pipeline.stage_errors import check_cancelled
from retalkit.pipeline.steps import ClipSteps
from retalkit.storage.cache import content_hash, make_key

_VERSION: Final = 1
_FILE: Final = "damaged.json"


def check_source(
    video: Path, record: Mapping[str, Any], speech: Path | None, steps: ClipSteps, limit: float, count: int
) -> list[GateResult]:
    """Return the result of the gate ``damaged``, or an empty list for a still image.

    ``record``: run record of the output. ``speech``: speech of a run without cues. ``count``: number of output frames.
    The run replaces a frame that cannot be decoded by the preceding one, and drops the missing end of a truncated file.
    """
    source = open_source(video)
    if not isinstance(source, VideoSource):
        return []
    with_cues = bool(record["cues"]) or speech is None
    config = steps.plan.config
    duration = source.info.duration if with_cues or speech is None else open_sound(speech).duration
    timeline = build_timeline(source, duration, "video" if with_cues else config.length, config.extend)
    frames = analysed_part(source, timeline, config.analysis_seconds).info.frame_count
    lost = _undecodable(source, frames, steps)
    source.close()
    missing = source.index.missing
    total = frames + missing
    value = (len(lost) + missing) / total
    good = value <= limit + EDGE
    mask = np.isin(timeline.sources(0, count), lost)
    text = f"{len(lost) + missing} of {total} frames of the video cannot be decoded"
    result = GateResult(
        gate="damaged",
        verdict=verdict_of(good),
        value=round(value, 4),
        limit=limit,
        text=text,
        frames=[] if good else runs_of(mask),
    )
    return [result]


def _undecodable(source: VideoSource, frames: int, steps: ClipSteps) -> NDArray[np.int64]:
    """Return the frames of the first ``frames`` frames that cannot be decoded. All jobs of a video share the result."""
    entry = steps.cache.entry(make_key("damaged", _VERSION, content_hash(source.path), frames))
    stored = entry.path(_FILE)
    if stored is not None:
        return np.array(json.loads(stored.read_text(encoding="utf-8")), np.int64)
    for _ in source.read_video_frames(range(frames), source.pixel_format):
        check_cancelled(steps.cancellation.is_set)
    lost = source.undecodable
    with entry.write(_FILE) as path:
        path.write_text(json.dumps(lost), encoding="utf-8")
    return np.array(lost, np.int64)
