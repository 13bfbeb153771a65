"""Evaluation of a driver on a corpus of lip motion, with scores for speaker-disjoint folds.

The audio is processed as in a run, with the configured denoiser and voice activity detection. All folds use the same
driver weights, so the folds show how much the scores vary between speakers. If the driver was trained on the corpus,
the scores are biased in its favour. In that case, use the scores of its cross-validation
(``retalkit_training.speech_to_mouth``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

import numpy as np

from retalkit.errors import InputError
from retalkit.media.sound import open_sound
from retalkit.motion_eval.corpus_scores import (
    CorpusClipScores,
    CorpusScores,
    mean_of_folds,
    score_clip,
    summary,
)
from retalkit.motion_eval.lips_corpus import LipsCorpus, folds
from retalkit.motion_eval.report import Interval, SkippedClip, without_nan
from retalkit.observer import Observer, SilentObserver
from retalkit.pipeline.keys import speech_key
from retalkit.pipeline.plan import Plan
from retalkit.pipeline.steps import ClipSteps
from retalkit.stages import SpeechToMouth
from retalkit.storage.cache import Cache, content_hash

FOLDS: Final = 5
_DRAWS: Final = 2000
_STEP: Final = "clips"


@dataclass(frozen=True, slots=True)
class SubsetScores:
    """Scores for a subset of the clips."""

    speakers: int
    seconds: float
    mean: CorpusScores
    """Mean scores over folds."""
    opening_interval: Interval
    """95% confidence interval of the mean opening correlation over clips, bootstrapped over speakers."""
    width_interval: Interval
    folds: tuple[CorpusScores, ...]


@dataclass(frozen=True, slots=True)
class CorpusReport:
    """Scores of one driver on a corpus."""

    driver: str
    corpus: str
    all: SubsetScores
    clear: SubsetScores | None
    """Scores for clips of at least 5 s without tracking flags, or None if the corpus contains no such clip."""
    skipped: tuple[SkippedClip, ...]

    def plain(self) -> dict[str, Any]:
        """Return JSON-compatible data in which undefined values are None."""
        return without_nan(asdict(self))


def evaluate_corpus(
    folder: Path, name: str, driver: SpeechToMouth, chosen: Plan, cache: Cache, observer: Observer
) -> CorpusReport:
    """Score ``driver`` on all clips in a corpus directory (see ``lips_corpus``).

    Clips without audio, clips with invalid lip motion and repeated clips are skipped and reported with the reason.
    Raises InputError if the directory contains no corpus or no clip can be scored.
    """
    corpus = LipsCorpus(folder)
    fold_of = folds(corpus.clips, FOLDS)
    steps = ClipSteps(chosen, cache, SilentObserver())
    scores: list[CorpusClipScores] = []
    skipped: list[SkippedClip] = []
    seen: set[str] = set()
    observer.started(_STEP, len(corpus.clips))
    began = monotonic()
    for number, clip in enumerate(corpus.clips, 1):
        try:
            if clip.name in seen:
                message = f"{folder / 'index.csv'}: clip '{clip.name}' is listed more than once; remove the duplicates"
                raise InputError(message, code="duplicate-clip")
            seen.add(clip.name)
            sound = open_sound(clip.audio)
            corpus.check(clip, sound.duration)
            speech = steps.speech(sound, speech_key(chosen, content_hash(clip.audio)))
            scores.append(score_clip(corpus, clip, driver, speech, fold_of[clip.name]))
        except InputError as error:
            skipped.append(SkippedClip(clip.name, error.code, str(error)))
        observer.advanced(_STEP, number)
    observer.finished(_STEP, monotonic() - began, False)
    for each in skipped:
        observer.note(f"skipped: {each.reason}")
    if not scores:
        reason = f"; first skipped clip: {skipped[0].reason}" if skipped else ""
        raise InputError(f"{folder}: cannot score any clip{reason}", code="no-clips")
    clear = [each for each in scores if each.clip.is_long_and_clear]
    return CorpusReport(
        driver=name,
        corpus=str(folder),
        all=_subset(scores),
        clear=_subset(clear) if clear else None,
        skipped=tuple(skipped),
    )


def _subset(scores: Sequence[CorpusClipScores]) -> SubsetScores:
    by_fold = [[each for each in scores if each.fold == fold] for fold in sorted({each.fold for each in scores})]
    opening, width = (_speaker_interval(scores, name) for name in ("opening", "width"))
    return SubsetScores(
        speakers=len({each.clip.speaker for each in scores}),
        seconds=round(sum(each.clip.seconds for each in scores), 2),
        mean=mean_of_folds(scores),
        opening_interval=opening,
        width_interval=width,
        folds=tuple(summary(part) for part in by_fold),
    )


def _speaker_interval(scores: Sequence[CorpusClipScores], name: str) -> Interval:
    """Return the 95% confidence interval of the mean over clips.

    The bootstrap resamples speakers, because clips of one speaker are not independent.
    """
    speakers = sorted({each.clip.speaker for each in scores})
    number = {speaker: position for position, speaker in enumerate(speakers)}
    sums, counts = np.zeros(len(speakers)), np.zeros(len(speakers))
    for each in scores:
        value = getattr(each, name)
        sums[number[each.clip.speaker]] += value if math.isfinite(value) else 0.0
        counts[number[each.clip.speaker]] += 1
    drawn = np.random.default_rng(0).integers(0, len(speakers), (_DRAWS, len(speakers)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)
