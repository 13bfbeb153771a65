"""Construction of scenes, which includes face tracking and audio decoding."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retalkit.config.model import DEFAULT_PRESET, load
from retalkit.errors import InputError
from retalkit.media.sources import open_source
from retalkit.media.timeline import build_timeline
from retalkit.metrics.scene import Scene, nearest_times
from retalkit.motion_eval.agreement import GRID_RATE, Lips
from retalkit.motion_eval.clips import measure_lips, track
from retalkit.observer import Observer
from retalkit.paths import is_file
from retalkit.pipeline.analysis_store import StoredAnalysis
from retalkit.pipeline.plan import Plan, plan
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.fingerprint import sources_hash
from retalkit.plugins.metric_specs import FRAMES, LANDMARKS, LIPS, ORIGINAL, RECORD, SPEECH, TRUTH
from retalkit.plugins.registry import Registry
from retalkit.stages import SPEECH_RATE, ObjectPool
from retalkit.storage.cache import Cache, Folder, make_key


def measurement_key(registry: Registry) -> str:
    """Return the cache key of the dependencies that all metrics share.

    These dependencies are the tracking stages and, in editable installations, the stages' source code. Raises PlanError
    if the tracking stages cannot run on this machine.
    """
    tracking = _tracking_plan(registry)
    trackers = [stage.identity() for stage in (tracking.detector, tracking.reconstructor)]
    code = [sources_hash("retalkit", f"retalkit.{part}") for part in ("metrics", "motion_eval", "geometry")]
    return make_key("measured", trackers, code)


def _tracking_plan(registry: Registry) -> Plan:
    # The default preset is used for all videos, regardless of the stages that rendered a video, so that all videos are
    # measured with the same tracker.
    return plan(load(registry, preset=DEFAULT_PRESET), registry)


class SceneOpener:
    """Factory for scenes that uses the tracking stages of the default preset and a shared cache."""

    def __init__(self, registry: Registry, cache: Cache, observer: Observer, pool: ObjectPool | None = None) -> None:
        """Create the tracking stages, or use those in ``pool``. Raises PlanError if they cannot run on this machine."""
        self._steps = ClipSteps(_tracking_plan(registry), cache, observer, pool)

    def track(self, video: Path) -> StoredAnalysis:
        """Track the face in a video. Raises InputError if no face is found."""
        return track(video, self._steps)

    def lips(self, video: Path, seconds: float | None = None) -> Lips:
        """Compute lip features for the first ``seconds`` of a video. Raises InputError if no face is found."""
        lips = measure_lips(self.track(video))
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
        """Open a scene that provides all ports in ``ports`` for which data is available.

        Args:
            video: the video to score. If no face is found, the scene does not provide the port ``landmarks``.
            ports: names of the requested ports.
            original: the unedited clip.
            sources: frame index in ``original`` from which each video frame was rendered, int64 [T] (default: index of
                the frame with the nearest timestamp).
            sound: mono audio at 16 kHz, float32 [N].
            reference: video of a person who speaks the audio in ``sound``.

        Raises:
            InputError: a file cannot be read, or no face is found in ``reference``.
        """
        source = open_source(video)
        output = self._track_or_none(video)
        unedited = None if original is None else open_source(original)
        original_analysis = None if original is None else self._track_or_none(original)
        seconds = None if sound is None else len(sound) / SPEECH_RATE
        lips = None if reference is None or LIPS not in ports else self.lips(reference, seconds)
        record_data: Mapping[str, Any] | None = None
        if record is not None and is_file(record):
            record_data = json.loads(record.read_text(encoding="utf-8"))
        available = {
            FRAMES: True,
            LANDMARKS: output is not None,
            ORIGINAL: unedited is not None,
            TRUTH: unedited is not None,
            LIPS: lips is not None,
            SPEECH: sound is not None,
            RECORD: record_data is not None,
        }
        if unedited is not None and sources is None:
            sources = nearest_times(
                source.times(0, source.info.frame_count), unedited.times(0, unedited.info.frame_count)
            )
        return Scene(
            video=video,
            source=source,
            output=output,
            original=unedited,
            original_analysis=original_analysis,
            sources=sources,
            sound=sound,
            lips=lips,
            record=record_data,
            ports=frozenset(port for port in ports if available.get(port, True)),
            cache=folder,
            device=device,
        )

    def _track_or_none(self, video: Path) -> StoredAnalysis | None:
        try:
            return self.track(video)
        except InputError:
            return None


def source_frames(clip: Path, seconds: float, length: Any, extend: Any) -> NDArray[np.int64]:
    """Return the clip's frame index for each frame of a dub with ``seconds`` of speech, int64 [T]."""
    timeline = build_timeline(open_source(clip), seconds, length, extend)
    return timeline.sources(0, timeline.count)
