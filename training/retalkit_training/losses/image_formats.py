"""Channel order and value range of images, which differ between the networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from torch import Tensor


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """Format of images [B, 3, H, W]."""

    order: Literal["rgb", "bgr"]
    """Order of the colour channels."""
    signed: bool
    """Whether values are in [-1, 1] instead of [0, 1]."""


RGB_SIGNED: Final = ImageFormat("rgb", signed=True)
"""Format of D-Net, GPEN, GFPGAN, and of the input of the perceptual loss."""
BGR_SIGNED: Final = ImageFormat("bgr", signed=True)
"""Format of the face recognition network's training images."""
BGR_UNIT: Final = ImageFormat("bgr", signed=False)
"""Format of L-Net, E-Net, Wav2Lip and the lip-sync expert."""


def convert_images(images: Tensor, source: ImageFormat, target: ImageFormat) -> Tensor:
    """Return images [B, 3, H, W] in another format. Values are not clipped."""
    if source.order != target.order:
        images = images.flip(1)
    if source.signed == target.signed:
        return images
    return images * 2 - 1 if target.signed else (images + 1) / 2
