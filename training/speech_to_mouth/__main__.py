"""Command ``python -m training.speech_to_mouth all --work FOLDER``, which trains the bundled weights from scratch."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

from training.speech_to_mouth.pipeline import (
    WEIGHTS,
    PipelineConfig,
    make_corpus,
    make_network,
    score_and_export,
    tiny_config,
)
from training.speech_to_mouth.tts import flite_program


def main(arguments: list[str] | None = None) -> None:
    """Run the requested pipeline steps."""
    parser = argparse.ArgumentParser(prog="training.speech_to_mouth", description=__doc__)
    parser.add_argument("step", choices=("corpus", "train", "all"), help="train includes validation and export")
    parser.add_argument("--work", type=Path, required=True, help="directory for corpus and checkpoints, about 2 GB")
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="weights file (default: the bundled one)")
    parser.add_argument("--tiny", action="store_true", help="minimal sizes for testing; writes WORK/tiny.safetensors")
    parser.add_argument("--without-flite", action="store_true", help="train on espeak-ng only")
    parser.add_argument("--hours", type=float, help="hours of speech (default 10)")
    parser.add_argument("--steps", type=int, help="training steps")
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

    output = options.work / "tiny.safetensors" if options.tiny and options.output == WEIGHTS else options.output
    if options.step in ("corpus", "all"):
        make_corpus(config, options.work)
    if options.step in ("train", "all"):
        score_and_export(config, options.work, make_network(config, options.work), output)


if __name__ == "__main__":
    main()
