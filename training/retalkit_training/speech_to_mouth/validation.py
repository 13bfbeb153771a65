"""Validation on held-out voices and languages with clean and augmented audio, and calibration of the outputs."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from retalkit_renderers.speech_to_mouth.decoding import Calibration, mouth_width
from retalkit_renderers.speech_to_mouth.features import log_mel
from retalkit_renderers.speech_to_mouth.visemes import BILABIAL, LABIODENTAL
from retalkit_training.speech_to_mouth.augmentation import augment, non_speech_example
from retalkit_training.speech_to_mouth.corpus import Corpus
from retalkit_training.speech_to_mouth.corpus_synthesis import SAMPLES_PER_TARGET
from retalkit_training.speech_to_mouth.network import SpeechToMouthNetwork, outputs_of
from retalkit_training.speech_to_mouth.non_speech import NonSpeechPool

logger = logging.getLogger(__name__)

_ROWS = 250
THRESHOLDS = tuple(round(0.1 + 0.05 * number, 2) for number in range(11))
"""Candidate thresholds for the closure posterior."""
TARGET_RECALL = 0.7
"""Minimum closure recall at the chosen threshold."""
_TOLERANCE_ROWS = 2


@dataclass(frozen=True, slots=True)
class Scores:
    """Validation scores, averaged over 5 s crops."""

    opening: float
    """Pearson's r of the opening."""
    width: float
    closures_found: float
    """Closure recall: the share of the phones p, b, m, f and v with a predicted closure within 0.04 s."""
    closures_right: float
    """Closure precision: the share of predicted closures with one of the phones p, b, m, f and v within 0.04 s."""
    speech: float
    """Accuracy of the speech probability at a threshold of 0.5."""
    quiet: float
    """Share of non-speech time steps with an opening below 5% of the speaking range."""

    def rounded(self) -> dict[str, float]:
        return {name: round(value, 4) for name, value in asdict(self).items()}


def validate(
    network: SpeechToMouthNetwork,
    corpus: Corpus,
    pool: NonSpeechPool,
    opening_scale: float,
    threshold: float,
    pieces: int,
    noisy: bool,
) -> Scores:
    """Return the scores of ``pieces`` crops, which are selected deterministically."""
    rows: list[tuple[float, float, float]] = []
    counts = np.zeros(4)
    quiet: list[float] = []
    for number in range(pieces):
        outputs, targets = _validation_crop(network, corpus, pool, number, noisy)
        accuracy = float(np.mean((outputs[4] > 0.0) == (targets[:, 4] > 0.5)))
        rows.append((pearson(outputs[0], targets[:, 0]), pearson(outputs[1], targets[:, 1]), accuracy))
        counts += _closure_counts(outputs, targets, threshold)
        outputs = run(network, non_speech_example(np.random.default_rng([number, 6]), pool, _ROWS * SAMPLES_PER_TARGET))
        quiet.append(float(np.mean(outputs[0] * _sigmoid(outputs[4]) / opening_scale < 0.05)))
    opening, width, speech = (float(value) for value in np.nanmean(np.array(rows), axis=0))
    recall, precision = _recall_and_precision(counts)
    return Scores(opening, width, recall, precision, speech, float(np.mean(quiet)))


def closure_threshold(network: SpeechToMouthNetwork, corpus: Corpus, pool: NonSpeechPool, pieces: int) -> float:
    """Return the highest threshold with a recall of ``TARGET_RECALL`` on augmented speech of ``corpus``.

    Recall is more important than precision, because a missed closure is more visible than an extra closure. If no
    threshold reaches the target recall, the lowest threshold is returned.
    """
    counts = np.zeros((len(THRESHOLDS), 4))
    for number in range(pieces):
        outputs, targets = _validation_crop(network, corpus, pool, number, noisy=True)
        for row, threshold in enumerate(THRESHOLDS):
            counts[row] += _closure_counts(outputs, targets, threshold)
    best = THRESHOLDS[0]
    for row, threshold in enumerate(THRESHOLDS):
        recall, precision = _recall_and_precision(counts[row])
        if recall >= TARGET_RECALL:
            best = threshold
        logger.info("closure threshold %.2f: recall %.3f, precision %.3f", threshold, recall, precision)
    return best


def range_gains(network: SpeechToMouthNetwork, corpus: Corpus, pieces: int, widths: list[float]) -> dict[str, float]:
    """Return the ratios of target ranges to output ranges in clean speech of ``corpus``.

    Keys are ``opening``, ``spread`` (width above 0) and ``rounding`` (width below 0). Ranges are 95th percentiles, with
    the width computed as in the driver.
    """
    calibration = Calibration(class_widths=np.array(widths, np.float32))
    predicted: list[NDArray[np.float32]] = []
    expected: list[NDArray[np.float32]] = []
    for number in range(pieces):
        outputs, targets = _validation_crop(network, corpus, None, number, noisy=False)
        width = mouth_width(outputs.T, calibration)
        speaking = targets[:, 4] > 0.5
        predicted.append(np.stack([outputs[0], width], axis=1)[speaking])
        expected.append(targets[speaking, :2])
    outputs, targets = np.concatenate(predicted), np.concatenate(expected)
    percentiles = {"opening": (0, 95), "spread": (1, 95), "rounding": (1, 5)}
    return {
        name: round(float(np.percentile(targets[:, column], share) / np.percentile(outputs[:, column], share)), 3)
        for name, (column, share) in percentiles.items()
    }


def run(network: SpeechToMouthNetwork, sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the outputs, float32 [20, N // 320], for audio ``sound`` [N] at 16 kHz."""
    return outputs_of(network, log_mel(sound))


def closure_posterior(outputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probability of p, b, m, f or v, float32 [J]."""
    logits = outputs[5:] - outputs[5:].max(axis=0)
    posteriors = np.exp(logits) / np.exp(logits).sum(axis=0)
    return posteriors[BILABIAL] + posteriors[LABIODENTAL]


def _validation_crop(
    network: SpeechToMouthNetwork, corpus: Corpus, pool: NonSpeechPool | None, number: int, noisy: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    generator = np.random.default_rng([number, 5])
    sound, targets = corpus.random_crop(generator, _ROWS)
    if noisy and pool is not None:
        sound, targets = augment(generator, sound, targets, pool)
    return run(network, sound), targets


def _closure_counts(
    outputs: NDArray[np.float32], targets: NDArray[np.float32], threshold: float
) -> tuple[int, int, int, int]:
    """Return the numbers of recalled closures, closures, correct predictions and predictions."""
    lips = np.isin(targets[:, 5], (BILABIAL, LABIODENTAL)).astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], lips, [0]])))
    events = list(zip(edges[::2], edges[1::2], strict=True))
    posterior = closure_posterior(outputs)
    window = np.lib.stride_tricks.sliding_window_view(np.pad(posterior, 2), 5)
    peaks = np.flatnonzero((posterior >= threshold) & (posterior == window.max(axis=1)))
    ranges = [(first - _TOLERANCE_ROWS, last + _TOLERANCE_ROWS) for first, last in events]
    recalled = sum(bool(np.any((peaks >= first) & (peaks < last))) for first, last in ranges)
    correct = sum(any(first <= peak < last for first, last in ranges) for peak in peaks)
    return recalled, len(events), correct, len(peaks)


def _recall_and_precision(counts: NDArray[np.float64]) -> tuple[float, float]:
    return float(counts[0] / max(1.0, counts[1])), float(counts[2] / max(1.0, counts[3]))


def pearson(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return Pearson's r of two series, or NaN if one of them is constant."""
    if first.std() < 1e-6 or second.std() < 1e-6:
        return np.nan
    return float(np.corrcoef(first, second)[0, 1])


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return 1.0 / (1.0 + np.exp(-logits))
