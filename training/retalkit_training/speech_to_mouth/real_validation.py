"""Calibration of the output range, and validation of lip contacts, on held-out real lips."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from retalkit.motion_eval.agreement import CONTACT_GAP, PREDICTED_CONTACT, closure_events, count_matches
from retalkit.motion_eval.lips_corpus import LipsCorpus
from retalkit_renderers.speech_to_mouth.decoding import MARGIN, Calibration, decode
from retalkit_training.speech_to_mouth.network import SpeechToMouthNetwork, outputs_of
from retalkit_training.speech_to_mouth.real_lips import LipClip, RealLips
from retalkit_training.speech_to_mouth.validation import pearson
from retalkit_training.speech_to_mouth.views import Views
from scipy.signal import savgol_filter

logger = logging.getLogger(__name__)

Float = NDArray[np.float32]

THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.38, 0.4, 0.45, 0.5)
"""Closure evidence thresholds for which recall and precision are logged."""


def held_out_outputs(
    network: SpeechToMouthNetwork, lips: RealLips, views: Views, clips: Iterable[LipClip]
) -> dict[str, Float]:
    """Return a mapping from clip name to the raw outputs for the clip's unmodified audio, float32 [J, 21]."""
    return {clip.name: outputs_of(network, views.real(0, clip.first, clip.count)).T for clip in clips}


def mean_correlations(outputs: dict[str, Float], lips: RealLips, clips: Sequence[LipClip]) -> tuple[float, float]:
    """Return Pearson's r of opening and width, as means over clips, with compensated offsets."""
    found: list[tuple[float, float]] = []
    for clip in clips:
        low, high = clip.known_range
        aims, raw = lips.targets(clip)[low:high], outputs[clip.name][low - clip.shift : high - clip.shift]
        found.append((pearson(raw[:, 0], aims[:, 0]), pearson(raw[:, 1], aims[:, 1])))
    opening, width = (float(value) for value in np.nanmean(np.array(found), axis=0))
    return opening, width


def output_range(outputs: dict[str, Float], lips: RealLips, clips: Sequence[LipClip]) -> dict[str, Any]:
    """Return the calibration value ``gains``, which restores the range of the targets.

    The opening is multiplied so that its 95th percentile during speech equals that of the targets. Small openings are
    not reduced, because the closures are decoded separately, and a mouth that hardly opens between two closures shows
    neither. The width has one gain for positive values (``spread``) and one for negative values (``rounding``).
    """
    predicted = np.concatenate([outputs[clip.name] for clip in clips])
    expected = np.concatenate([lips.targets(clip) for clip in clips])
    speaking = expected[:, 5] > 0.5
    if not speaking.any():
        speaking[:] = True

    def percentile(values: Float, column: int, share: int) -> float:
        return float(np.percentile(values[speaking, column], share))

    gains = {
        name: percentile(expected, column, share) / percentile(predicted, column, share)
        for name, column, share in (("opening", 0, 95), ("spread", 1, 95), ("rounding", 1, 5))
    }
    return {"gains": {name: round(value, 3) for name, value in gains.items()}}


def log_contacts(
    outputs: dict[str, Float], corpus: LipsCorpus, calibration: Calibration, clips: Sequence[LipClip]
) -> None:
    """Log the recall and precision of lip contacts for each threshold in ``THRESHOLDS``."""
    of_name = {clip.name: clip for clip in corpus.clips}
    for threshold in THRESHOLDS:
        counts = np.zeros(4)
        setting = replace(calibration, closure_threshold=threshold)
        for clip in clips:
            lips = corpus.lips(of_name[clip.name], "opening")[0]
            counts += contact_counts(outputs[clip.name], lips, clip.shift, setting)
        recall, precision = counts[1] / max(1.0, counts[0]), counts[3] / max(1.0, counts[2])
        logger.info("closure threshold %.2f: recall %.3f, precision %.3f", threshold, recall, precision)


def contact_counts(raw: Float, opening: Float, shift: int, calibration: Calibration) -> NDArray[np.float64]:
    """Return the numbers of tracked, recalled, predicted and correct lip contacts, float64 [4]."""
    rows = decode(np.pad(raw, ((MARGIN, MARGIN), (0, 0)), mode="edge"), calibration)
    gap = np.maximum(rows.opening, 0) * (1 - rows.closure)
    count = min(len(gap), len(opening))
    first, stop = max(0, shift), count + min(0, shift)
    smooth = np.asarray(savgol_filter(opening, 9, 2) if len(opening) > 9 else opening, np.float64)
    real = closure_events(smooth[first:stop:2], CONTACT_GAP)
    predicted = closure_events(gap[first - shift : stop - shift][::2], PREDICTED_CONTACT)
    matches = count_matches(real, predicted), count_matches(predicted, real)
    return np.array([len(real), matches[0], len(predicted), matches[1]], np.float64)
