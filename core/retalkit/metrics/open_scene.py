"""Opens scenes: tracks what is seen, decodes what is heard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retalkit.config.model import load
from retalkit.errors import InputError
from retalkit.media.sources import open_source
from retalkit.media.timeline import build_timeline
from retalkit.metrics.scene import Scene
from retalkit.motion_eval.agreement import GRID_RATE, Lips
from retalkit.motion_eval.clips import lips_of, track
from retalkit.observer import Observer
from retalkit.pipeline.analysis_store import StoredAnalysis
from retalkit.pipeline.plan import plan
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.fingerprint import sources_hash
from retalkit.plugins.metric_specs import FRAMES, LANDMARKS, LIPS, ORIGINAL, RECORD, SPEECH, TRUTH
from retalkit.plugins.registry import Registry
from retalkit.stages import SPEECH_RATE
from retalkit.storage.cache import Cache, Folder, make_key

TRACKING_PRESET = "embedded"
"""Everything is tracked with the stages of this preset, whatever stages made it: so that all are measured alike."""


def measured_by(registry: Registry) -> str:
    """Key of all that every metric rests on: the stages that track, and in an editable installation the code around
    them. Raises PlanError where those stages cannot run here."""
    chosen = plan(load(registry, preset=TRACKING_PRESET), registry)
    trackers = [stage.identity() for stage in (chosen.detector, chosen.reconstructor)]
    code = [sources_hash("retalkit", f"retalkit.{part}") for part in ("metrics", "motion_eval", "geometry")]
    return make_key("measured", trackers, code)


class SceneOpener:
    """Opens scenes with one tracker and one cache."""

    def __init__(self, registry: Registry, cache: Cache, observer: Observer) -> None:
        """Raises PlanError where the tracking stages cannot run here."""
        self._steps = ClipSteps(plan(load(registry, preset=TRACKING_PRESET), registry), cache, observer)

    def tracked(self, video: Path) -> StoredAnalysis:
        """Raises InputError where the video shows no face."""
        return track(video, self._steps)

    def lips(self, video: Path, seconds: float | None = None) -> Lips:
        """The lips in a video, the first ``seconds`` of them. Raises InputError where it shows no face."""
        lips = lips_of(self.tracked(video))
        stop = None if seconds is None else max(1, round(seconds * GRID_RATE))
        return Lips(lips.opening[:stop], lips.width[:stop], lips.start)

    def scene(
        self,
        video: Path,
        ports: frozenset[str],
        *,
        original: Path | None = None,
        sources: NDArray[np.int64] | None = None,
        sound: NDArray[np.float32] | None = None,
        reference: Path | None = None,
        record: Path | None = None,
        folder: Folder | None = None,
        device: str = "cpu",
    ) -> Scene:
        """A scene with those of ``ports`` that there is something for.

        ``sources`` int64 [T] says which frame of ``original`` each frame was made of; without it the nearest in time.
        ``sound`` float32 [N] mono at 16 kHz; ``reference`` shows somebody who says it. Raises InputError for a file
        that cannot be read and for a reference without a face; a video without one only lacks the port ``landmarks``.
        """
        source = open_source(video)
        output = self._tracked_or_none(video)
        unedited = None if original is None else open_source(original)
        seen = None if original is None else self._tracked_or_none(original)
        seconds = None if sound is None else len(sound) / SPEECH_RATE
        lips = None if reference is None or LIPS not in ports else self.lips(reference, seconds)
        known: Mapping[str, Any] | None = None
        if record is not None and record.is_file():
            known = json.loads(record.read_text(encoding="utf-8"))
        there = {
            FRAMES: True,
            LANDMARKS: output is not None,
            ORIGINAL: unedited is not None,
            TRUTH: unedited is not None,
            LIPS: lips is not None,
            SPEECH: sound is not None,
            RECORD: known is not None,
        }
        if unedited is not None and sources is None:
            sources = _nearest(source.times(0, source.info.frame_count), unedited.times(0, unedited.info.frame_count))
        return Scene(
            video=video,
            source=source,
            output=output,
            original=unedited,
            original_analysis=seen,
            sources=sources,
            sound=sound,
            lips=lips,
            record=known,
            ports=frozenset(port for port in ports if there.get(port, True)),
            cache=folder,
            device=device,
        )

    def _tracked_or_none(self, video: Path) -> StoredAnalysis | None:
        try:
            return self.tracked(video)
        except InputError:
            return None


def shown_sources(clip: Path, seconds: float, length: Any, extend: Any) -> NDArray[np.int64]:
    """int64 [T]: the frame of the clip that each frame of a dub with so many seconds of sound shows."""
    timeline = build_timeline(open_source(clip), seconds, length, extend)
    return timeline.sources(0, timeline.count)


def _nearest(times: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.int64]:
    """int64 [T]: for each time the position of the nearest of ``others`` (ascending)."""
    after = np.clip(np.searchsorted(others, times), 1, max(len(others) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(others) - 1)
    return np.where(times - others[before] <= others[after] - times, before, after).astype(np.int64)
