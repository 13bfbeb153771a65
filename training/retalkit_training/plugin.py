"""Commands of the training package.

The module is imported to list commands, so it must not import torch.
"""

from __future__ import annotations

from importlib.util import find_spec

from retalkit.plugins import CommandSpec, hookimpl
from retalkit.weights.checkpoint import Checkpoint
from retalkit_metrics.identity.interface import NETWORK as FACE_NETWORK
from retalkit_training.published_files import CHECKPOINTS


@hookimpl
def retalkit_commands() -> list[CommandSpec]:
    """Return the commands ``train`` and ``dataset``."""
    commands = [
        CommandSpec(
            name="train",
            summary="Train the networks, and export trained networks.",
            application="retalkit_training.commands:application",
            requires=("torch", "accelerate"),
            install="retalkit[train]",
            checkpoints=(*(checkpoint.name for checkpoint in CHECKPOINTS), FACE_NETWORK),
        )
    ]
    if find_spec("retalkit_training.datasets") is not None:
        commands.append(
            CommandSpec(
                name="dataset",
                summary="Prepare and check datasets for training.",
                application="retalkit_training.datasets.commands:application",
                requires=("torch",),
                install="retalkit[train]",
            )
        )
    return commands


@hookimpl
def retalkit_checkpoints() -> list[Checkpoint]:
    """Return the checkpoints of the losses' networks."""
    return list(CHECKPOINTS)
