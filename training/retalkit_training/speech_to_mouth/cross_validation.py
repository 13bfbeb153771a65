"""Speaker-disjoint cross-validation on real lips.

Each network is fine-tuned without one fold and scored on that fold. For scoring, the network is exported and used by
the driver ``model`` with the configured denoiser and voice activity detection (see
``retalkit.motion_eval.corpus_scores``).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retalkit.config.model import load
from retalkit.media.sound import open_sound
from retalkit.motion_eval.corpus_scores import CorpusClipScores, mean_of_folds, score_corpus
from retalkit.motion_eval.lips_corpus import CorpusClip, LipsCorpus
from retalkit.observer import SilentObserver
from retalkit.pipeline.keys import speech_key
from retalkit.pipeline.plan import plan
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.discovery import discover
from retalkit.stages import Speech, SpeechToMouth
from retalkit.storage.cache import Cache, content_hash

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FoldDrivers:
    """Drivers that were not trained on the fold with the same index."""

    fold_of: dict[str, int]
    """Mapping from clip name to fold."""
    drivers: Sequence[SpeechToMouth]
    """Driver for each fold."""

    def __call__(self, clip: CorpusClip) -> tuple[int, SpeechToMouth]:
        fold = self.fold_of[clip.name]
        return fold, self.drivers[fold]


def score_folds(
    corpus: LipsCorpus, clips: Sequence[CorpusClip], drivers: FoldDrivers, work: Path, overrides: Sequence[str] = ()
) -> list[CorpusClipScores]:
    """Return the scores of each clip with the driver of the clip's fold.

    ``overrides``: overrides of run file values, such as ``denoiser=none``. Prepared speech is cached in ``work/cache``.
    """
    registry = discover([])
    # Planning checks the weights of the configured driver. The default weights may not exist during their training.
    settings = ["lip_syncer.driver.use=model", "lip_syncer.driver.weights=synthetic", *overrides]
    chosen = plan(load(registry, overrides=settings), registry)
    steps = ClipSteps(chosen, Cache(work / "cache"), SilentObserver())

    def speech_of(clip: CorpusClip) -> Speech:
        return steps.speech(open_sound(clip.audio), speech_key(chosen, content_hash(clip.audio)))

    scores = score_corpus(corpus, clips, drivers, speech_of)
    found = mean_of_folds(scores)
    logger.info(
        "%d clips, mean of the folds: opening r %.3f, width r %.3f, lag %.0f ms, contacts: recall %.2f, precision %.2f",
        found.clips,
        found.opening,
        found.width,
        1000.0 * found.lag,
        found.recall,
        found.precision,
    )
    return scores
