"""Datasets of drawn speakers, whose mouths follow a synthetic voice (``talking`` of the folder ``parity_training``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from retalkit.speech.mel import mel_spectrogram
from retalkit_training.loop.data import ArrayClip, ArrayData

from tests.pseudo_weights import load_module


def draw(folder: Path, seed: int, seconds: float, *, sizes: tuple[int, ...] = (96,)) -> ArrayClip:
    """Return one drawn speaker. ``folder``: ``parity_training``."""
    rules: Any = load_module(folder / "inputs_training.py")
    crops: dict[int, Any] = {}
    drawn: dict[str, Any] = {}
    for size in sizes:
        drawn = rules.talking(seed, seconds, size=size)
        crops[size] = drawn["frames"]
    count = len(drawn["opening"])
    rows = np.zeros((count, 73), np.float32)
    rows[:, 0], rows[:, 70:] = drawn["opening"] * 4 - 2, (1, 128, 128)
    return ArrayClip(
        f"clip{seed}", f"speaker{seed}", crops, mel_spectrogram(drawn["wave"]), rows, samples=drawn["wave"]
    )


def drawn_data(
    folder: Path, speakers: int, validation: int, seconds: float = 4.0, *, sizes: tuple[int, ...] = (96,)
) -> ArrayData:
    """Return a dataset with one clip per speaker. The validation speakers have other seeds."""
    splits = {
        "train": [draw(folder, seed, seconds, sizes=sizes) for seed in range(speakers)],
        "val": [draw(folder, 1000 + seed, seconds, sizes=sizes) for seed in range(validation)],
    }
    return ArrayData("drawn", f"drawn {speakers} {validation} {seconds} {sizes}", splits, sizes=sizes)
