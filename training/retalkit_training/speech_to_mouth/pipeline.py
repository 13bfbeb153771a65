"""Steps of the trainer in order. Each step resumes where it was interrupted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from retalkit.errors import ConfigError
from retalkit.motion_eval.lips_corpus import LipsCorpus
from retalkit.plugins.registry import nearest
from retalkit_training.speech_to_mouth.real_steps import (
    fine_tune,
    initial_weights,
    prepare_real_lips,
    score_noise,
    train_encoder,
)
from retalkit_training.speech_to_mouth.session import Session
from retalkit_training.speech_to_mouth.synthetic_steps import (
    check_corpus,
    check_synthesisers,
    make_corpus,
    train_on_synthetic_speech,
)
from retalkit_training.tasks.speech_to_mouth_config import Features, FineTuningConfig

logger = logging.getLogger(__name__)

STEPS: Final = ("corpus", "synthetic", "real", "live")
EXTRA_STEPS: Final = ("encoder", "noise")
"""Steps that run only on request."""
LIPS: Final = Path("../shared/lips")
"""Default directory of the corpus of real lips."""
_REAL_STEPS: Final = ("encoder", "real", "live", "noise")


def check_steps(names: Sequence[str]) -> tuple[str, ...]:
    """Return the requested steps in order. No names: all of ``STEPS``.

    Raises:
        ConfigError: a step is unknown.
    """
    known = STEPS + EXTRA_STEPS
    for name in names:
        if name not in known:
            raise ConfigError(
                f"--only: unknown step '{name}'{nearest(name, known)}; steps: {', '.join(known)}", code="unknown-step"
            )
    return tuple(step for step in known if step in names) or STEPS


def find_lips(folder: Path | None, names: Sequence[str]) -> LipsCorpus | None:
    """Return the corpus of real lips in ``folder``, or in ``LIPS``.

    If no directory and no step was requested and ``LIPS`` contains no corpus, a warning is logged, and the result is
    None, so that only the training on synthetic speech runs.

    Raises:
        InputError: the requested directory contains no corpus, or a step that needs one was requested.
    """
    if names and not set(names) & set(_REAL_STEPS):
        return None
    chosen = LIPS if folder is None else folder
    if folder is None and not names and not (chosen / "index.csv").is_file():
        logger.warning(
            "no corpus of real lips in %s (index.csv is missing): fine-tuning is skipped, and only the weights for "
            "synthetic speech are trained; pass the directory of the corpus with --data",
            chosen,
        )
        return None
    return LipsCorpus(chosen)


def check_prerequisites(session: Session, names: Sequence[str], lips: LipsCorpus | None) -> None:
    """Check that everything is there that the steps ``names`` do not make themselves. ``lips``: see ``find_lips``.

    Raises:
        RetalkitError: the results of an earlier step are missing, or a program or a package is missing.
    """
    steps = check_steps(names)
    if "corpus" in steps:
        check_synthesisers(session)
    else:
        check_corpus(session)
    for options in _real_trainings(session, steps).values() if lips is not None else ():
        if "synthetic" not in steps or not options.needs_synthetic_weights:
            initial_weights(session, options)


def run_steps(session: Session, names: Sequence[str], lips: LipsCorpus | None) -> None:
    """Run the steps ``names`` in order; see ``check_steps`` and ``check_prerequisites``."""
    steps = check_steps(names)
    if "corpus" in steps:
        session.on_main_process(lambda: make_corpus(session))
    trainings = _real_trainings(session, steps)
    # Training that starts from other weights needs no training on synthetic speech.
    needed = lips is None or any(options.needs_synthetic_weights for options in trainings.values())
    if "synthetic" in steps and (names or needed):
        train_on_synthetic_speech(session)
    if lips is None:
        return
    if "encoder" in steps:
        session.on_main_process(lambda: prepare_real_lips(session, lips, ()))
        train_encoder(session, lips)
    features: set[Features] = {options.features for options in trainings.values()}
    session.on_main_process(lambda: prepare_real_lips(session, lips, features))
    data = prepare_real_lips(session, lips, features)
    for name, options in trainings.items():
        fine_tune(session, options, data, name)
    if "noise" in steps:
        session.on_main_process(lambda: score_noise(session, data))


def _real_trainings(session: Session, steps: Sequence[str]) -> dict[str, FineTuningConfig]:
    """Return the options of the requested trainings on real lips."""
    options = {"real": session.config.fine_tuning, "live": session.config.live}
    return {name: options[name] for name in options if name in steps}
