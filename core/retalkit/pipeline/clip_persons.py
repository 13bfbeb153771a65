"""Detection, tracking and recognition of all persons in a clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retalkit.persons.grouping import MIN_FRAMES, Distance, Persons, group_tracklets, needs_descriptors
from retalkit.pipeline.analysis_store import LimitedSource
from retalkit.pipeline.keys import AnalysisKeys, analysis_keys, descriptors_key, tracklets_key
from retalkit.pipeline.steps import ClipSteps
from retalkit.pipeline.tracklets import StoredTracklets

Float = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPersons:
    """All persons of a clip."""

    persons: Persons
    tracked: StoredTracklets
    keys: AnalysisKeys
    descriptors: Mapping[int, Float]
    """Mapping from tracklet number to face descriptor. Empty if no tracklets could be one person."""
    distance: Distance
    others: tuple[str, ...]
    """Cache keys of the tracklets and of the descriptors."""


def find_persons(
    steps: ClipSteps, limited: LimitedSource, video: str, *, always_describe: bool = False, required: bool = True
) -> FoundPersons:
    """Detect, track and recognise all persons.

    ``video``: content hash of the video. ``always_describe``: whether the faces are described even if no tracklets
    could be one person. ``required``: whether PlanError is raised if faces must be compared, but no recogniser can run.
    Otherwise, only tracklets that certainly belong to different persons are told apart.
    """
    keys = analysis_keys(steps.plan, video, limited.info.frame_count)
    tracked_key = tracklets_key(keys.detections)
    tracked = steps.tracklets(steps.detect(limited, keys), tracked_key)
    others = [tracked_key]
    descriptors: dict[int, Float] = {}
    distance: Distance = _unknown_distance
    compare = always_describe or needs_descriptors(tracked.tracklets)
    if compare and (required or steps.plan.recogniser is not None):
        distance = steps.recogniser().distance
        others.append(descriptors_key(steps.plan, tracked_key))
        descriptors = steps.descriptors(limited, tracked, others[-1])
    return FoundPersons(
        persons=group_tracklets(
            tracked.tracklets, descriptors, distance, min_frames=1 if limited.info.is_photo else MIN_FRAMES
        ),
        tracked=tracked,
        keys=keys,
        descriptors=descriptors,
        distance=distance,
        others=tuple(others),
    )


def _unknown_distance(one: Float, other: Float) -> float:
    return 1.0
