"""Wav2Lip's visual quality discriminator.

Reference: Prajwal et al., "A lip sync expert is all you need for speech to lip generation in the wild", ACM Multimedia
2020. Layers and parameter names match those of the published ``visual_quality_disc.pth`` (``models/wav2lip.py``, class
Wav2Lip_disc_qual).
"""

from __future__ import annotations

from typing import Final

from retalkit.inference import state_shapes
from retalkit_training.networks.precision import at_least_float32, without_autocast
from torch import Tensor, nn
from torch.nn import functional

CHANNELS: Final = 32
"""Number of channels of the published network's first convolution."""
_NEGATIVE_SLOPE: Final = 0.01
"""Negative slope of the leaky ReLUs, the default of torch."""


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int | tuple[int, int], padding: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding))

    def forward(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(self.conv_block(x), _NEGATIVE_SLOPE)


class QualityDiscriminator(nn.Module):
    """Network that rates the lower half of each 96 x 96 face.

    The published network ends with a sigmoid and is trained with the binary cross-entropy of probabilities. This
    network returns logits. ``adversarial.discriminator_loss`` and ``adversarial.generator_loss`` of kind
    ``non-saturating`` on logits equal the published losses, without their clamped logarithms.

    The network computes in float32 under autocast. It has no normalisation, and with the initial weights of torch, each
    layer reduces the differences between images relative to the biases. At the last layer, they are about 0.002 % of
    the activations, which bfloat16 cannot represent.
    """

    def __init__(self, channels: int = CHANNELS) -> None:
        """Create a network whose widths are proportional to ``channels``. The checkpoint requires the default."""
        super().__init__()
        c32, c64, c128, c256, c512 = (channels * factor for factor in (1, 2, 4, 8, 16))
        self.face_encoder_blocks = nn.ModuleList(
            (
                nn.Sequential(_Block(3, c32, 7, 1, 3)),  # 48 x 96 pixels
                nn.Sequential(_Block(c32, c64, 5, (1, 2), 2), _Block(c64, c64, 5, 1, 2)),  # 48 x 48
                nn.Sequential(_Block(c64, c128, 5, 2, 2), _Block(c128, c128, 5, 1, 2)),  # 24 x 24
                nn.Sequential(_Block(c128, c256, 5, 2, 2), _Block(c256, c256, 5, 1, 2)),  # 12 x 12
                nn.Sequential(_Block(c256, c512, 3, 2, 1), _Block(c512, c512, 3, 1, 1)),  # 6 x 6
                nn.Sequential(_Block(c512, c512, 3, 2, 1), _Block(c512, c512, 3, 1, 1)),  # 3 x 3
                nn.Sequential(_Block(c512, c512, 3, 1, 0), _Block(c512, c512, 1, 1, 0)),  # 1 x 1
            )
        )
        self.binary_pred = nn.Sequential(nn.Conv2d(c512, 1, 1))

    def forward(self, faces: Tensor) -> Tensor:
        """Return logits [T B, 1], first those of the first frames of all windows.

        ``faces``: [B, 3, T, 96, 96], BGR in [0, 1].
        """
        x = faces[:, :, :, faces.shape[3] // 2 :].permute(2, 0, 1, 3, 4).flatten(0, 1)
        with without_autocast(x.device.type):
            x = at_least_float32(x)
            for block in self.face_encoder_blocks:
                x = block(x)
            return self.binary_pred(x).flatten(1)


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Return each checkpoint entry's name and shape."""
    return state_shapes(QualityDiscriminator)
