"""Training pipeline: synthetic corpus, non-speech audio, training, validation, export and fine-tuning on real lips.

Interrupted synthesis and training resume. Fine-tuning starts from the exported synthetic weights and takes a few
minutes per network. An interrupted cross-validation resumes with the next network.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from retalkit.motion_eval.corpus_scores import mean_of_folds
from retalkit.motion_eval.lips_corpus import CorpusClip, LipsCorpus
from retalkit.storage.cache import content_hash
from retalkit_renderers.speech_to_mouth.decoding import Calibration
from retalkit_renderers.speech_to_mouth.model import ModelDriver
from retalkit_training.speech_to_mouth.corpus import Corpus, corpus_hash
from retalkit_training.speech_to_mouth.corpus_synthesis import Shard, plan, synthesise
from retalkit_training.speech_to_mouth.cross_validation import FoldDrivers, score_folds
from retalkit_training.speech_to_mouth.export import (
    class_widths,
    export,
    exported_metadata,
    load_exported,
    output_scales,
)
from retalkit_training.speech_to_mouth.fine_tuning import FineTuningConfig, fine_tune, initial_network
from retalkit_training.speech_to_mouth.network import SpeechToMouthNetwork
from retalkit_training.speech_to_mouth.noise_scores import score_noisy_speech
from retalkit_training.speech_to_mouth.non_speech import NonSpeechPool, make_pool
from retalkit_training.speech_to_mouth.real_lips import FOLDS, RealLips, prepare
from retalkit_training.speech_to_mouth.real_validation import held_out_outputs, log_contacts, output_range
from retalkit_training.speech_to_mouth.trainer import TrainingConfig, train
from retalkit_training.speech_to_mouth.validation import closure_threshold, range_gains, validate
from retalkit_training.speech_to_mouth.views import ViewConfig, Views, make_views

logger = logging.getLogger(__name__)

REPOSITORY = Path(__file__).resolve().parents[2]
WEIGHTS = REPOSITORY / "plugins/renderers/retalkit_renderers/speech_to_mouth/weights"
"""Directory of the bundled weights."""
SYNTHETIC, REAL, LIVE = "speech_to_mouth.safetensors", "real_lips.safetensors", "live.safetensors"
"""File names of the weights that were trained on synthetic speech, on real lips, and on real lips with a bounded
look-ahead."""
LIPS = REPOSITORY.parent / "shared" / "lips"
"""Default directory of the corpus of real lips."""
LIVE_LOOKAHEAD = 0.2
CONTACT_SHARE = 0.5
CLOSURE_THRESHOLD = 0.55
"""Weight of the contact probability in the closure evidence (``CONTACT_SHARE``), and closure evidence at or above which
the lips touch (``CLOSURE_THRESHOLD``). Both values were selected by cross-validation. A lower threshold increases the
recall of contacts from 57% to 61% but reduces the opening correlation by 0.015."""
WIDTH_SMOOTHING = 0.06
"""Standard deviation in seconds, selected by cross-validation."""
NOISY_CLIP_STRIDE = 9
"""Stride of the clips that are scored with added noise."""


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """Configuration of corpus, training and fine-tuning."""

    hours: float = 10.0
    flite_share: float = 0.45
    shard_minutes: float = 10.0
    negative_clips: int = 240
    negative_seconds: float = 8.0
    seed: int = 1
    processes: int = 2
    validation_pieces: int = 60
    training: TrainingConfig = field(default_factory=TrainingConfig)
    views: ViewConfig = field(default_factory=ViewConfig)
    fine_tuning: FineTuningConfig = field(default_factory=FineTuningConfig)

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
        views=ViewConfig(per_clip=2, synthetic=3, non_speech=1),
        fine_tuning=FineTuningConfig(steps=2, real=2, synthetic=1, non_speech=1, bfloat16=False),
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


def check_corpus(config: PipelineConfig, work: Path) -> None:
    """Raise FileNotFoundError if the synthetic corpus in ``work`` is incomplete."""
    if (
        not all(shard.folder.is_dir() for shard in config.shards(work))
        or not (work / "corpus" / "negatives.npy").exists()
    ):
        raise FileNotFoundError(f"{work / 'corpus'} has no complete synthetic corpus: run the step `corpus` first")


@dataclass(frozen=True, slots=True)
class RealData:
    """Corpus of real lips that was prepared for fine-tuning in ``work/lips``."""

    corpus: LipsCorpus
    lips: RealLips
    views: Views


def prepare_real_lips(config: PipelineConfig, work: Path, folder: Path) -> RealData | None:
    """Return the prepared corpus. If ``folder`` contains no corpus, log a warning and return None."""
    if not (folder / "index.csv").is_file():
        logger.warning(
            "no corpus of real lips in %s; fine-tuning is skipped; specify the corpus directory with --lips", folder
        )
        return None
    corpus = LipsCorpus(folder)
    lips = prepare(corpus, work / "lips")
    speech = Corpus([shard for shard in config.shards(work) if not shard.held_out])
    views = make_views(config.views, lips, speech, NonSpeechPool(work / "corpus"), work / "lips")
    return RealData(corpus, lips, views)


def fine_tuned_network(
    config: PipelineConfig, work: Path, data: RealData, weights: Path, name: str, held_out: int | None = None
) -> SpeechToMouthNetwork:
    """Return the network that is fine-tuned on all clips outside the fold ``held_out``.

    A network with identical configuration, data and initial weights is loaded from ``work/networks``, so an interrupted
    run resumes with the next network.
    """
    settings = {
        "fine_tuning": json.dumps(asdict(config.fine_tuning)),
        "views": json.dumps(asdict(config.views)),
        "real_lips": json.dumps(data.lips.facts),
        "initial": content_hash(weights),
    }
    path = work / "networks" / f"{name}-{'all' if held_out is None else held_out}.safetensors"
    if path.is_file() and settings.items() <= exported_metadata(path).items():
        return load_exported(path)[0]
    source, scales = load_exported(weights)
    network = initial_network(source, scales, config.fine_tuning)
    network = fine_tune(network, data.lips, data.views, scales, config.fine_tuning, held_out=held_out)
    export(network, path, {}, {}, settings)
    return load_exported(path)[0]


def cross_validate(config: PipelineConfig, work: Path, data: RealData, weights: Path, name: str) -> dict[str, Any]:
    """Fine-tune one network per fold, and calibrate and score the networks on the held-out clips.

    ``weights``: weights that were trained on synthetic speech. ``name``: prefix of the files in ``work/folds``. The
    result contains the joint calibration of all folds, and the scores under the key ``scores``.
    """
    outputs: dict[str, NDArray[np.float32]] = {}
    networks: list[SpeechToMouthNetwork] = []
    for fold in range(FOLDS):
        network = fine_tuned_network(config, work, data, weights, name, fold)
        held_out = [clip for clip in data.lips.clips if clip.fold == fold]
        outputs |= held_out_outputs(network, data.lips, data.views, held_out)
        networks.append(network)
    clear = clear_clips(data.corpus)
    names = {clip.name for clip in clear}
    calibration = calibrate(data, outputs, names)
    for fold, network in enumerate(networks):
        export(network, fold_path(work, name, fold), {}, calibration, {})
    scores = asdict(mean_of_folds(score_folds(data.corpus, clear, fold_drivers(work, data, name), work)))
    return calibration | {"scores": {key: round(value, 4) for key, value in scores.items()}}


def clear_clips(corpus: LipsCorpus) -> list[CorpusClip]:
    """Return the long and clear clips; all clips if there are none."""
    return [clip for clip in corpus.clips if clip.is_long_and_clear] or list(corpus.clips)


def fold_path(work: Path, name: str, fold: int) -> Path:
    """Return the path of the calibrated network that was not trained on ``fold``."""
    return work / "folds" / f"{name}-{fold}.safetensors"


def fold_drivers(work: Path, data: RealData, name: str) -> FoldDrivers:
    """Return the drivers of the networks that ``cross_validate`` wrote."""
    drivers = [ModelDriver(fold_path(work, name, fold)) for fold in range(FOLDS)]
    return FoldDrivers({clip.name: clip.fold for clip in data.lips.clips}, drivers)


def score_noise(work: Path, data: RealData, name: str) -> None:
    """Score the fold networks on noisy speech, and write the scores to ``work/noise.json``."""
    clips = clear_clips(data.corpus)[::NOISY_CLIP_STRIDE]
    scores = score_noisy_speech(
        data.corpus, clips, fold_drivers(work, data, name), NonSpeechPool(work / "corpus"), work
    )
    (work / "noise.json").write_text(json.dumps(scores, indent=1), encoding="utf-8")


def calibrate(data: RealData, outputs: dict[str, NDArray[np.float32]], names: set[str]) -> dict[str, Any]:
    """Return the decoding calibration for the held-out outputs of the clips listed in ``names``."""
    clips = [clip for clip in data.lips.clips if clip.name in names]
    settings: dict[str, Any] = {
        "contact_share": CONTACT_SHARE,
        "closure_threshold": CLOSURE_THRESHOLD,
        "width_smoothing": WIDTH_SMOOTHING,
        **output_range(outputs, data.lips, clips),
    }
    log_contacts(outputs, data.corpus, Calibration(**settings), clips)
    return settings


def fine_tune_and_export(
    config: PipelineConfig, work: Path, data: RealData, weights: Path, path: Path, name: str
) -> None:
    """Cross-validate, fine-tune on all clips, and export the weights with the calibration from the cross-validation."""
    calibration = cross_validate(config, work, data, weights, name)
    network = fine_tuned_network(config, work, data, weights, name)
    metadata = {
        "real_lips": json.dumps(data.lips.facts),
        "fine_tuning": json.dumps(asdict(config.fine_tuning)),
        "views": json.dumps(asdict(config.views)),
        "scores": json.dumps(calibration.pop("scores")),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    export(network, path, {}, calibration, metadata)
    logger.info("exported %s (%.2f MB)", path, path.stat().st_size / 1e6)
