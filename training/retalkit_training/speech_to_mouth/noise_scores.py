"""Scores of the fold networks on noisy speech, with several denoisers, as a run uses them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from retalkit.config.model import load
from retalkit.motion_eval.clips import analyse_waveform
from retalkit.motion_eval.corpus_scores import CorpusClipScores, mean_of_folds, score_clip
from retalkit.motion_eval.lips_corpus import CorpusClip, LipsCorpus
from retalkit.observer import SilentObserver
from retalkit.pipeline.plan import plan
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.discovery import discover
from retalkit.speech.loudness import integrated_loudness
from retalkit.storage.cache import Cache
from retalkit_training.speech_to_mouth.cross_validation import FoldDrivers
from retalkit_training.speech_to_mouth.non_speech import KINDS, NonSpeechPool

logger = logging.getLogger(__name__)

LEVELS = (None, 20.0, 10.0, 0.0)
"""Signal-to-noise ratios in dB; None: no added noise."""
DENOISERS = ("none", "rnnoise", "adaptive")
_NOISES = tuple(KINDS.index(kind) for kind in ("noise", "music", "babble"))


def score_noisy_speech(
    corpus: LipsCorpus, clips: Sequence[CorpusClip], drivers: FoldDrivers, pool: NonSpeechPool, work: Path
) -> dict[str, dict[str, tuple[float, float]]]:
    """Return r of opening and width by denoiser and by signal-to-noise ratio, as means over the folds.

    The clips have noise, music and babble in turn. Ratios are those of the loudness of the speech to the level of the
    noise.
    """
    registry = discover([])
    result: dict[str, dict[str, tuple[float, float]]] = {}
    for denoiser in DENOISERS:
        settings = ["lip_syncer.driver.use=model", "lip_syncer.driver.weights=synthetic", f"denoiser={denoiser}"]
        steps = ClipSteps(plan(load(registry, overrides=settings), registry), Cache(work / "cache"), SilentObserver())
        for level in LEVELS:
            scores: list[CorpusClipScores] = []
            for number, clip in enumerate(clips):
                fold, driver = drivers(clip)
                speech = analyse_waveform(noisy(corpus.waveform(clip), pool, level, number), steps)
                scores.append(score_clip(corpus, clip, driver, speech, fold))
            found = mean_of_folds(scores)
            name = "clean" if level is None else f"{level:.0f} dB"
            result.setdefault(denoiser, {})[name] = round(found.opening, 4), round(found.width, 4)
            logger.info("%s, %s: opening r %.3f, width r %.3f", denoiser, name, found.opening, found.width)
    return result


def noisy(speech: NDArray[np.float32], pool: NonSpeechPool, level: float | None, number: int) -> NDArray[np.float32]:
    """Return speech with added noise at the ratio ``level`` in dB. The noise depends on ``number`` only."""
    if level is None:
        return speech
    generator = np.random.default_rng([number, 20])
    noise, _ = pool.pick(generator, min(len(speech), pool.samples), _NOISES[number % len(_NOISES)])
    noise = np.resize(noise, len(speech))
    wanted = integrated_loudness(speech) - level
    scale = 10.0 ** ((wanted - 10.0 * np.log10(np.mean(np.square(noise, dtype=np.float64)))) / 20.0)
    mixed = speech + noise * np.float32(scale)
    # Prevent clipping. The level of the mixture has no effect on the motion.
    return (mixed * np.float32(min(1.0, 0.99 / np.abs(mixed).max()))).astype(np.float32)
