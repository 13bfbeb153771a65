"""Program ``python -m retalkit_training.speech_to_mouth``, which trains the bundled weights from scratch."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

from retalkit_training.speech_to_mouth.pipeline import (
    LIPS,
    LIVE,
    LIVE_LOOKAHEAD,
    REAL,
    SYNTHETIC,
    WEIGHTS,
    PipelineConfig,
    check_corpus,
    fine_tune_and_export,
    make_corpus,
    make_network,
    prepare_real_lips,
    score_and_export,
    score_noise,
    tiny_config,
)
from retalkit_training.speech_to_mouth.tts import flite_program


def main(arguments: list[str] | None = None) -> None:
    """Run the requested pipeline steps."""
    parser = argparse.ArgumentParser(prog="retalkit_training.speech_to_mouth", description=__doc__)
    parser.add_argument(
        "step",
        choices=("corpus", "train", "lips", "live", "noise", "all"),
        help="corpus: synthesise speech; train: train on synthetic speech, validate and export; lips: fine-tune on "
        "real lips with 5-fold cross-validation; live: fine-tune on real lips with a look-ahead of 0.2 s; noise: score "
        "the networks of the cross-validation on noisy speech",
    )
    parser.add_argument("--work", type=Path, required=True, help="directory for corpus and checkpoints, about 2 GB")
    parser.add_argument(
        "--output", type=Path, help="directory of the weights files (default: directory of the bundled weights)"
    )
    parser.add_argument(
        "--lips", type=Path, default=LIPS, help="directory with a corpus of real lips (default: ../shared/lips)"
    )
    parser.add_argument(
        "--tiny", action="store_true", help="use minimal sizes for testing and write the weights to WORK/weights"
    )
    parser.add_argument("--without-flite", action="store_true", help="train on espeak-ng only")
    parser.add_argument("--hours", type=float, help="hours of speech (default 10)")
    parser.add_argument("--steps", type=int, help="number of training steps on synthetic speech")
    parser.add_argument("--lookahead", type=float, help="maximum look-ahead in seconds, for streaming")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    config = tiny_config(flite=flite_program() is not None) if options.tiny else PipelineConfig()
    if options.without_flite:
        config = replace(config, flite_share=0.0)
    elif flite_program() is None and not options.tiny:
        parser.error("flite is not installed: `apt-get install flite`, or train with --without-flite")
    if options.hours is not None:
        config = replace(config, hours=options.hours)
    if options.steps is not None:
        config = replace(config, training=replace(config.training, steps=options.steps))
    if options.lookahead is not None:
        config = replace(config, training=replace(config.training, lookahead_seconds=options.lookahead))

    work: Path = options.work
    output: Path = options.output or (work / "weights" if options.tiny else WEIGHTS)
    steps = ("corpus", "train", "lips", "live") if options.step == "all" else (options.step,)
    if "corpus" in steps:
        make_corpus(config, work)
    if "train" in steps:
        score_and_export(config, work, make_network(config, work), output / SYNTHETIC)
    if {"lips", "live", "noise"} & set(steps):
        try:
            check_corpus(config, work)
        except FileNotFoundError as error:
            parser.error(str(error))
    data = prepare_real_lips(config, work, options.lips) if {"lips", "live", "noise"} & set(steps) else None
    if data is None:
        return
    if "lips" in steps:
        fine_tune_and_export(config, work, data, output / SYNTHETIC, output / REAL, "real")
    if "live" in steps:
        bounded = replace(config, fine_tuning=replace(config.fine_tuning, lookahead_seconds=LIVE_LOOKAHEAD))
        fine_tune_and_export(bounded, work, data, output / SYNTHETIC, output / LIVE, "live")
    if "noise" in steps:
        score_noise(work, data, "real")


if __name__ == "__main__":
    main()
