"""L-Net's loss, equations 4 to 7 of S: L1 + perceptual + 0.3 sync."""

from __future__ import annotations

from retalkit_training.frame_windows import flatten_frames
from retalkit_training.losses.config import LNetLossConfig
from retalkit_training.losses.image_formats import BGR_UNIT, RGB_SIGNED, convert_images
from retalkit_training.losses.perceptual import PerceptualLoss
from retalkit_training.losses.sync import SyncLoss
from retalkit_training.losses.terms import LossTerms, weighted_sum
from torch import Tensor, nn
from torch.nn import functional


class LNetLoss(nn.Module):
    """Loss of windows of five consecutive faces. Terms with a weight of 0 are not computed."""

    def __init__(self, config: LNetLossConfig, perceptual: PerceptualLoss | None, sync: SyncLoss | None) -> None:
        """Create the loss. ``perceptual`` and ``sync`` may be None if their weights are 0."""
        super().__init__()
        for name, weight, loss in (
            ("perceptual", config.perceptual_weight, perceptual),
            ("sync", config.sync_weight, sync),
        ):
            if weight and loss is None:
                raise ValueError(f"{name}_weight is {weight}, but there is no {name} loss")
        self.config, self.perceptual, self.sync = config, perceptual, sync

    def forward(self, faces: Tensor, target: Tensor, mel: Tensor) -> LossTerms:
        """Return the loss of generated faces.

        ``faces`` and ``target``: [B, 3, 5, 96, 96], BGR in [0, 1]. ``mel``: windows of all five frames, [B, 1, 80, 16].
        """
        config = self.config
        terms: dict[str, tuple[float, Tensor]] = {}
        if config.l1_weight:
            terms["l1"] = config.l1_weight, functional.l1_loss(faces, target)
        if self.perceptual is not None and config.perceptual_weight:
            images = (convert_images(flatten_frames(each), BGR_UNIT, RGB_SIGNED) for each in (faces, target))
            terms["perceptual"] = config.perceptual_weight, self.perceptual(*images)
        if self.sync is not None and config.sync_weight:
            terms["sync"] = config.sync_weight, self.sync(mel, faces)
        return weighted_sum(terms)
