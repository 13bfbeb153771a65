"""Exponential moving average of a network's parameters."""

from __future__ import annotations

from typing import Final

import torch
from torch import nn

PUBLISHED_DECAY: Final = 0.5 ** (32 / 10_000)
"""Decay of PIRender, GPEN, GFPGAN and StyleGAN2: a half-life of 10,000 images at a batch size of 32."""


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float = PUBLISHED_DECAY) -> None:
    """Set the parameters of ``average`` to decay * average + (1 - decay) * network.

    ``average`` starts as a copy of the initial network. Buffers are not averaged. Source: ``accumulate`` in PIRender
    and StyleGAN2. ``torch.optim.swa_utils.AveragedModel`` differs: its first update discards the initial parameters.
    """
    own = dict(average.named_parameters())
    for name, value in network.named_parameters():
        own[name].lerp_(value, 1 - decay)
