"""Lip-sync expert trained with pseudo-pairs: contrastive loss first, then the published cross-entropy.

    python -m training.recipes.pseudo_pair_expert --pairs PAIRS/data --real DATA -o RUN

``PAIRS`` is the output of ``training.recipes.pseudo_pairs``, and ``DATA`` is a dataset of the same people really
speaking, which the expert never sees. The expert is judged by the area under the ROC curve and by the offset that it
finds, for held-out pairs and for the real clips. ``RUN/judged.csv`` contains both.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import torch
import typer
from retalkit_training.loop.data import Clip, last_start
from retalkit_training.loop.trainer import Progress, Trainer, evaluation_mode
from retalkit_training.networks.syncnet_expert import SyncNetExpert
from retalkit_training.tasks.config import SyncNetConfig
from retalkit_training.tasks.frozen_weights import StoredWeights
from retalkit_training.tasks.metrics import area_under_curve
from retalkit_training.tasks.prepared_data import PreparedData
from retalkit_training.tasks.runs import open_run
from retalkit_training.tasks.tasks import make_task
from retalkit_training.tasks.windows import expert_mel, mouths

from training.recipes.clips import ClipPart, ClipParts

HELD_OUT: Final = 12
"""Number of utterances for validation."""
FARTHEST: Final = 5
"""Largest tested offset in frames."""


def pairs(folder: Path) -> ClipParts:
    """Return the pseudo-pairs. The last ``HELD_OUT`` utterances are the validation split."""
    clips = PreparedData(folder).clips("train")
    last = sorted({clip.speaker.rsplit("-", 1)[-1] for clip in clips})[-HELD_OUT:]
    parts: dict[str, list[ClipPart]] = {"train": [], "val": []}
    for clip in clips:
        split = "val" if clip.speaker.rsplit("-", 1)[-1] in last else "train"
        parts[split].append(ClipPart(clip, 0, clip.frame_count, clip.speaker))
    return ClipParts("pseudo-pairs", parts)


@torch.no_grad()
def judge(expert: SyncNetExpert, clips: Sequence[Clip], seed: int = 0) -> tuple[float, int]:
    """Return the area under the ROC curve and the offset with the highest mean cosine, in frames.

    A positive offset means that the lips follow the sound. Negative pairs are all other windows of the same clip that
    are at least 5 frames away.
    """
    positive: list[float] = []
    negative: list[float] = []
    sums, counts = np.zeros(2 * FARTHEST + 1), np.zeros(2 * FARTHEST + 1)
    for clip in clips:
        starts = range(last_start(clip) + 1)
        faces = torch.from_numpy(np.stack([mouths(clip, start) for start in starts]))
        sound = torch.from_numpy(np.stack([expert_mel(clip, start) for start in starts]))
        found = expert(sound, faces)
        cosines = (found.mouth @ found.speech.T).numpy()
        positive += list(np.diagonal(cosines))
        distance = np.subtract.outer(np.arange(len(cosines)), np.arange(len(cosines)))
        negative += list(cosines[np.abs(distance) >= 5])
        for index, offset in enumerate(range(-FARTHEST, FARTHEST + 1)):
            chosen = cosines[distance == offset]
            sums[index] += chosen.sum()
            counts[index] += len(chosen)
    scores = np.array(positive + negative)
    labels = np.array([1] * len(positive) + [0] * len(negative))
    return area_under_curve(scores, labels), int(np.argmax(sums / counts)) - FARTHEST


def train(data: ClipParts, real: PreparedData, folder: Path, steps: int, contrastive: int) -> None:
    """Train an expert with a quarter of the channels, and judge it every 100 steps."""
    config = SyncNetConfig.model_validate(
        {
            "steps": steps,
            "contrastive_steps": contrastive,
            "batch_size": 40,
            "channels": 8,
            "optimizer": {"learning_rate": 1e-3},
            "flip": True,
            "log_every": 20,
            "evaluate_every": 100,
            "checkpoint_every": 100,
            "keep_checkpoints": 20,
            "evaluation_pairs": 192,
            "tensorboard": False,
            "workers": 1,
        }
    )
    trainer = Trainer(make_task(config, data, StoredWeights()), device="cpu", folder=folder)
    open_run(folder, "syncnet", config, data, {"torch": torch.__version__, "processes": 1})
    people: dict[str, list[Clip]] = {"held-out pairs": list(data.clips("val"))}
    for clip in real.clips("train"):
        people.setdefault(clip.speaker, []).append(clip)
    expert = trainer.networks["expert"]
    assert isinstance(expert, SyncNetExpert)

    def report(progress: Progress) -> None:
        if progress.values:
            typer.echo(f"step {progress.step}, {progress.steps_per_second:.2f} steps/s: {dict(progress.values)}")
        if progress.step % 100:
            return
        with evaluation_mode(trainer.networks), (folder / "judged.csv").open("a", newline="") as file:
            for name, clips in people.items():
                row = (progress.step, name, *judge(expert, clips))
                csv.writer(file).writerow(row)
                typer.echo(row)

    trainer.run(report)


def main(
    pairs_data: Annotated[Path, typer.Option("--pairs")],
    real: Annotated[Path, typer.Option()],
    output: Annotated[Path, typer.Option("--output", "-o")],
    steps: int = 800,
    contrastive: int = 600,
) -> None:
    """Train and judge the expert."""
    torch.set_num_threads(1)
    train(pairs(pairs_data), PreparedData(real), output, steps, contrastive)


if __name__ == "__main__":
    typer.run(main)
