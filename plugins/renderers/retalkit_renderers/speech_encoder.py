"""Speech encoder that L-Net and Wav2Lip share, with the parameter names of the published checkpoints."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn
from torch.nn import functional

CHANNELS: Final = 32
"""Number of channels of the published encoder's first convolution. The embedding has 16 times as many channels."""


class BatchNormConvolution(nn.Module):
    """Convolution, batch normalisation and ReLU. With ``residual``, the input is added before the ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int | tuple[int, int] = 1,
        padding: int = 1,
        *,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs))
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv_block(x)
        return functional.relu(out + x if self.residual else out)


def speech_encoder(channels: int = CHANNELS) -> nn.Sequential:
    """Return the encoder from mel windows [B, 1, 80, 16] to embeddings [B, 16 * channels, 1, 1]."""
    first, second, third, fourth, last = (channels * factor for factor in (1, 2, 4, 8, 16))
    return nn.Sequential(
        BatchNormConvolution(1, first),  # 80 x 16
        BatchNormConvolution(first, first, residual=True),
        BatchNormConvolution(first, first, residual=True),
        BatchNormConvolution(first, second, stride=(3, 1)),  # 27 x 16
        BatchNormConvolution(second, second, residual=True),
        BatchNormConvolution(second, second, residual=True),
        BatchNormConvolution(second, third, stride=3),  # 9 x 6
        BatchNormConvolution(third, third, residual=True),
        BatchNormConvolution(third, third, residual=True),
        BatchNormConvolution(third, fourth, stride=(3, 2)),  # 3 x 3
        BatchNormConvolution(fourth, fourth, residual=True),
        BatchNormConvolution(fourth, last, padding=0),  # 1 x 1
        BatchNormConvolution(last, last, 1, padding=0),
    )
