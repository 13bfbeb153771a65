"""Steps ``corpus`` and ``synthetic``: synthesis of the corpus, and training on it."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from retalkit.errors import ConfigError, InputError, PluginError
from retalkit_training.loop.trainer import seed_all
from retalkit_training.speech_to_mouth.corpus import Corpus, corpus_hash
from retalkit_training.speech_to_mouth.corpus_synthesis import Shard, synthesise
from retalkit_training.speech_to_mouth.export import (
    class_widths,
    export,
    exported_metadata,
    load_exported,
    output_scales,
    weights_path,
)
from retalkit_training.speech_to_mouth.model_card import write_card
from retalkit_training.speech_to_mouth.network import SpeechToMouthNetwork
from retalkit_training.speech_to_mouth.non_speech import NonSpeechPool, make_pool
from retalkit_training.speech_to_mouth.session import SYNTHETIC, Session
from retalkit_training.speech_to_mouth.synthetic_speech import SyntheticSpeechTask
from retalkit_training.speech_to_mouth.tts import flite_program
from retalkit_training.speech_to_mouth.validation import closure_threshold, range_gains, validate
from retalkit_training.tasks.speech_to_mouth_config import SyntheticConfig

logger = logging.getLogger(__name__)

NETWORK = "synthetic"
"""Directory of the network in the run."""


def check_synthesisers(session: Session) -> None:
    """Check that the synthesisers of the missing shards are installed.

    Raises:
        PluginError: a Python package is missing.
        ConfigError: flite is missing.
    """
    missing = [shard for shard in session.shards() if not shard.folder.is_dir()]
    for package in ("espeakng_loader", "faker"):
        if missing and find_spec(package) is None:
            raise PluginError(
                f"the synthesis of speech needs the Python package {package} (pip install 'retalkit[train]')",
                code="missing-package",
            )
    if any(shard.synthesiser == "flite" for shard in missing) and flite_program() is None:
        raise ConfigError(
            "corpus.flite_share: flite is not installed; run `apt-get install flite`, or set corpus.flite_share=0",
            code="missing-program",
        )


def make_corpus(session: Session) -> None:
    """Synthesise speech and non-speech audio. An interrupted synthesis resumes with the next shard."""
    options = session.config.corpus
    session.corpus.mkdir(parents=True, exist_ok=True)
    synthesise(session.shards(), options.processes)
    corpus = training_speech(session)
    make_pool(session.corpus, corpus, options.non_speech_clips, options.non_speech_seconds, options.seed)
    logger.info("corpus: %.2f h, %d utterances, %d voices", corpus.hours, len(corpus), len(corpus.voices))


def check_corpus(session: Session) -> None:
    """Raise InputError if the synthetic corpus is incomplete."""
    complete = all(shard.folder.is_dir() for shard in session.shards())
    if not complete or not (session.corpus / "negative_kinds.npy").exists():
        raise InputError(
            f"{session.corpus}: no complete synthetic corpus; run the step `corpus` first", code="missing-corpus"
        )


def training_speech(session: Session) -> Corpus:
    """Return the synthetic speech of the training voices."""
    return Corpus(_of_split(session, held_out=False))


def _of_split(session: Session, *, held_out: bool) -> list[Shard]:
    return [shard for shard in session.shards() if shard.held_out == held_out]


def synthetic_network(config: SyntheticConfig) -> SpeechToMouthNetwork:
    """Return a network with random weights from ``config.seed``, or with the weights of ``config.initial``.

    Raises:
        WeightsError: the file does not contain weights of this architecture.
    """
    seed_all(config.seed, -1)
    network = SpeechToMouthNetwork(config.channels, config.dilations, config.lookahead_seconds, config.dropout)
    if config.initial is not None:
        load_exported(weights_path(config.initial), network)
    return network


def synthetic_task(session: Session, data_key: str) -> SyntheticSpeechTask:
    """Return the task of the training on the run's corpus."""
    config = session.config.synthetic
    held_out = Corpus(_of_split(session, held_out=True))
    pool = NonSpeechPool(session.corpus)
    return SyntheticSpeechTask(config, synthetic_network(config), training_speech(session), held_out, pool, data_key)


def train_on_synthetic_speech(session: Session) -> None:
    """Train on the corpus, validate on held-out voices, and export ``speech_to_mouth.safetensors``."""
    key = corpus_hash(session.shards())
    network = session.train(synthetic_task(session, key), NETWORK)
    session.on_main_process(lambda: score_and_export(session, network, key))


def score_and_export(session: Session, network: SpeechToMouthNetwork, key: str) -> Path:
    """Validate on held-out voices, and export the weights with the scores, and a model card.

    ``key``: result of ``corpus_hash``. Returns the path of the weights file. An existing file of the same training is
    kept.
    """
    config, path = session.config.synthetic, session.weights / SYNTHETIC
    settings = {"corpus": key, "training": config.model_dump_json(), "steps": str(config.steps)}
    if path.is_file() and settings.items() <= exported_metadata(path).items():
        return path
    training, held_out = training_speech(session), Corpus(_of_split(session, held_out=True))
    pool, crops = NonSpeechPool(session.corpus), session.config.validation_crops
    scales = output_scales(training)
    threshold = closure_threshold(network, held_out, pool, crops)
    scores: dict[str, dict[str, float]] = {}
    for name, noisy in (("clean", False), ("augmented", True)):
        result = validate(network, held_out, pool, scales["opening"], threshold, crops, noisy)
        scores[name] = result.rounded()
        logger.info("held-out voices, %s: %s", name, scores[name])
    widths = class_widths(training)
    calibration = {
        "closure_threshold": threshold,
        "class_widths": widths,
        "gains": range_gains(network, held_out, crops, widths),
    }
    metadata = {
        **settings,
        "hours": f"{training.hours:.2f}",
        "voices": str(len(training.voices)),
        "scores": json.dumps(scores),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    export(network, path, scales, calibration, metadata)
    write_card(path, session.folder / NETWORK)
    logger.info("exported %s (%.2f MB)", path, path.stat().st_size / 1e6)
    return path
