"""The whole recipe: corpus, negatives, training, scores, export, each of which goes on where it was cut off."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from training.speech_to_mouth.corpus import Corpus, corpus_hash
from training.speech_to_mouth.export import class_widths, export, output_scales
from training.speech_to_mouth.negatives import NegativePool, make_pool
from training.speech_to_mouth.network import SpeechToMouthNetwork
from training.speech_to_mouth.synthesis import Shard, plan, synthesise
from training.speech_to_mouth.training import TrainingConfig, train
from training.speech_to_mouth.validation import closure_threshold, range_gains, validate

logger = logging.getLogger(__name__)

WEIGHTS = (
    Path(__file__).resolve().parents[2]
    / "plugins/renderers/retalkit_renderers/speech_to_mouth/weights/speech_to_mouth.safetensors"
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Corpus and training together."""

    hours: float = 10.0
    flite_share: float = 0.45
    shard_minutes: float = 10.0
    negative_clips: int = 240
    negative_seconds: float = 8.0
    seed: int = 1
    processes: int = 2
    validation_pieces: int = 60
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def shards(self, work: Path) -> list[Shard]:
        return plan(work / "corpus", self.hours, self.seed, self.flite_share, self.shard_minutes)


def tiny(flite: bool = False) -> Recipe:
    """The same steps in half a minute, for a test: a network that knows nothing."""
    training = TrainingConfig(
        steps=8, batch_size=3, seconds=2.0, channels=16, warm_up_steps=2, checkpoint_every=4, bfloat16=False
    )
    return Recipe(
        hours=0.02,
        flite_share=0.3 if flite else 0.0,
        shard_minutes=0.7,
        negative_clips=8,
        negative_seconds=6.0,
        validation_pieces=3,
        training=training,
    )


def make_corpus(recipe: Recipe, work: Path) -> None:
    """Speech and negatives under ``work/corpus``."""
    (work / "corpus").mkdir(parents=True, exist_ok=True)
    shards = recipe.shards(work)
    synthesise(shards, recipe.processes)
    heard = Corpus([shard for shard in shards if not shard.held_out])
    make_pool(work / "corpus", heard, recipe.negative_clips, recipe.negative_seconds, recipe.seed)
    logger.info("corpus: %.2f h, %d utterances, %d voices", heard.hours, len(heard), len(heard.voices))


def make_network(recipe: Recipe, work: Path, stop_after: int | None = None) -> SpeechToMouthNetwork:
    """Trains on the corpus under ``work``, with checkpoints under ``work/training``."""
    shards = [shard for shard in recipe.shards(work) if not shard.held_out]
    return train(recipe.training, shards, work / "corpus", work / "training", stop_after)


def score_and_export(recipe: Recipe, work: Path, network: SpeechToMouthNetwork, path: Path) -> None:
    """Scores on held-out voices, into the log and into the metadata; then the weights."""
    shards = recipe.shards(work)
    heard = Corpus([shard for shard in shards if not shard.held_out])
    unheard = Corpus([shard for shard in shards if shard.held_out])
    pool = NegativePool(work / "corpus")
    scales = output_scales(heard)
    threshold = closure_threshold(network, unheard, pool, recipe.validation_pieces)
    scores: dict[str, dict[str, float]] = {}
    for name, noisy in (("clean", False), ("augmented", True)):
        found = validate(network, unheard, pool, scales["opening"], threshold, recipe.validation_pieces, noisy)
        scores[name] = {key: round(value, 4) for key, value in asdict(found).items()}
        logger.info("held-out voices, %s: %s", name, scores[name])
    facts = {
        "corpus": corpus_hash(shards),
        "hours": f"{heard.hours:.2f}",
        "voices": str(len(heard.voices)),
        "steps": str(recipe.training.steps),
        "training": json.dumps(asdict(recipe.training)),
        "scores": json.dumps(scores),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    widths = class_widths(heard)
    calibration = {
        "closure_threshold": threshold,
        "class_widths": widths,
        "gains": range_gains(network, unheard, recipe.validation_pieces, widths),
    }
    export(network, path, scales, calibration, facts)
    logger.info("exported %s (%.2f MB)", path, path.stat().st_size / 1e6)
