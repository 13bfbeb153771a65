"""Wav2Lip's losses: w_s sync + w_d quality + (1 - w_s - w_d) L1 for the generator (``hq_wav2lip_train.py``)."""

from __future__ import annotations

from retalkit_training.losses.adversarial import discriminator_loss, generator_loss
from retalkit_training.losses.config import Wav2LipLossConfig
from retalkit_training.losses.sync import SyncLoss
from retalkit_training.losses.terms import LossTerms, weighted_sum
from retalkit_training.networks.quality_discriminator import QualityDiscriminator
from torch import Tensor, nn
from torch.nn import functional


class Wav2LipLoss(nn.Module):
    """Loss of Wav2Lip's generator. Terms with a weight of 0 are not computed."""

    def __init__(self, config: Wav2LipLossConfig, sync: SyncLoss | None) -> None:
        """Create the loss. ``sync`` may be None if ``sync_weight`` is 0."""
        super().__init__()
        if config.started_sync_weight and sync is None:
            raise ValueError(f"sync_weight is {config.started_sync_weight}, but there is no sync loss")
        self.config, self.sync = config, sync

    def forward(
        self,
        faces: Tensor,
        target: Tensor,
        mel: Tensor,
        discriminator: QualityDiscriminator | None,
        *,
        started: bool = True,
    ) -> LossTerms:
        """Return the loss of generated faces.

        ``faces`` and ``target``: [B, 3, 5, 96, 96], BGR in [0, 1]. ``mel``: windows of all five frames, [B, 1, 80, 16].
        ``discriminator`` may be None if ``quality_weight`` is 0. ``started``: whether the lip-sync loss has started.
        """
        config = self.config
        sync_weight = config.started_sync_weight if started else 0.0
        terms: dict[str, tuple[float, Tensor]] = {}
        if self.sync is not None and sync_weight:
            terms["sync"] = sync_weight, self.sync(mel, faces)
        if config.quality_weight:
            if discriminator is None:
                raise ValueError(f"quality_weight is {config.quality_weight}, but there is no discriminator")
            terms["quality"] = config.quality_weight, generator_loss(discriminator(faces), "non-saturating")
        if remainder := 1 - sync_weight - config.quality_weight:
            terms["l1"] = remainder, functional.l1_loss(faces, target)
        return weighted_sum(terms)


def quality_discriminator_loss(discriminator: QualityDiscriminator, target: Tensor, faces: Tensor) -> Tensor:
    """Return the quality discriminator's loss: BCE(D(target), 1) + BCE(D(faces), 0). ``faces`` receives no gradient."""
    return discriminator_loss(discriminator(target), discriminator(faces.detach()), "non-saturating")
