"""Identity loss: the distance of face embeddings of an image and its ground truth.

References: equation 10 of S; GPEN's ``loss/id_loss.py``; GFPGAN's identity loss. The network is the ArcFace IR-SE50
network of the metric ``identity`` (Deng et al., CVPR 2019).
"""

from __future__ import annotations

from typing import Final

from retalkit_metrics.identity.network import SIZE, FaceRecogniser
from retalkit_training.losses.config import IdentityConfig
from retalkit_training.losses.image_formats import ImageFormat, convert_images
from retalkit_training.networks.loading import freeze
from torch import Tensor, nn
from torch.nn import functional

_CROP: Final = (35, 33, 32, 36)
"""Margins of GPEN's crop at the top, bottom, left and right of an image of 256 x 256 pixels."""


def crop_face(images: Tensor, crop: str) -> Tensor:
    """Return the part of images [B, 3, H, W] that ``IdentityConfig.crop`` selects.

    Raises:
        ValueError: GPEN's crop is requested for images that are not square, or smaller than 256 pixels with
            ``gpen-integer``.
    """
    if crop == "whole":
        return images
    height, width = images.shape[2:]
    if height != width:
        raise ValueError(f"GPEN's crop requires square images, got {width} x {height}")
    scale = height // 256 if crop == "gpen-integer" else height / 256
    if scale == 0:
        raise ValueError(f"crop 'gpen-integer' requires images of at least 256 pixels, got {height}; use 'gpen'")
    top, bottom, left, right = (round(margin * scale) for margin in _CROP)
    return images[:, :, top : height - bottom, left : width - right]


class IdentityLoss(nn.Module):
    """Distance of the embeddings of two batches of faces."""

    def __init__(self, config: IdentityConfig, network: FaceRecogniser, image_format: ImageFormat) -> None:
        """Create the loss. ``image_format``: format of the compared images, converted to the network's format."""
        super().__init__()
        self.config = config
        self.network = freeze(network)
        self._source = image_format
        self._target = ImageFormat(config.network_colours, signed=True)

    def train(self, mode: bool = True) -> IdentityLoss:
        """Keep the face recognition network in evaluation mode."""
        super().train(mode)
        self.network.eval()
        return self

    def embed(self, images: Tensor) -> Tensor:
        """Return unit embeddings [B, 512] of images [B, 3, H, W], pooled to 112 x 112 pixels as in GPEN."""
        faces = crop_face(convert_images(images, self._source, self._target), self.config.crop)
        return self.network(functional.adaptive_avg_pool2d(faces, SIZE))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean distance of images [B, 3, H, W]. ``target`` receives no gradient."""
        one, other = self.embed(output), self.embed(target.detach())
        if self.config.distance == "cosine":
            return (1 - (one * other).sum(1)).mean()
        if self.config.distance == "l1":
            return functional.l1_loss(one, other)
        return (one - other).norm(dim=1).mean()
