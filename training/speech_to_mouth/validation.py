"""Scores on voices and languages that training never saw, clean and augmented."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit_renderers.speech_to_mouth.features import INPUT_CONTEXT, log_mel, network_input
from retalkit_renderers.speech_to_mouth.model import mouth_width

from training.speech_to_mouth.augmentation import augmented, negative
from training.speech_to_mouth.corpus import Corpus
from training.speech_to_mouth.negatives import NegativePool
from training.speech_to_mouth.network import SpeechToMouthNetwork
from training.speech_to_mouth.synthesis import SAMPLES_PER_TARGET
from training.speech_to_mouth.visemes import BILABIAL, LABIODENTAL

logger = logging.getLogger(__name__)

_ROWS = 250
THRESHOLDS = tuple(round(0.1 + 0.05 * number, 2) for number in range(11))
"""Closure posteriors among which one is chosen."""
WANTED_CLOSURES = 0.7
_NEAR_ROWS = 2


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over pieces of 5 s."""

    opening: float
    """Pearson's r of the opening."""
    width: float
    closures_found: float
    """Share of the p, b, m, f, v that have a predicted closure within 0.04 s."""
    closures_right: float
    """Share of the predicted closures that have one of these phones within 0.04 s."""
    speech: float
    """Share of rows whose speech probability is on the right side of 0.5."""
    quiet: float
    """Share of rows of negatives that open less than 5% of the speaking range."""


def validate(
    network: SpeechToMouthNetwork,
    corpus: Corpus,
    pool: NegativePool,
    opening_scale: float,
    threshold: float,
    pieces: int,
    noisy: bool,
) -> Scores:
    """Scores of ``pieces`` pieces, the same ones in each call."""
    rows: list[tuple[float, float, float]] = []
    counts = np.zeros(4)
    quiet: list[float] = []
    for number in range(pieces):
        outputs, targets = _piece(network, corpus, pool, number, noisy)
        right = float(np.mean((outputs[4] > 0.0) == (targets[:, 4] > 0.5)))
        rows.append((_r(outputs[0], targets[:, 0]), _r(outputs[1], targets[:, 1]), right))
        counts += _closure_counts(outputs, targets, threshold)
        outputs = run(network, negative(np.random.default_rng([number, 6]), pool, _ROWS * SAMPLES_PER_TARGET))
        quiet.append(float(np.mean(outputs[0] * _probability(outputs[4]) / opening_scale < 0.05)))
    opening, width, speech = (float(value) for value in np.nanmean(np.array(rows), axis=0))
    found, right = _ratios(counts)
    return Scores(opening, width, found, right, speech, float(np.mean(quiet)))


def closure_threshold(network: SpeechToMouthNetwork, corpus: Corpus, pool: NegativePool, pieces: int) -> float:
    """The highest posterior that still finds ``WANTED_CLOSURES`` of the closures in augmented speech of ``corpus``: a
    missed closure is seen more clearly than one too many. The lowest of all where none finds so many."""
    counts = np.zeros((len(THRESHOLDS), 4))
    for number in range(pieces):
        outputs, targets = _piece(network, corpus, pool, number, noisy=True)
        for row, threshold in enumerate(THRESHOLDS):
            counts[row] += _closure_counts(outputs, targets, threshold)
    enough = THRESHOLDS[0]
    for row, threshold in enumerate(THRESHOLDS):
        found, right = _ratios(counts[row])
        if found >= WANTED_CLOSURES:
            enough = threshold
        logger.info("closures from a posterior of %.2f: %.3f found, %.3f of them right", threshold, found, right)
    return enough


def range_gains(network: SpeechToMouthNetwork, corpus: Corpus, pieces: int, widths: list[float]) -> dict[str, float]:
    """By how much the outputs fall short of the range of the targets in clean speech of ``corpus``: ``opening``,
    ``spread`` (width above 0) and ``rounding`` (below); 95th percentiles, width as the driver makes it."""
    ours: list[NDArray[np.float32]] = []
    theirs: list[NDArray[np.float32]] = []
    for number in range(pieces):
        outputs, targets = _piece(network, corpus, None, number, noisy=False)
        width = np.pad(mouth_width(outputs.T, np.array(widths, np.float32)), 6, mode="edge")
        speaking = targets[:, 4] > 0.5
        ours.append(np.stack([outputs[0], width], axis=1)[speaking])
        theirs.append(targets[speaking, :2])
    found, known = np.concatenate(ours), np.concatenate(theirs)
    percentiles = {"opening": (0, 95), "spread": (1, 95), "rounding": (1, 5)}
    return {
        name: round(float(np.percentile(known[:, column], share) / np.percentile(found[:, column], share)), 3)
        for name, (column, share) in percentiles.items()
    }


def run(network: SpeechToMouthNetwork, sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """Outputs float32 [20, N // 320] of a sound at 16 kHz."""
    ahead = INPUT_CONTEXT if network.lookahead_seconds is None else 0
    features = network_input(log_mel(sound), ahead).T[None]
    with torch.inference_mode():
        return network(torch.from_numpy(np.ascontiguousarray(features)))[0].numpy()


def closure_posterior(outputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probability of p, b, m or f, v, float32 [J]."""
    logits = outputs[5:] - outputs[5:].max(axis=0)
    shares = np.exp(logits) / np.exp(logits).sum(axis=0)
    return shares[BILABIAL] + shares[LABIODENTAL]


def _piece(
    network: SpeechToMouthNetwork, corpus: Corpus, pool: NegativePool | None, number: int, noisy: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    generator = np.random.default_rng([number, 5])
    sound, targets = corpus.piece(generator, _ROWS)
    if noisy and pool is not None:
        sound, targets = augmented(generator, sound, targets, pool)
    return run(network, sound), targets


def _closure_counts(
    outputs: NDArray[np.float32], targets: NDArray[np.float32], threshold: float
) -> tuple[int, int, int, int]:
    """Closures found, closures, predictions right, predictions."""
    lips = np.isin(targets[:, 5], (BILABIAL, LABIODENTAL)).astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], lips, [0]])))
    events = list(zip(edges[::2], edges[1::2], strict=True))
    posterior = closure_posterior(outputs)
    window = np.lib.stride_tricks.sliding_window_view(np.pad(posterior, 2), 5)
    peaks = np.flatnonzero((posterior >= threshold) & (posterior == window.max(axis=1)))
    found = sum(bool(np.any((peaks >= a - _NEAR_ROWS) & (peaks < b + _NEAR_ROWS))) for a, b in events)
    right = sum(any(a - _NEAR_ROWS <= peak < b + _NEAR_ROWS for a, b in events) for peak in peaks)
    return found, len(events), right, len(peaks)


def _ratios(counts: NDArray[np.float64]) -> tuple[float, float]:
    return float(counts[0] / max(1.0, counts[1])), float(counts[2] / max(1.0, counts[3]))


def _r(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    if ours.std() < 1e-6 or theirs.std() < 1e-6:
        return np.nan
    return float(np.corrcoef(ours, theirs)[0, 1])


def _probability(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return 1.0 / (1.0 + np.exp(-logits))
