"""Exponential moving average of a network's parameters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from retalkit_training.averaging_config import PUBLISHED_DECAY
from torch import nn


@dataclass(frozen=True, slots=True)
class MovingAverage:
    """Moving average of a network during training."""

    decay: float
    buffers: bool = False
    """Whether buffers are averaged as well, as the statistics of batch normalisation require. Otherwise, buffers keep
    their initial values. Integer buffers are copied."""
    from_first_step: bool = False
    """Whether the average starts with the parameters after the first step, as in
    ``torch.optim.swa_utils.AveragedModel``, instead of with the initial parameters."""

    def update(self, average: nn.Module, network: nn.Module, step: int) -> None:
        """Update ``average`` after a step."""
        decay = 0.0 if self.from_first_step and step == 0 else self.decay
        update_average(average, network, decay)
        if self.buffers:
            own = dict(average.named_buffers())
            for name, value in network.named_buffers():
                if value.is_floating_point():
                    own[name].lerp_(value, 1 - decay)
                else:
                    own[name].copy_(value)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float = PUBLISHED_DECAY) -> None:
    """Set the parameters of ``average`` to decay * average + (1 - decay) * network.

    ``average`` starts as a copy of the initial network. Buffers are not averaged. Source: ``accumulate`` in PIRender
    and StyleGAN2. ``torch.optim.swa_utils.AveragedModel`` differs: its first update discards the initial parameters.
    """
    own = dict(average.named_parameters())
    for name, value in network.named_parameters():
        own[name].lerp_(value, 1 - decay)
