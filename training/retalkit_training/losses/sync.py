"""Lip-sync loss of Wav2Lip's expert.

Reference: Prajwal et al., ACM Multimedia 2020, and equation 6 of S. With unit embeddings v of the mouth and a of the
speech, the probability of synchrony is P = v . a, and the loss is the binary cross-entropy of P: -log P for synchronous
windows and -log(1 - P) for others.
"""

from __future__ import annotations

import torch
from retalkit_training.losses.config import SyncConfig
from retalkit_training.networks.precision import at_least_float32
from retalkit_training.networks.syncnet_expert import SyncNetExpert, mouth_windows
from torch import Tensor, nn
from torch.nn import functional


def cosine_cross_entropy(cosines: Tensor, labels: Tensor, config: SyncConfig) -> Tensor:
    """Return the mean binary cross-entropy of cosine similarities [B] and labels [B] (1: synchronous, 0: not).

    Logarithms are at least -100, as in ``nn.BCELoss``, which Wav2Lip uses.
    """
    if config.probability == "clamped":
        cosines = cosines.clamp(0, 1)
    # torch rejects this function under autocast on CUDA devices, because half precision cannot represent small losses.
    with torch.autocast(cosines.device.type, enabled=False):
        cosines = at_least_float32(cosines)
        return functional.binary_cross_entropy(cosines, labels.to(cosines.dtype))


def expert_loss(expert: SyncNetExpert, mel: Tensor, mouths: Tensor, labels: Tensor, config: SyncConfig) -> Tensor:
    """Return the loss that trains the expert.

    ``mel``: [B, 1, 80, 16]. ``mouths``: [B, 15, 48, 96]. ``labels``: [B] or [B, 1].
    """
    return cosine_cross_entropy(expert(mel, mouths).cosines(), labels.flatten(), config)


class SyncLoss(nn.Module):
    """Loss of a generator, computed by a frozen expert."""

    def __init__(self, config: SyncConfig, expert: SyncNetExpert) -> None:
        """Create the loss. The expert's parameters receive no gradient.

        The expert stays in evaluation mode, unless ``config.batch_statistics`` is set.
        """
        super().__init__()
        self.config = config
        self.expert = expert.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> SyncLoss:
        """Set the mode of the loss. The expert's mode depends only on the configuration."""
        super().train(mode)
        self.expert.train(self.config.batch_statistics)
        return self

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        """Return the loss of generated faces.

        ``mel``: mel windows of all five frames, [B, 1, 80, 16]. ``faces``: windows of generated faces
        [B, 3, 5, 96, 96], BGR in [0, 1].

        Raises:
            RuntimeError: the expert's mode was changed, so that its gradients would depend on batch statistics.
        """
        if any(module.training != self.config.batch_statistics for module in self.expert.modules()):
            wanted = "training" if self.config.batch_statistics else "evaluation"
            raise RuntimeError(
                f"the lip-sync expert is not in {wanted} mode; call train() of the loss, not of its parts"
            )
        embeddings = self.expert(mel, mouth_windows(faces))
        cosines = embeddings.cosines()
        return cosine_cross_entropy(cosines, torch.ones_like(cosines), self.config)
