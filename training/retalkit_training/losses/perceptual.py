"""Perceptual and style losses, computed from VGG features.

References: Johnson et al., "Perceptual losses for real-time style transfer and super-resolution", ECCV 2016; the
published form is ``loss/perceptual.py`` of PIRender (Ren et al., ICCV 2021). For images x and y, features f of layer l
with weight w, scales s and distance d:

    loss = sum_s sum_l w_l d(f_l(x_s), f_l(y_s)) + style_weight sum_l w_l d(G(f_l(x_0)), G(f_l(y_0)))

with G(f) = f f^T / (C h w). The features of y receive no gradient. These are equations 1 to 3 of S for D-Net, 5 for
L-Net and 9 for E-Net.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from retalkit_training.losses.config import PerceptualConfig
from retalkit_training.networks.loading import freeze, load_partial
from retalkit_training.networks.vgg import VggFeatures, normalise
from torch import Tensor, nn
from torch.nn import functional


class PerceptualTerms(NamedTuple):
    """Unweighted distances."""

    content: Tensor
    """[scales, layers]."""
    style: Tensor
    """[layers] at the first scale, zeros if ``style_weight`` is 0."""


class PerceptualLoss(nn.Module):
    """Perceptual loss between two batches of RGB images in [-1, 1].

    L-Net and E-Net produce BGR images in [0, 1], which ``image_formats.convert_images`` must convert first. Otherwise,
    the features are those of images with swapped colours and half the contrast.
    """

    def __init__(self, config: PerceptualConfig, features: VggFeatures) -> None:
        """Create the loss. ``features``: network with the layers of ``config``, which the loss freezes."""
        super().__init__()
        if features.layers != config.layers:
            raise ValueError(f"features have the layers {features.layers}, the configuration has {config.layers}")
        self.config = config
        self.features = freeze(features)
        self.register_buffer("layer_weights", torch.tensor(config.layer_weights or (1.0,) * len(config.layers)), False)

    @classmethod
    def from_weights(cls, config: PerceptualConfig, weights: Mapping[str, Tensor], source: str) -> PerceptualLoss:
        """Create the loss from a torchvision state dict.

        Raises:
            WeightsError: a layer is missing or has another shape. ``source`` names the checkpoint in the message.
        """
        return cls(config, load_partial(VggFeatures(config.network, config.layers), weights, source))

    def train(self, mode: bool = True) -> PerceptualLoss:
        """Keep the feature extractor in evaluation mode."""
        super().train(mode)
        self.features.eval()
        return self

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the weighted loss for images [B, 3, H, W] in [-1, 1]. ``target`` receives no gradient."""
        terms = self.terms(output, target)
        weights = self.get_buffer("layer_weights")
        return (terms.content @ weights).sum() + self.config.style_weight * (terms.style @ weights)

    def terms(self, output: Tensor, target: Tensor) -> PerceptualTerms:
        """Return the distance for each scale and layer."""
        config = self.config
        output, target = normalise(output), normalise(target.detach())
        if config.resize_to_224:
            output, target = _resize(output, 224), _resize(target, 224)
        content: list[Tensor] = []
        style: list[Tensor] = []
        for scale in range(config.scales):
            if scale:
                output, target = _halve(output), _halve(target)
            for one, other in zip(self.features(output), self._target_features(target), strict=True):
                if config.instance_normalised:
                    one, other = functional.instance_norm(one), functional.instance_norm(other)
                content.append(self._distance(one, other))
                if scale == 0 and config.style_weight:
                    style.append(self._distance(self._gram(one), self._gram(other)))
        by_scale = torch.stack(content).unflatten(0, (config.scales, len(config.layers)))
        return PerceptualTerms(by_scale, torch.stack(style) if style else torch.zeros_like(by_scale[0]))

    def _target_features(self, target: Tensor) -> list[Tensor]:
        with torch.no_grad():
            return self.features(target)

    def _distance(self, one: Tensor, other: Tensor) -> Tensor:
        if self.config.distance == "l1":
            return functional.l1_loss(one, other)
        if self.config.distance == "mse":
            return functional.mse_loss(one, other)
        return (one - other).flatten(1).norm(dim=1).mean()

    def _gram(self, features: Tensor) -> Tensor:
        return gram(features, normalised=self.config.gram_divisor == "size")


def gram(features: Tensor, *, normalised: bool = True) -> Tensor:
    """Return the Gram matrices [B, C, C] of features [B, C, h, w]. ``normalised``: whether to divide by C h w."""
    flat = features.flatten(2)
    matrix = flat @ flat.transpose(1, 2)
    return matrix / features[0].numel() if normalised else matrix


def _resize(images: Tensor, size: int) -> Tensor:
    return functional.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)


def _halve(images: Tensor) -> Tensor:
    height, width = images.shape[2] // 2, images.shape[3] // 2
    if min(height, width) < 16:
        raise ValueError(f"images of {width} x {height} pixels are too small for VGG features; use fewer scales")
    return functional.interpolate(images, size=(height, width), mode="bilinear", align_corners=False)
