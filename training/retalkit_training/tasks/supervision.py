"""Construction of the losses that use frozen networks."""

from __future__ import annotations

from retalkit_metrics.identity.interface import NETWORK
from retalkit_training.losses.config import IdentityConfig, PerceptualConfig, SyncConfig
from retalkit_training.losses.identity import IdentityLoss
from retalkit_training.losses.image_formats import BGR_UNIT
from retalkit_training.losses.perceptual import PerceptualLoss
from retalkit_training.losses.sync import SyncLoss
from retalkit_training.networks.syncnet_expert import SyncNetExpert
from retalkit_training.published_files import EXPERT
from retalkit_training.tasks.config import GeneratorConfig
from retalkit_training.tasks.frozen_weights import FrozenWeights, load_exactly


def perceptual_loss(config: PerceptualConfig, weights: FrozenWeights) -> PerceptualLoss:
    """Return the perceptual loss with the VGG weights of the store."""
    return PerceptualLoss.from_weights(
        config, weights.stored(config.network, "the perceptual loss"), f"weights '{config.network}'"
    )


def identity_loss(config: IdentityConfig, weights: FrozenWeights) -> IdentityLoss:
    """Return the identity loss with the ArcFace weights of the store."""
    from retalkit_metrics.identity.network import FaceRecogniser

    network = FaceRecogniser()
    load_exactly(network, weights.stored(NETWORK, "the identity loss"), f"weights '{NETWORK}'")
    return IdentityLoss(config, network, BGR_UNIT)


def sync_loss(config: GeneratorConfig, loss: SyncConfig, weights: FrozenWeights) -> SyncLoss:
    """Return the lip-sync loss with the expert of ``config.expert``.

    Raises:
        ConfigError: no expert is configured.
        WeightsError: the weights are missing, or belong to a different network.
    """
    config.check_expert()
    assert config.expert is not None
    if config.expert == "published":
        tensors = weights.stored(EXPERT, "expert=published: the lip-sync loss")
    else:
        tensors = weights.file(config.expert)
    first = tensors.get("face_encoder.0.conv_block.0.weight")
    expert = SyncNetExpert(len(first) if first is not None else 32)
    load_exactly(expert, tensors, f"expert: {config.expert}")
    return SyncLoss(loss, expert)
