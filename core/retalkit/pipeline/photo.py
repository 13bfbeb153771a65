"""Animation of photos in a run. The head is moved after lip sync, so all stages process the unchanged photo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from retalkit.media.sources import MediaSource
from retalkit.photo_motion.animator import PhotoAnimator, head_geometry, supports
from retalkit.photo_motion.matte import person_opacity
from retalkit.pipeline.analysis_store import StoredAnalysis
from retalkit.pipeline.steps import ClipSteps
from retalkit.stages import PersonSegmenter, Speech, Timeline

_NONE: Final = "none"


def photo_animators(
    source: MediaSource, faces: Sequence[tuple[StoredAnalysis, Speech]], timeline: Timeline, steps: ClipSteps
) -> list[PhotoAnimator]:
    """Return one animator for each face of a still image, or no animator for a video or with ``photo.motion: none``.

    ``faces``: analysis of each face and the speech that the face's motion follows. Stages that do not support the
    animation are reported to the observer.
    """
    if not source.info.is_photo or steps.plan.config.photo.motion == _NONE:
        return []
    # The curves depend on scipy.signal, which takes half a second to import and which videos do not need.
    from retalkit.photo_motion.curves import motion_curves

    detector = steps.make(steps.plan.detector)
    _, photo = next(iter(source.read([0])))
    times = timeline.times(0, timeline.count)
    animators: list[PhotoAnimator] = []
    for number, (analysis, speech) in enumerate(faces):
        scheme, landmarks = analysis.landmark_scheme, analysis.landmarks(0, 1)[0]
        if not isinstance(detector, PersonSegmenter) or not supports(scheme):
            steps.observer.note(
                f"the head in the photo does not move, because {steps.plan.detector.label} does not separate the "
                "person from the background; use the detector 'mediapipe' or set photo.motion to none"
            )
            return []
        if not np.isfinite(landmarks).all():
            continue
        opacity = person_opacity(photo, head_geometry(landmarks, scheme), detector.person_opacity)
        curves = motion_curves(speech, times, steps.plan.config.seed + number)
        animators.append(PhotoAnimator(photo, landmarks, scheme, opacity, curves))
    return animators
