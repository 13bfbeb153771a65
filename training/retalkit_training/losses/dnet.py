"""D-Net's losses, equations 1 to 3 of S, in the form that PIRender publishes (``trainers/face_trainer.py``).

stage "warp":  warp_weight P(warped, target)
stage "gen":   final_weight [P + style_weight style](image, target) + warp_weight P(warped, target)
"""

from __future__ import annotations

from retalkit_training.losses.config import DNetLossConfig
from retalkit_training.losses.perceptual import PerceptualLoss
from retalkit_training.losses.terms import LossTerms, weighted_sum
from retalkit_training.networks.staged_dnet import DNetPrediction
from torch import Tensor, nn


class DNetLoss(nn.Module):
    """Loss of both training stages. Terms with a weight of 0 are not computed."""

    def __init__(self, config: DNetLossConfig, warp: PerceptualLoss, final: PerceptualLoss) -> None:
        """Create the loss from the perceptual losses of ``config.warp`` and ``config.final``."""
        super().__init__()
        self.config, self.warp, self.final = config, warp, final

    def forward(self, prediction: DNetPrediction, target: Tensor) -> LossTerms:
        """Return the loss of one batch. ``target``: [B, 3, H, W], RGB in [-1, 1].

        Raises:
            ValueError: stage ``warp`` with a ``warp_weight`` of 0.
        """
        config = self.config
        terms: dict[str, tuple[float, Tensor]] = {}
        if prediction.image is not None and config.final_weight:
            terms["final"] = config.final_weight, self.final(prediction.image, target)
        if config.warp_weight:
            terms["warp"] = config.warp_weight, self.warp(prediction.warped, target)
        return weighted_sum(terms)
