"""E-Net's loss, equations 8 to 12 of S: 0.1 L1 + 2 perceptual + 100 adversarial + 0.4 identity."""

from __future__ import annotations

from retalkit_training.losses.adversarial import generator_loss
from retalkit_training.losses.config import ENetLossConfig
from retalkit_training.losses.identity import IdentityLoss
from retalkit_training.losses.image_formats import BGR_UNIT, RGB_SIGNED, convert_images
from retalkit_training.losses.perceptual import PerceptualLoss
from retalkit_training.losses.terms import LossTerms, weighted_sum
from retalkit_training.networks.stylegan2_discriminator import StyleGan2Discriminator
from torch import Tensor, nn
from torch.nn import functional


class ENetLoss(nn.Module):
    """Loss of E-Net's generator. Terms with a weight of 0 are not computed."""

    def __init__(
        self, config: ENetLossConfig, perceptual: PerceptualLoss | None, identity: IdentityLoss | None
    ) -> None:
        """Create the loss. ``perceptual`` and ``identity`` may be None if their weights are 0."""
        super().__init__()
        for name, weight, loss in (
            ("perceptual", config.perceptual_weight, perceptual),
            ("identity", config.identity_weight, identity),
        ):
            if weight and loss is None:
                raise ValueError(f"{name}_weight is {weight}, but there is no {name} loss")
        self.config, self.perceptual, self.identity = config, perceptual, identity

    def forward(self, faces: Tensor, target: Tensor, discriminator: StyleGan2Discriminator | None) -> LossTerms:
        """Return the loss of generated faces.

        ``faces`` and ``target``: [B, 3, 384, 384], BGR in [0, 1]. ``discriminator`` may be None if
        ``adversarial_weight`` is 0; its parameters should not require gradients here.
        """
        config = self.config
        terms: dict[str, tuple[float, Tensor]] = {}
        if config.l1_weight:
            terms["l1"] = config.l1_weight, functional.l1_loss(faces, target)
        if self.perceptual is not None and config.perceptual_weight:
            images = (convert_images(each, BGR_UNIT, RGB_SIGNED) for each in (faces, target))
            terms["perceptual"] = config.perceptual_weight, self.perceptual(*images)
        if config.adversarial_weight:
            if discriminator is None:
                raise ValueError(f"adversarial_weight is {config.adversarial_weight}, but there is no discriminator")
            logits = discriminator(discriminator_images(faces, discriminator.size))
            terms["adversarial"] = config.adversarial_weight, generator_loss(logits, config.adversarial.kind)
        if self.identity is not None and config.identity_weight:
            terms["identity"] = config.identity_weight, self.identity(faces, target)
        return weighted_sum(terms)


def discriminator_images(faces: Tensor, size: int) -> Tensor:
    """Return faces [B, 3, H, W], BGR in [0, 1], as RGB in [-1, 1], resized to ``size`` with antialiasing."""
    images = convert_images(faces, BGR_UNIT, RGB_SIGNED)
    if images.shape[-2:] == (size, size):
        return images
    return functional.interpolate(images, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
