"""Speed and memory of the training, measured with a small temporary corpus."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

from retalkit.motion_eval.lips_corpus import LipsCorpus
from retalkit_training.loop.trainer import DryRun, Trainer
from retalkit_training.speech_to_mouth.export import export, output_scales
from retalkit_training.speech_to_mouth.real_steps import fine_tuning_task, prepare_real_lips
from retalkit_training.speech_to_mouth.session import SYNTHETIC, Session
from retalkit_training.speech_to_mouth.synthetic_steps import (
    make_corpus,
    synthetic_network,
    synthetic_task,
    training_speech,
)
from retalkit_training.tasks.speech_to_mouth_config import TINY, SpeechToMouthConfig

_CLIPS = 12


def dry_run(config: SpeechToMouthConfig, lips: LipsCorpus | None, device: str) -> dict[str, DryRun]:
    """Return the cost of the training on synthetic speech (``synthetic``), and on real lips (``real``) if ``lips`` is
    given. A minute of speech and a few clips are prepared in a temporary directory.
    """
    with tempfile.TemporaryDirectory() as folder:
        corpus = config.corpus.model_copy(
            update={**TINY["corpus"], "non_speech_seconds": config.corpus.non_speech_seconds}
        )
        views = config.views.model_copy(update={"synthetic": 4, "non_speech": 2})
        session = Session(config.model_copy(update={"corpus": corpus, "views": views}), Path(folder), device)
        session.on_main_process(lambda: make_corpus(session))
        costs = {"synthetic": Trainer(synthetic_task(session, ""), device=device).dry_run()}
        if lips is not None:
            few = copy.copy(lips)
            few.clips = lips.clips[:_CLIPS]
            options = config.fine_tuning
            if options.needs_synthetic_weights:
                scales = output_scales(training_speech(session))
                export(synthetic_network(config.synthetic), session.weights / SYNTHETIC, scales, {}, {})
            data = prepare_real_lips(session, few, (options.features,))
            costs["real"] = Trainer(fine_tuning_task(session, options, data), device=device).dry_run()
        return costs
