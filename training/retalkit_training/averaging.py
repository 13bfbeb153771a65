"""Exponential moving average of a network's parameters."""

from __future__ import annotations

import torch
from retalkit_training.averaging_config import PUBLISHED_DECAY
from torch import nn


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float = PUBLISHED_DECAY) -> None:
    """Set the parameters of ``average`` to decay * average + (1 - decay) * network.

    ``average`` starts as a copy of the initial network. Buffers are not averaged. Source: ``accumulate`` in PIRender
    and StyleGAN2. ``torch.optim.swa_utils.AveragedModel`` differs: its first update discards the initial parameters.
    """
    own = dict(average.named_parameters())
    for name, value in network.named_parameters():
        own[name].lerp_(value, 1 - decay)
