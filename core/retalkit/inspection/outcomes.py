"""Outcome of every part of the video: edited, faded or passed through, and the reason.

The reasons come from the stages that also run in a dub: the lip syncer forecasts the result of each frame, and the
detector explains why it rejected a face.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from retalkit.inspection.model import Outcome, Span
from retalkit.pipeline.detect import StoredDetections
from retalkit.pipeline.face_job import NO_FACE, OUTSIDE_CUES, FaceJob
from retalkit.stages import (
    Detector,
    DetectorWithReasons,
    Face,
    ForecastingSession,
    FrameBatch,
    FrameForecast,
    PassedThrough,
    ReferenceBatch,
    Source,
    SyncBatch,
)

MOST_FRAMES: Final = 600
"""Maximum number of frames whose outcome is computed."""
MOST_RENDERED: Final = 16
"""Maximum number of frames that are rendered if the lip syncer has no forecast."""
FULL: Final = 0.999
"""Confidence from which an edit is not reported as faded."""
SCORE: Final = 0.5
"""Minimum score of a face that the run may edit."""
OTHER_PERSON: Final = "another person"
_BATCH_BYTES: Final = 24 << 20


@dataclass(frozen=True, slots=True)
class Moment:
    """Sampled frame of the video."""

    index: int
    """Source frame index."""
    position: int
    """First output position that shows the frame, or -1 if the output does not contain the frame."""
    start: float
    """Start of the represented part in seconds of the video."""
    end: float


def sample_moments(
    source: Source, count: int, positions: NDArray[np.int64], times: NDArray[np.float64]
) -> list[Moment]:
    """Return evenly spaced frames, which represent the frames up to the next sampled frame.

    ``count``: number of frames of the axis. ``positions``: first output position of each frame, int64 [count], or -1.
    ``times``: start times in seconds and the end of the last frame, float64 [count + 1].
    """
    is_photo = source.info.is_photo
    stride = max(1, -(-count // MOST_FRAMES))
    return [
        Moment(
            0 if is_photo else index,
            int(positions[index]),
            float(times[index]),
            float(times[min(index + stride, count)]),
        )
        for index in range(0, count, stride)
    ]


def forecast_moments(job: FaceJob, moments: Sequence[Moment]) -> dict[Moment, FrameForecast]:
    """Return the forecast of every moment that shows the job's face and that the output contains.

    If the lip syncer cannot forecast, a few frames are rendered, and each result applies up to the next rendered frame.
    """
    visible = [each for each in moments if each.position >= 0 and not job.skip_reason(each.position, each.index)]
    session = job.lip_syncer
    if not isinstance(session, ForecastingSession):
        return _rendered(job, visible)
    found: dict[Moment, FrameForecast] = {}
    for part, batch in _batches(job, visible):
        found |= dict(zip(part, session.forecast(batch), strict=True))
    return found


def _rendered(job: FaceJob, visible: Sequence[Moment]) -> dict[Moment, FrameForecast]:
    chosen = np.unique(np.linspace(0, len(visible) - 1, min(len(visible), MOST_RENDERED)).round().astype(int))
    source = job.analysis.source
    results: list[FrameForecast] = []
    for number in chosen:
        moment = visible[number]
        _, image = next(iter(source.read([moment.index])))
        times = source.times(moment.index, moment.index + 1)
        synced = job.sync(FrameBatch(image[None], times, np.array([moment.index])), moment.position)
        result = synced.results[0]
        if isinstance(result, PassedThrough):
            results.append(FrameForecast(0.0, result.reason))
        else:
            results.append(FrameForecast(result.confidence, result.reason))
    rows = np.searchsorted(chosen, np.arange(len(visible)), side="right") - 1
    return {moment: results[row] for moment, row in zip(visible, rows, strict=True)}


def _batches(job: FaceJob, moments: Sequence[Moment]) -> Iterator[tuple[Sequence[Moment], SyncBatch]]:
    source = job.analysis.source
    info = source.info
    size = max(1, min(16, _BATCH_BYTES // max(info.width * info.height * 3, 1)))
    frames = source.read(moment.index for moment in moments)
    for first in range(0, len(moments), size):
        part = moments[first : first + size]
        images = np.stack([next(frames)[1] for _ in part])
        indexes = np.array([moment.index for moment in part], np.int64)
        positions = np.array([moment.position for moment in part], np.int64)
        low, high = int(indexes.min()), int(indexes.max()) + 1
        faces = job.analysis.faces(FrameBatch(images, source.times(low, high)[indexes - low], indexes))
        times = np.concatenate([job.timeline.times(each, each + 1) for each in positions.tolist()])
        yield part, SyncBatch(positions, times, faces, ReferenceBatch(faces.landmarks))


def absence_details(detections: StoredDetections, detector: Detector, width: int, height: int) -> list[str]:
    """Return why no face is edited in each frame in which the run finds no face: the reason of the largest rejected
    face, ``another person`` if another face is visible, or an empty string."""
    return [_absence(frame.faces, detector, width, height) for frame in detections]


def _absence(faces: Sequence[Face], detector: Detector, width: int, height: int) -> str:
    if not faces:
        return ""
    if any(face.score >= SCORE for face in faces):
        return OTHER_PERSON
    largest = max(faces, key=lambda face: float((face.box[2] - face.box[0]) * (face.box[3] - face.box[1])))
    if largest.reason:
        return largest.reason
    return detector.low_score_reason(largest, width, height) if isinstance(detector, DetectorWithReasons) else ""


Result = tuple[Outcome, str, str]
"""Outcome, reason and detail of one moment."""
_RANKS: Final[tuple[Outcome, ...]] = ("edited", "faded", "passed", "outside", "unused")


def results_of(
    job: FaceJob, moments: Sequence[Moment], forecasts: dict[Moment, FrameForecast], details: Sequence[str]
) -> list[Result]:
    """Return the result of every moment. ``details``: result of ``absence_details``."""
    return [_result(job, moment, forecasts.get(moment), details) for moment in moments]


def best_results(results: Sequence[Sequence[Result]]) -> list[Result]:
    """Return the best result of each moment over all persons."""
    return [min(each, key=lambda one: (_RANKS.index(one[0]), one[1] == NO_FACE)) for each in zip(*results, strict=True)]


def join_spans(
    moments: Sequence[Moment], results: Sequence[Result], start: float = 0.0, end: float = float("inf")
) -> tuple[Span, ...]:
    """Return the parts with one outcome between ``start`` and ``end`` in seconds.

    Neighbouring moments with the same outcome and reason are joined.
    """
    spans: list[Span] = []
    for moment, (outcome, reason, detail) in zip(moments, results, strict=True):
        first, stop = max(moment.start, start), min(moment.end, end)
        if stop <= first:
            continue
        last = spans[-1] if spans else None
        if last is not None and (last.outcome, last.reason, last.detail) == (outcome, reason, detail):
            spans[-1] = Span(last.start, stop, outcome, reason, detail)
        else:
            spans.append(Span(first, stop, outcome, reason, detail))
    return tuple(spans)


def _result(job: FaceJob, moment: Moment, forecast: FrameForecast | None, details: Sequence[str]) -> Result:
    if moment.position < 0:
        return "unused", "", ""
    reason = job.skip_reason(moment.position, moment.index)
    if reason == OUTSIDE_CUES:
        return "outside", "", ""
    if forecast is None:
        return "passed", reason or NO_FACE, details[moment.index] if reason in ("", NO_FACE) else ""
    if forecast.confidence <= 0:
        return "passed", forecast.reason, ""
    if forecast.confidence < FULL:
        return "faded", forecast.reason, ""
    return "edited", "", ""
