"""``python -m training.speech_to_mouth all --work FOLDER`` makes the shipped weights from nothing."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

from training.speech_to_mouth.recipe import WEIGHTS, Recipe, make_corpus, make_network, score_and_export, tiny
from training.speech_to_mouth.voices import flite_program


def main(arguments: list[str] | None = None) -> None:
    """Runs the steps that are asked for."""
    parser = argparse.ArgumentParser(prog="training.speech_to_mouth", description=__doc__)
    parser.add_argument("step", choices=("corpus", "train", "all"), help="train includes scores and export")
    parser.add_argument("--work", type=Path, required=True, help="folder for corpus and checkpoints, about 2 GB")
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="weights file (default: the package's)")
    parser.add_argument("--tiny", action="store_true", help="everything very small; writes WORK/tiny.safetensors")
    parser.add_argument("--without-flite", action="store_true", help="train on espeak-ng alone")
    parser.add_argument("--hours", type=float, help="hours of speech (default 10)")
    parser.add_argument("--steps", type=int, help="training steps")
    parser.add_argument("--lookahead", type=float, help="bound on the look-ahead in seconds, for streaming")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    recipe = tiny(flite=flite_program() is not None) if chosen.tiny else Recipe()
    if chosen.without_flite:
        recipe = replace(recipe, flite_share=0.0)
    elif flite_program() is None and not chosen.tiny:
        parser.error("flite is not installed: `apt-get install flite`, or train with --without-flite")
    if chosen.hours is not None:
        recipe = replace(recipe, hours=chosen.hours)
    if chosen.steps is not None:
        recipe = replace(recipe, training=replace(recipe.training, steps=chosen.steps))
    if chosen.lookahead is not None:
        recipe = replace(recipe, training=replace(recipe.training, lookahead_seconds=chosen.lookahead))

    output = chosen.work / "tiny.safetensors" if chosen.tiny and chosen.output == WEIGHTS else chosen.output
    if chosen.step in ("corpus", "all"):
        make_corpus(recipe, chosen.work)
    if chosen.step in ("train", "all"):
        score_and_export(recipe, chosen.work, make_network(recipe, chosen.work), output)


if __name__ == "__main__":
    main()
