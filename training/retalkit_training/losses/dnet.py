"""D-Net's losses, equations 1 to 3 of S, in the form that PIRender publishes (``trainers/face_trainer.py``).

stage "warp":  warp_weight P(warped, target)
stage "gen":   final_weight [P + style_weight style](image, target) + warp_weight P(warped, target)
"""

from __future__ import annotations

from typing import Literal

from retalkit_renderers.dnet.network import DNetOutput
from retalkit_training.losses.config import DNetLossConfig
from retalkit_training.losses.perceptual import PerceptualLoss
from retalkit_training.losses.terms import LossTerms, weighted_sum
from torch import Tensor, nn

Stage = Literal["warp", "gen"]
"""Training stage: ``warp`` trains the mapping and warping networks, ``gen`` trains all networks."""


class DNetLoss(nn.Module):
    """Loss of both training stages."""

    def __init__(self, config: DNetLossConfig, warp: PerceptualLoss, final: PerceptualLoss) -> None:
        """Create the loss from the perceptual losses of ``config.warp`` and ``config.final``."""
        super().__init__()
        self.config, self.warp, self.final = config, warp, final

    def forward(self, output: DNetOutput, target: Tensor, stage: Stage) -> LossTerms:
        """Return the loss of one batch. ``target``: [B, 3, H, W], RGB in [-1, 1]. In stage ``warp``, ``output.image``
        is not used."""
        terms = {"warp": (self.config.warp_weight, self.warp(output.warped, target))}
        if stage == "gen":
            terms = {"final": (self.config.final_weight, self.final(output.image, target)), **terms}
        return weighted_sum(terms)
