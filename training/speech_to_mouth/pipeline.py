"""Training pipeline: corpus, non-speech audio, training, validation and export. Interrupted steps resume."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from training.speech_to_mouth.corpus import Corpus, corpus_hash
from training.speech_to_mouth.corpus_synthesis import Shard, plan, synthesise
from training.speech_to_mouth.export import class_widths, export, output_scales
from training.speech_to_mouth.network import SpeechToMouthNetwork
from training.speech_to_mouth.non_speech import NonSpeechPool, make_pool
from training.speech_to_mouth.trainer import TrainingConfig, train
from training.speech_to_mouth.validation import closure_threshold, range_gains, validate

logger = logging.getLogger(__name__)

WEIGHTS = (
    Path(__file__).resolve().parents[2]
    / "plugins/renderers/retalkit_renderers/speech_to_mouth/weights/speech_to_mouth.safetensors"
)


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """Corpus and training configuration."""

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


def tiny_config(flite: bool = False) -> PipelineConfig:
    """Return a test configuration that runs in half a minute. The resulting network is not usable."""
    training = TrainingConfig(
        steps=8, batch_size=3, seconds=2.0, channels=16, warm_up_steps=2, checkpoint_every=4, bfloat16=False
    )
    return PipelineConfig(
        hours=0.02,
        flite_share=0.3 if flite else 0.0,
        shard_minutes=0.7,
        negative_clips=8,
        negative_seconds=6.0,
        validation_pieces=3,
        training=training,
    )


def make_corpus(config: PipelineConfig, work: Path) -> None:
    """Synthesise speech and non-speech audio in ``work/corpus``."""
    (work / "corpus").mkdir(parents=True, exist_ok=True)
    shards = config.shards(work)
    synthesise(shards, config.processes)
    corpus = Corpus([shard for shard in shards if not shard.held_out])
    make_pool(work / "corpus", corpus, config.negative_clips, config.negative_seconds, config.seed)
    logger.info("corpus: %.2f h, %d utterances, %d voices", corpus.hours, len(corpus), len(corpus.voices))


def make_network(config: PipelineConfig, work: Path, stop_after: int | None = None) -> SpeechToMouthNetwork:
    """Train on the corpus in ``work`` and write checkpoints to ``work/training``."""
    shards = [shard for shard in config.shards(work) if not shard.held_out]
    return train(config.training, shards, work / "corpus", work / "training", stop_after)


def score_and_export(config: PipelineConfig, work: Path, network: SpeechToMouthNetwork, path: Path) -> None:
    """Validate on held-out voices, log the scores, and export the weights with the scores in the metadata."""
    shards = config.shards(work)
    training = Corpus([shard for shard in shards if not shard.held_out])
    held_out = Corpus([shard for shard in shards if shard.held_out])
    pool = NonSpeechPool(work / "corpus")
    scales = output_scales(training)
    threshold = closure_threshold(network, held_out, pool, config.validation_pieces)
    scores: dict[str, dict[str, float]] = {}
    for name, noisy in (("clean", False), ("augmented", True)):
        result = validate(network, held_out, pool, scales["opening"], threshold, config.validation_pieces, noisy)
        scores[name] = {key: round(value, 4) for key, value in asdict(result).items()}
        logger.info("held-out voices, %s: %s", name, scores[name])
    metadata = {
        "corpus": corpus_hash(shards),
        "hours": f"{training.hours:.2f}",
        "voices": str(len(training.voices)),
        "steps": str(config.training.steps),
        "training": json.dumps(asdict(config.training)),
        "scores": json.dumps(scores),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    widths = class_widths(training)
    calibration = {
        "closure_threshold": threshold,
        "class_widths": widths,
        "gains": range_gains(network, held_out, config.validation_pieces, widths),
    }
    export(network, path, scales, calibration, metadata)
    logger.info("exported %s (%.2f MB)", path, path.stat().st_size / 1e6)
