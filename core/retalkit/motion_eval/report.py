"""Scores of one driver on several clips, with confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from retalkit.errors import InputError
from retalkit.motion_eval.agreement import Agreement, Motion, agreement, predict_motion
from retalkit.motion_eval.bootstrap import correlation_draws, interval, mean_interval
from retalkit.motion_eval.clips import BackgroundRest, PreparedClip, measure_background_rest, prepare_clip
from retalkit.observer import Observer, SilentObserver
from retalkit.paths import missing
from retalkit.pipeline.plan import Plan
from retalkit.pipeline.steps import ClipSteps
from retalkit.speech.noise import backgrounds
from retalkit.stages import SpeechToMouth
from retalkit.storage.cache import Cache

Interval = tuple[float, float]
_VOICE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class ClipScores:
    """Scores of one clip."""

    clip: str
    agreement: Agreement
    opening_interval: Interval
    """95 % confidence interval of the opening's Pearson r. One-second blocks are resampled, and the delay is fixed."""
    width_interval: Interval


@dataclass(frozen=True, slots=True)
class SkippedClip:
    """A clip without scores."""

    clip: str
    code: str
    """Error code, such as ``no-face``."""
    reason: str
    """Error message."""


@dataclass(frozen=True, slots=True)
class Report:
    """Scores of all clips, mean scores, and the driver's motion for audio without speech."""

    driver: str
    clips: tuple[ClipScores, ...]
    opening: float
    """Mean over clips of Pearson r at lag 0."""
    opening_interval: Interval
    """95 % confidence interval of the mean. Clips and one-second blocks are resampled."""
    width: float
    width_interval: Interval
    best_opening: float
    """Mean over clips of the highest Pearson r within three frames."""
    best_width: float
    chance_opening: float
    chance_width: float
    recall: float
    """Fraction of tracked closures in all clips with a predicted closure within two frames."""
    precision: float
    background: dict[str, BackgroundRest]
    skipped: tuple[SkippedClip, ...]
    """Clips without scores. The means exclude these clips."""

    def plain(self) -> dict[str, Any]:
        """Return JSON-compatible data in which undefined values are None."""
        data = asdict(self)
        for row, scores in zip(data["clips"], self.clips, strict=True):
            clip = scores.agreement
            row["agreement"] |= {
                "best_opening": clip.best_opening,
                "best_width": clip.best_width,
                "recall": clip.recall,
                "precision": clip.precision,
            }
        return without_nan(data)


def evaluate(
    videos: Sequence[Path], name: str, driver: SpeechToMouth, chosen: Plan, cache: Cache, observer: Observer
) -> Report:
    """Score ``driver`` on clips in which the visible person speaks the audio track.

    If ``videos`` contains several clips, clips without sufficient audio or frames with a face are skipped and reported
    with the reason. Raises InputError if a file is missing or no clip can be scored.
    """
    prepared, skipped = _prepare(videos, chosen, cache, observer)
    scored = [_score(driver, clip) for clip in prepared]
    generator = np.random.default_rng(0)
    drawn = [
        (
            correlation_draws(clip.lips.opening, motion.delayed(motion.opening, found.offset), generator),
            correlation_draws(clip.lips.width, motion.delayed(motion.width, found.offset), generator),
        )
        for clip, (motion, found) in zip(prepared, scored, strict=True)
    ]
    clips = tuple(
        ClipScores(clip.name, found, interval(opening), interval(width))
        for clip, (_, found), (opening, width) in zip(prepared, scored, drawn, strict=True)
    )
    voices = [clip.speech.waveform(0.0, min(clip.speech.duration, _VOICE_SECONDS)) for clip in prepared]
    observer.note("measuring silence, noise, hum, music and babble")
    background = measure_background_rest(backgrounds(voices), driver, ClipSteps(chosen, cache, SilentObserver()))
    return _report(
        name,
        clips,
        mean_interval([opening for opening, _ in drawn], generator),
        mean_interval([width for _, width in drawn], generator),
        background,
        skipped,
    )


def _prepare(
    videos: Sequence[Path], chosen: Plan, cache: Cache, observer: Observer
) -> tuple[list[PreparedClip], tuple[SkippedClip, ...]]:
    for video in videos:
        if not Path(video).exists():
            raise InputError(missing(video), code="file-not-found")
    prepared: list[PreparedClip] = []
    skipped: list[SkippedClip] = []
    for video in videos:
        try:
            prepared.append(prepare_clip(Path(video), ClipSteps(chosen, cache, observer)))
        except InputError as error:
            if len(videos) == 1:
                raise
            skipped.append(SkippedClip(Path(video).name, error.code, str(error)))
            observer.note(f"skipped: {error}")
    if not prepared:
        raise InputError(
            f"cannot score any of the {len(videos)} clips; first skipped clip: {skipped[0].reason}", code="no-clips"
        )
    return prepared, tuple(skipped)


def _score(driver: SpeechToMouth, clip: PreparedClip) -> tuple[Motion, Agreement]:
    motion = predict_motion(driver, clip.speech, clip.lips)
    return motion, agreement(clip.lips, motion)


def _report(
    name: str,
    clips: tuple[ClipScores, ...],
    opening_interval: Interval,
    width_interval: Interval,
    background: dict[str, BackgroundRest],
    skipped: tuple[SkippedClip, ...],
) -> Report:
    found = [scores.agreement for scores in clips]

    def mean(values: list[float]) -> float:
        finite = [value for value in values if math.isfinite(value)]
        return float(np.mean(finite)) if finite else float("nan")

    # Counts are summed over clips, so a clip with two closures has less weight than a clip with twenty closures.
    total = replace(
        found[0],
        lip_closures=sum(each.lip_closures for each in found),
        recalled_closures=sum(each.recalled_closures for each in found),
        predicted_closures=sum(each.predicted_closures for each in found),
        correct_closures=sum(each.correct_closures for each in found),
    )
    return Report(
        driver=name,
        clips=clips,
        opening=mean([each.opening for each in found]),
        opening_interval=opening_interval,
        width=mean([each.width for each in found]),
        width_interval=width_interval,
        best_opening=mean([each.best_opening for each in found]),
        best_width=mean([each.best_width for each in found]),
        chance_opening=mean([each.chance_opening for each in found]),
        chance_width=mean([each.chance_width for each in found]),
        recall=total.recall,
        precision=total.precision,
        background=background,
        skipped=skipped,
    )


def without_nan(value: Any) -> Any:
    """Return plain data in which floats are rounded to six decimals and non-finite values are None."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(each) for each in value]
    return value
