"""Training runs at real size on a few seconds of one person, whose curves ``docs/training/index.md`` shows.

    python -m training.recipes.recorded_runs RUN --data DATA --speaker NAME -o RUNS [--steps N]

``DATA`` is a dataset of ``retalkit dataset prepare``. ``RUNS/RUN`` receives the run, which resumes if it exists. The
runs overfit: they show that the trainers work, not that the networks generalise. The last second of the clip is held
out for the validation values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import torch
import typer
from retalkit_training.loop.trainer import Progress, Trainer
from retalkit_training.networks.vgg import VggFeatures
from retalkit_training.tasks.config import CONFIGS
from retalkit_training.tasks.frozen_weights import StoredWeights
from retalkit_training.tasks.runs import open_run
from retalkit_training.tasks.tasks import make_task
from torch import Tensor, nn

from training.recipes.clips import one_person

NO_SUPERVISION: Final = {"perceptual_weight": 0, "sync_weight": 0}
"""L1 only, because neither VGG nor a trained expert is available."""
CHEAP_VGG: Final = {"layers": ["relu_1_1", "relu_2_1"], "scales": 2}


@dataclass(frozen=True)
class Run:
    """One recorded run."""

    trainer: str
    steps: int
    frames: int
    """Number of training frames at the beginning of the clip."""
    options: Mapping[str, Any] = field(default_factory=dict)


RUNS: Final = {
    "lnet": Run(
        "lnet",
        450,
        50,
        {"batch_size": 1, "loss": NO_SUPERVISION, "optimizer": {"learning_rate": 2e-4}},
    ),
    "dnet": Run(
        "dnet",
        120,
        50,
        {
            "warp_steps": 10,
            "batch_size": 1,
            "average_decay": 0.9,
            "loss": {"warp": CHEAP_VGG, "final": CHEAP_VGG},
            # With 1e-3, the flow diverges within 20 steps.
            "optimizer": {"learning_rate": 3e-4, "betas": [0.5, 0.999]},
        },
    ),
    "enet": Run(
        "enet",
        80,
        50,
        {
            "batch_size": 1,
            "average_decay": 0.9,
            "loss": {"l1_weight": 1, "perceptual_weight": 0, "adversarial_weight": 0, "identity_weight": 0},
            "optimizer": {"learning_rate": 1e-4},
        },
    ),
    "wav2lip": Run(
        "wav2lip",
        150,
        50,
        {"batch_size": 2, "loss": {"sync_weight": 0}, "optimizer": {"learning_rate": 5e-4, "betas": [0.5, 0.999]}},
    ),
}


class RandomVgg(StoredWeights):
    """Stored weights with a VGG network of random weights, if the trained one is not installed."""

    def stored(self, name: str, purpose: str) -> Mapping[str, Tensor]:
        if name != "vgg19" or self._store.path(name) is not None:
            return super().stored(name, purpose)
        network = VggFeatures("vgg19", ["relu_5_1"])
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for module in network.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight)
                    nn.init.zeros_(module.bias)
        return network.state_dict()


def train(name: str, data: Path, speaker: str, folder: Path, steps: int | None, options: Mapping[str, Any]) -> None:
    """Train one run of ``RUNS``, or resume it. ``options``: additional options of the trainer."""
    run = RUNS[name]
    parts = one_person(data, speaker, run.frames)
    values: dict[str, Any] = {
        "steps": steps or run.steps,
        "precision": "bf16",
        "workers": 1,
        "tensorboard": False,
        "log_every": 5,
        "evaluate_every": 50,
        "images_every": 50,
        "checkpoint_every": 10,
        "keep_checkpoints": 1,
        **run.options,
        **options,
    }
    config = CONFIGS[run.trainer].model_validate(values)
    task = make_task(config, parts, RandomVgg())
    trainer = Trainer(task, device="cpu", folder=folder)
    open_run(folder, run.trainer, config, parts, {"torch": torch.__version__, "processes": 1})
    trainer.run(_print)


def _print(progress: Progress) -> None:
    if progress.values:
        shown = ", ".join(f"{name} {value:.4g}" for name, value in progress.values.items())
        typer.echo(f"step {progress.step}, {progress.steps_per_second:.3f} steps/s: {shown}")


def main(
    run: str,
    data: Annotated[Path, typer.Option()],
    speaker: Annotated[str, typer.Option()],
    output: Annotated[Path, typer.Option("--output", "-o")],
    steps: int | None = None,
    lnet: Annotated[Path | None, typer.Option(help="Exported L-Net, for the run enet.")] = None,
) -> None:
    """Train one of the recorded runs."""
    torch.set_num_threads(1)
    train(run, data, speaker, output / run, steps, {} if lnet is None else {"lnet": lnet})


if __name__ == "__main__":
    typer.run(main)
