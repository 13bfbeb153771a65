"""D-Net with PIRender's two training stages (Ren et al., ICCV 2021, ``trainers/face_trainer.py``)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from retalkit_renderers.dnet.network import DNet, warp
from torch import Tensor, nn

Stage = Literal["warp", "gen"]
"""Training stage: ``warp`` trains the mapping and warping networks, ``gen`` trains all networks."""


class DNetPrediction(NamedTuple):
    """Output of one training batch."""

    warped: Tensor
    """Source images warped by the flow, [B, 3, H, W], RGB in [-1, 1]."""
    image: Tensor | None
    """Edited images [B, 3, H, W], or None in stage ``warp``."""


class StagedDNet(nn.Module):
    """D-Net whose editing network runs in stage ``gen`` only.

    Some parameters receive no gradient: those of the editing network in stage ``warp``, and in both stages ``conv1``
    and ``norm1`` of its adaptive residual blocks, which the published forward pass does not use. Distributed training
    therefore needs ``find_unused_parameters``.
    """

    def __init__(self, network: DNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, coefficients: Tensor, stage: Stage) -> DNetPrediction:
        """Return the prediction for source images [B, 3, H, W] and coefficients [B, 73, T]. H and W are multiples of
        32. PIRender trains with 27 columns, VideoReTalking's inference uses 26."""
        descriptor = self.network.mapping_net(coefficients).flatten(1)
        warped = warp(images, self.network.warpping_net(images, descriptor))
        if stage == "warp":
            return DNetPrediction(warped, None)
        return DNetPrediction(warped, self.network.editing_net(images, warped, descriptor))


class DNetBatch(NamedTuple):
    """Inputs and targets of a training batch."""

    images: Tensor
    coefficients: Tensor
    targets: Tensor


def both_directions(
    source_images: Tensor, target_images: Tensor, source_coefficients: Tensor, target_coefficients: Tensor
) -> DNetBatch:
    """Return the batch for pairs of frames of one video, which trains both directions of each pair.

    Images are [B, 3, H, W] and coefficients [B, 73, T]. The batch has 2 B items.
    """
    return DNetBatch(
        torch.cat([source_images, target_images]),
        torch.cat([target_coefficients, source_coefficients]),
        torch.cat([target_images, source_images]),
    )


def initialise_dnet(network: nn.Module, deviation: float = 0.02) -> None:
    """Initialise convolutions and linear layers from N(0, deviation^2) and their biases with 0, as PIRender does
    (``util/trainer.py``: ``init_weight``)."""
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, deviation)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
