"""Steps ``real``, ``live`` and ``noise``: fine-tuning on real lips, cross-validation, and scores on noisy speech."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from retalkit.errors import InputError, WeightsError
from retalkit.motion_eval.corpus_scores import CorpusClipScores, mean_of_folds
from retalkit.motion_eval.lips_corpus import CorpusClip, LipsCorpus
from retalkit.stages import SPEECH_RATE
from retalkit.storage.cache import content_hash
from retalkit.storage.permissions import default_permissions
from retalkit_renderers.speech_to_mouth.decoding import Calibration
from retalkit_renderers.speech_to_mouth.model import ModelDriver
from retalkit_training.loop.trainer import seed_all
from retalkit_training.speech_to_mouth.cross_validation import FoldDrivers, score_folds
from retalkit_training.speech_to_mouth.encoder_task import EncoderTask
from retalkit_training.speech_to_mouth.export import export, load_exported, output_scales, weights_path
from retalkit_training.speech_to_mouth.fine_tuning import FineTuningTask
from retalkit_training.speech_to_mouth.initial_network import encoder_network, initial_network
from retalkit_training.speech_to_mouth.model_card import write_card
from retalkit_training.speech_to_mouth.network import SpeechToMouthNetwork
from retalkit_training.speech_to_mouth.noise_scores import score_noisy_speech
from retalkit_training.speech_to_mouth.non_speech import NonSpeechPool
from retalkit_training.speech_to_mouth.real_lips import FOLDS, RealLips, prepare
from retalkit_training.speech_to_mouth.real_validation import held_out_outputs, log_contacts, output_range
from retalkit_training.speech_to_mouth.session import ENCODER_FILE, LIVE, REAL, SYNTHETIC, Session
from retalkit_training.speech_to_mouth.synthetic_steps import training_speech
from retalkit_training.speech_to_mouth.views import EncoderExtractor, Views, make_views
from retalkit_training.tasks.speech_to_mouth_config import Features, FineTuningConfig
from safetensors.torch import save_file

logger = logging.getLogger(__name__)

CONTACT_SHARE: Final = 0.8
CLOSURE_THRESHOLD: Final = 0.38
"""Weight of the contact probability in the closure evidence (``CONTACT_SHARE``), and closure evidence at or above which
the lips touch (``CLOSURE_THRESHOLD``). Both values were selected by cross-validation: at a recall of 70%, the posterior
of p, b, m, f and v alone has a lower precision."""
WIDTH_SMOOTHING: Final = 0.06
"""Standard deviation in seconds, selected by cross-validation."""
NOISY_CLIP_STRIDE: Final = 9
"""Stride of the clips that are scored with added noise."""


@dataclass(frozen=True, slots=True)
class RealData:
    """Corpus of real lips that was prepared for training."""

    corpus: LipsCorpus
    lips: RealLips
    views: Mapping[Features, Views]


def prepare_real_lips(session: Session, corpus: LipsCorpus, features: Iterable[Features]) -> RealData:
    """Return the prepared corpus of real lips with views of each of ``features``.

    Raises:
        OutputError: the run contains another corpus of real lips.
    """
    lips = prepare(corpus, session.lips)
    pool, speech = NonSpeechPool(session.corpus), training_speech(session)
    views: dict[Features, Views] = {
        kind: make_views(session.config.views, lips, speech, pool, session.lips, kind, session.encoder)
        for kind in features
    }
    return RealData(corpus, lips, views)


def train_encoder(session: Session, corpus: LipsCorpus) -> None:
    """Train the speech encoder for noisy speech, and write it to the run's weights.

    Views with encoder features that were made before are outdated and are deleted.
    """
    lips = prepare(corpus, session.lips)
    pool = NonSpeechPool(session.corpus)
    config = session.config.encoder
    sample = EncoderExtractor(session.encoder)(lips.random_waveform(np.random.default_rng(0), 60 * SPEECH_RATE))
    network = session.train_module(EncoderTask(config, lips, pool, sample.std(axis=0), lips.key), "encoder")

    def export_encoder() -> None:
        tensors = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
        path = session.weights / ENCODER_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        settings = {"training": config.model_dump_json(), "license": "MIT, Copyright (c) 2025 Moonshine AI"}
        with default_permissions(path):
            save_file(tensors, str(path), settings)
        for outdated in session.lips.glob("encoder_*.npy"):
            outdated.unlink()
        logger.info("exported %s (%.2f MB)", path, path.stat().st_size / 1e6)

    session.on_main_process(export_encoder)


def initial_weights(session: Session, config: FineTuningConfig) -> Path | None:
    """Return the weights file from which training starts, or None for random weights.

    Raises:
        WeightsError: the file is missing.
    """
    if config.initial is None and config.features == "encoder":
        return None
    path = session.weights / SYNTHETIC if config.initial is None else weights_path(config.initial, config.features)
    if not path.is_file():
        raise WeightsError(
            f"{path}: no weights from which fine-tuning can start; run the step `synthetic` first, or pass --from",
            code="missing-weights",
        )
    return path


def fine_tuning_task(
    session: Session, config: FineTuningConfig, data: RealData, held_out: int | None = None
) -> FineTuningTask:
    """Return the task of training on all clips outside the fold ``held_out``."""
    weights = initial_weights(session, config)
    key, views = data.lips.key, data.views[config.features]
    source, scales = (None, {}) if weights is None else load_exported(weights)
    if weights is not None:
        key = f"{key} {content_hash(weights)}"
    # Weights that were trained on real lips have no scales.
    scales = scales or output_scales(training_speech(session))
    seed_all(config.seed, -1)
    if config.features == "log_mel":
        assert source is not None
        network = initial_network(source, scales, config)
    else:
        network = encoder_network(views, config)
        if weights is not None:
            load_exported(weights, network)
    return FineTuningTask(config, network, data.lips, views, scales, key, held_out)


def fine_tune(session: Session, config: FineTuningConfig, data: RealData, name: str) -> None:
    """Cross-validate, fine-tune on all clips, and export the weights with the calibration from the cross-validation.

    ``name``: ``real`` or ``live``, the directory in the run.
    """
    calibration = cross_validate(session, config, data, name)
    network = session.train(fine_tuning_task(session, config, data), f"{name}/all")
    session.on_main_process(lambda: _export(session, config, data, network, calibration, name))


def _export(
    session: Session,
    config: FineTuningConfig,
    data: RealData,
    network: SpeechToMouthNetwork,
    calibration: dict[str, Any],
    name: str,
) -> None:
    report = json.loads(report_path(session, name).read_text(encoding="utf-8"))
    path = session.weights / weights_name(name)
    metadata = {
        "real_lips": json.dumps(data.lips.facts),
        "fine_tuning": config.model_dump_json(),
        "views": session.config.views.model_dump_json(),
        "scores": json.dumps(report["mean"]),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    export(network, path, {}, calibration, metadata)
    write_card(path, session.folder / name / "all", report["folds"])
    logger.info("exported %s (%.2f MB)", path, path.stat().st_size / 1e6)


def cross_validate(session: Session, config: FineTuningConfig, data: RealData, name: str) -> dict[str, Any]:
    """Fine-tune one network per fold, and calibrate and score the networks on the held-out clips.

    The calibrated networks are written to ``folds``, and the scores of each fold and their mean to
    ``cross_validation.json``. Returns the joint calibration of all folds.
    """
    outputs: dict[str, NDArray[np.float32]] = {}
    networks: list[SpeechToMouthNetwork] = []
    for fold in range(FOLDS):
        network = session.train(fine_tuning_task(session, config, data, fold), f"{name}/fold-{fold}")
        held_out = [clip for clip in data.lips.clips if clip.fold == fold]
        outputs |= held_out_outputs(network, data.lips, data.views[config.features], held_out)
        networks.append(network)
    clear = clear_clips(data.corpus)
    calibration = calibrate(data, outputs, {clip.name for clip in clear})

    def score() -> None:
        for fold, network in enumerate(networks):
            export(network, fold_path(session, name, fold), {}, calibration, {})
        drivers = fold_drivers(session, data, name)
        _write_report(session, name, score_folds(data.corpus, clear, drivers, session.folder))

    session.on_main_process(score)
    return calibration


def _write_report(session: Session, name: str, scores: list[CorpusClipScores]) -> None:
    folds = [[each for each in scores if each.fold == fold] for fold in range(FOLDS)]
    report = {
        "mean": _rounded(scores),
        "folds": [{"fold": number, **_rounded(found)} for number, found in enumerate(folds) if found],
    }
    report_path(session, name).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _rounded(scores: list[CorpusClipScores]) -> dict[str, float]:
    return {key: round(value, 4) for key, value in asdict(mean_of_folds(scores)).items()}


def report_path(session: Session, name: str) -> Path:
    """Return the path of the cross-validation report of ``real`` or ``live``."""
    return session.folder / name / "cross_validation.json"


def weights_name(name: str) -> str:
    """Return the name of the weights file of ``real`` or ``live``."""
    return {"real": REAL, "live": LIVE}[name]


def clear_clips(corpus: LipsCorpus) -> list[CorpusClip]:
    """Return the long and clear clips; all clips if there are none."""
    return [clip for clip in corpus.clips if clip.is_long_and_clear] or list(corpus.clips)


def fold_path(session: Session, name: str, fold: int) -> Path:
    """Return the path of the calibrated network that was not trained on ``fold``."""
    return session.folder / "folds" / f"{name}-{fold}.safetensors"


def fold_drivers(session: Session, data: RealData, name: str) -> FoldDrivers:
    """Return the drivers of the networks that ``cross_validate`` wrote. Raises InputError if one is missing."""
    paths = [fold_path(session, name, fold) for fold in range(FOLDS)]
    if missing := [path for path in paths if not path.is_file()]:
        raise InputError(f"{missing[0]}: no such file; run the step `{name}` first", code="file-not-found")
    drivers = [ModelDriver(path, encoder=session.encoder) for path in paths]
    return FoldDrivers({clip.name: clip.fold for clip in data.lips.clips}, drivers)


def score_noise(session: Session, data: RealData, name: str = "real") -> None:
    """Score the fold networks on noisy speech, and write the scores to ``noise.json``."""
    clips = clear_clips(data.corpus)[::NOISY_CLIP_STRIDE]
    drivers = fold_drivers(session, data, name)
    scores = score_noisy_speech(data.corpus, clips, drivers, NonSpeechPool(session.corpus), session.folder)
    (session.folder / "noise.json").write_text(json.dumps(scores, indent=1), encoding="utf-8")


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
