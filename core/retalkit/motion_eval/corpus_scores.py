"""Scores of drivers on a corpus of lip motion (``lips_corpus``).

Tracked and predicted motion are sampled at 50 Hz and smoothed with a Savitzky-Golay filter (9 values, order 2). The
corpus offsets were measured with identical smoothing. The clip's corpus offset is compensated. No other parameter is
fitted to a clip.

* **Lag**: delay of the lips that maximises the sum of the opening and width correlations, after the offset
  compensation. Delays up to 0.24 s are evaluated, and a parabola through the maximum and its neighbours refines the
  result.
* **Contacts**: lip closures as defined in ``agreement``, at 25 Hz with a tolerance of two frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from retalkit.motion_eval.agreement import CONTACT_GAP, PREDICTED_CONTACT, closure_events, count_matches
from retalkit.motion_eval.correlation import pearson
from retalkit.motion_eval.lips_corpus import ROW_RATE, CorpusClip, LipsCorpus
from retalkit.stages import MouthMotion, Speech, SpeechToMouth

Values = NDArray[np.float64]

MAX_LAG: Final = 12
"""Maximum lag in time steps of 0.02 s."""
_WINDOW: Final = 9
_ORDER: Final = 2
_STEP: Final = 2
"""Number of time steps per frame for the comparison of contacts."""


@dataclass(frozen=True, slots=True)
class CorpusClipScores:
    """Scores of one clip. Undefined scores are NaN."""

    clip: CorpusClip
    fold: int
    opening: float
    """Pearson correlation between tracked and predicted opening."""
    width: float
    lag: float
    """Delay in seconds of the lips relative to the predicted motion after the offset compensation. A negative value
    means that the lips are early."""
    lip_contacts: int
    recalled_contacts: int
    predicted_contacts: int
    correct_contacts: int


@dataclass(frozen=True, slots=True)
class CorpusScores:
    """Summary scores of several clips.

    Correlations and lag are means over clips. Recall and precision are computed from the contacts in all clips.
    """

    clips: int
    opening: float
    width: float
    lag: float
    recall: float
    precision: float


def score_clip(
    corpus: LipsCorpus, clip: CorpusClip, driver: SpeechToMouth, speech: Speech, fold: int = 0
) -> CorpusClipScores:
    """Return the scores for the motion that ``driver`` predicts for ``clip``."""
    lips = corpus.lips(clip, "opening", "width").astype(np.float64)
    count = lips.shape[1]
    rows = np.arange(-MAX_LAG, count + MAX_LAG)
    motion = driver.motion(speech, (2 * rows + 1) / (2 * ROW_RATE) - clip.offset)
    return compare(clip, lips, motion, fold)


def compare(clip: CorpusClip, lips: Values, motion: MouthMotion, fold: int = 0) -> CorpusClipScores:
    """Return the scores for the predicted motion of a clip.

    ``lips``: tracked opening and width, float64 [2, T]. ``motion``: T + 2 * ``MAX_LAG`` time steps, of which the first
    is ``MAX_LAG`` time steps before the first time step of ``lips``.
    """
    count = lips.shape[1]
    lips = _smooth(lips)
    series = np.stack([motion.opening, motion.width]).astype(np.float64)
    asked = _smooth(series)
    by_lag = np.array(
        [
            [pearson(lips[row], asked[row, MAX_LAG - lag : MAX_LAG - lag + count]) for row in (0, 1)]
            for lag in range(-MAX_LAG, MAX_LAG + 1)
        ]
    )
    gap = (series[0] * (1.0 - motion.closure))[MAX_LAG : MAX_LAG + count]
    real = closure_events(lips[0, ::_STEP], CONTACT_GAP)
    predicted = closure_events(gap[::_STEP], PREDICTED_CONTACT)
    return CorpusClipScores(
        clip=clip,
        fold=fold,
        opening=float(by_lag[MAX_LAG, 0]),
        width=float(by_lag[MAX_LAG, 1]),
        lag=_peak(np.nan_to_num(by_lag).sum(axis=1)) / ROW_RATE,
        lip_contacts=len(real),
        recalled_contacts=count_matches(real, predicted),
        predicted_contacts=len(predicted),
        correct_contacts=count_matches(predicted, real),
    )


def score_corpus(
    corpus: LipsCorpus,
    clips: Sequence[CorpusClip],
    driver_of: Callable[[CorpusClip], tuple[int, SpeechToMouth]],
    speech_of: Callable[[CorpusClip], Speech],
) -> list[CorpusClipScores]:
    """Return the scores of several clips.

    ``driver_of``: function that returns the clip's fold and a driver that was not trained on the clip's speaker.
    """
    scores: list[CorpusClipScores] = []
    for clip in clips:
        fold, driver = driver_of(clip)
        scores.append(score_clip(corpus, clip, driver, speech_of(clip), fold))
    return scores


def summary(scores: Iterable[CorpusClipScores]) -> CorpusScores:
    """Return the summary scores of several clips. An undefined correlation is counted as 0."""
    found = list(scores)
    contacts = [sum(getattr(each, name) for each in found) for name in _COUNTS]
    return CorpusScores(
        clips=len(found),
        opening=_mean([_or_zero(each.opening) for each in found]),
        width=_mean([_or_zero(each.width) for each in found]),
        lag=_mean([each.lag for each in found]),
        recall=contacts[1] / contacts[0] if contacts[0] else math.nan,
        precision=contacts[3] / contacts[2] if contacts[2] else math.nan,
    )


def mean_of_folds(scores: Iterable[CorpusClipScores]) -> CorpusScores:
    """Return the mean of the folds' summary scores."""
    by_fold: dict[int, list[CorpusClipScores]] = {}
    for each in scores:
        by_fold.setdefault(each.fold, []).append(each)
    parts = [summary(by_fold[fold]) for fold in sorted(by_fold)]
    return CorpusScores(
        clips=sum(part.clips for part in parts),
        opening=_mean([part.opening for part in parts]),
        width=_mean([part.width for part in parts]),
        lag=_mean([part.lag for part in parts]),
        recall=_mean([part.recall for part in parts]),
        precision=_mean([part.precision for part in parts]),
    )


_COUNTS: Final = ("lip_contacts", "recalled_contacts", "predicted_contacts", "correct_contacts")


def _smooth(series: Values) -> Values:
    window = min(_WINDOW, series.shape[1] // 2 * 2 - 1)
    return np.asarray(savgol_filter(series, window, _ORDER, axis=1), np.float64)


def _peak(sums: Values) -> float:
    """Return the position of the maximum relative to the central value, refined with a parabola."""
    best = int(np.argmax(sums))
    if not 0 < best < len(sums) - 1:
        return float(best - MAX_LAG)
    before, here, after = sums[best - 1 : best + 2]
    curvature = before - 2 * here + after
    return best - MAX_LAG + (0.5 * float(before - after) / float(curvature) if curvature < 0 else 0.0)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _or_zero(value: float) -> float:
    return value if math.isfinite(value) else 0.0
