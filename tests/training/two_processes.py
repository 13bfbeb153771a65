"""Training run of one process of several: ``python two_processes.py TRAINER PARITY_TRAINING RUN``.

Double precision is used, so that the comparison of runs does not depend on the order of sums.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from retalkit_training.loop.data import ArrayClip, ArrayData
from retalkit_training.loop.trainer import Trainer
from retalkit_training.tasks.config import CONFIGS
from retalkit_training.tasks.tasks import make_task

from tests.training.drawn_speakers import drawn_data
from tests.training.filled_weights import RandomWeights
from tests.training.narrow_networks import narrow

VGG = {"network": "vgg16", "layers": ["relu_1_1"]}
RUNS: dict[str, dict[str, Any]] = {
    "syncnet": {"batch_size": 8, "channels": 2, "contrastive_steps": 2, "evaluation_pairs": 8},
    "lnet": {"expert": "expert.pth", "loss": {"perceptual": VGG}, "augmentation": {"flip": 0.5}},
    "dnet": {
        "size": 64,
        "warp_steps": 2,
        "average_decay": 0.9,
        "loss": {"warp": VGG, "final": {**VGG, "style_weight": 250}},
    },
    "enet": {
        "lnet": "lnet.pth",
        "average_decay": 0.9,
        "discriminator_optimizer": {"learning_rate": 1e-3},
        "loss": {
            "perceptual": VGG,
            "identity_weight": 0,
            "adversarial": {
                "size": 64,
                "narrow": 0.03,
                "r1_interval": 2,
                "path_length_weight": 2,
                "path_length_interval": 2,
            },
        },
    },
    # With batch statistics, the frozen expert depends on the other samples of the batch.
    "wav2lip": {
        "channels": 4,
        "expert": "expert.pth",
        "loss": {"sync_start": 1e3, "sync": {"batch_statistics": True, "probability": "unclamped"}},
        "evaluate_every": 2,
    },
}
"""Options of each run."""


def train(name: str, parity: Path, folder: Path) -> int:
    """Train for four steps, and return the number of processes."""
    torch.set_default_dtype(torch.float64)
    convert = torch.from_numpy
    torch.from_numpy = lambda array: convert(array.astype(np.float64) if array.dtype == np.float32 else array)
    narrow()
    options = {
        "steps": 4,
        "batch_size": 4,
        "workers": 0,
        "tensorboard": False,
        "optimizer": {"learning_rate": 1e-3},
        "clip_norm": 10.0,
        "log_every": 1,
        "evaluate_every": 4,
        **RUNS[name],
    }
    data = faces() if name in ("dnet", "enet") else drawn_data(parity, 2, 1, 1.5)
    task: Any = make_task(CONFIGS[name].model_validate(options), data, RandomWeights())
    for network in task.networks.values():
        network.double()
    folder.mkdir(exist_ok=True)
    trainer = Trainer(task, device="cpu", folder=folder)
    trainer.run()
    return trainer.processes


def faces() -> ArrayData:
    """Return random faces of all sizes with coefficients."""
    random = np.random.default_rng(0)

    def clip(name: str) -> ArrayClip:
        crops = {size: random.integers(0, 255, (20, size, size, 3), np.uint8) for size in (96, 256, 384)}
        mel = random.uniform(-4, 4, (80, 65)).astype(np.float32)
        return ArrayClip(name, name, crops, mel, random.standard_normal((20, 73)).astype(np.float32))

    return ArrayData("noise", "noise", {"train": [clip("a")], "val": [clip("b")]}, sizes=(96, 256, 384))


if __name__ == "__main__":
    sys.stdout.write(str(train(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))))
