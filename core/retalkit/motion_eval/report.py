"""Scores of one driver on several clips, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from retalkit.motion_eval.agreement import Agreement, Motion, agreement, ask
from retalkit.motion_eval.bootstrap import correlation_draws, interval, mean_interval
from retalkit.motion_eval.clips import PreparedClip, RestInBackground, prepare_clip, rest_in
from retalkit.observer import Observer, SilentObserver
from retalkit.pipeline.plan import Plan
from retalkit.pipeline.steps import ClipSteps
from retalkit.speech.noise import backgrounds
from retalkit.stages import SpeechToMouth
from retalkit.storage.cache import Cache

Interval = tuple[float, float]
_VOICE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class ClipScores:
    """One clip."""

    clip: str
    agreement: Agreement
    opening_interval: Interval
    """95% interval of the opening's r by resampling seconds of the clip (the delay is held)."""
    width_interval: Interval


@dataclass(frozen=True, slots=True)
class Report:
    """All clips, their mean, and what the driver does while nobody speaks."""

    driver: str
    clips: tuple[ClipScores, ...]
    opening: float
    """Mean over clips of r at lag 0."""
    opening_interval: Interval
    """95% interval of it by resampling clips and seconds."""
    width: float
    width_interval: Interval
    best_opening: float
    """Mean over clips of the best r within three frames."""
    best_width: float
    chance_opening: float
    chance_width: float
    recall: float
    """Share of all lip closures that were asked within two frames."""
    precision: float
    background: dict[str, RestInBackground]

    def plain(self) -> dict[str, Any]:
        """The same as plain data for JSON; what is not defined is None."""
        data = asdict(self)
        for row, scores in zip(data["clips"], self.clips, strict=True):
            found = scores.agreement
            row["agreement"] |= {
                "best_opening": found.best_opening,
                "best_width": found.best_width,
                "recall": found.recall,
                "precision": found.precision,
            }
        return _without_nan(data)


def evaluate(
    videos: Sequence[Path], name: str, driver: SpeechToMouth, chosen: Plan, cache: Cache, observer: Observer
) -> Report:
    """Scores ``driver`` on clips whose sound belongs to the mouth that they show.

    Raises InputError for a clip that cannot be used, with one line that says why.
    """
    prepared = [prepare_clip(Path(video), ClipSteps(chosen, cache, observer)) for video in videos]
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
    observer.note("listening to silence, noise, hum, music and babble")
    background = rest_in(backgrounds(voices), driver, ClipSteps(chosen, cache, SilentObserver()))
    return _report(
        name,
        clips,
        mean_interval([opening for opening, _ in drawn], generator),
        mean_interval([width for _, width in drawn], generator),
        background,
    )


def _score(driver: SpeechToMouth, clip: PreparedClip) -> tuple[Motion, Agreement]:
    motion = ask(driver, clip.speech, clip.lips)
    return motion, agreement(clip.lips, motion)


def _report(
    name: str,
    clips: tuple[ClipScores, ...],
    opening_interval: Interval,
    width_interval: Interval,
    background: dict[str, RestInBackground],
) -> Report:
    found = [scores.agreement for scores in clips]

    def mean(values: list[float]) -> float:
        good = [value for value in values if math.isfinite(value)]
        return float(np.mean(good)) if good else float("nan")

    # Counts are added up: a clip of two closures must not weigh as much as one of twenty.
    total = replace(
        found[0],
        lip_closures=sum(each.lip_closures for each in found),
        found_closures=sum(each.found_closures for each in found),
        asked_closures=sum(each.asked_closures for each in found),
        right_closures=sum(each.right_closures for each in found),
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
    )


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return value
