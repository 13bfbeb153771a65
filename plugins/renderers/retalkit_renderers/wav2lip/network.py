"""Wav2Lip's generator, with the parameter names of the published checkpoints.

Reference: Prajwal et al., "A lip sync expert is all you need for speech to lip generation in the wild", ACM Multimedia
2020. The network generates a speaking face from a face with a masked lower half, a reference face and 0.2 s of speech.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import torch
from retalkit.inference import state_shapes
from torch import Tensor, nn
from torch.nn import functional

from retalkit_renderers.speech_encoder import BatchNormConvolution, speech_encoder

SIDE: Final = 96
"""Side of the input and output faces in pixels."""
CHANNELS: Final = 16
"""Number of channels of the published generator at 96 pixels. All other layers have a multiple of this number."""

_ENCODER: Final = ((2, 2), (4, 3), (8, 2), (16, 2), (32, 1))
"""Width as a multiple of ``CHANNELS``, and number of residual blocks, at 48, 24, 12, 6 and 3 pixels."""
_DECODER: Final = ((32, 2), (24, 2), (16, 2), (8, 2), (4, 2))
"""Width as a multiple of ``CHANNELS``, and number of residual blocks, at 6, 12, 24, 48 and 96 pixels."""
_SPEECH: Final = 32
"""Length of the embeddings of speech and face as a multiple of ``CHANNELS``."""


class BatchNormUpsampling(nn.Module):
    """Transposed convolution with a 3 x 3 kernel, batch normalisation and ReLU.

    A stride of 2 doubles the height and width. With ``padding=0`` and a stride of 1, both increase by 2 pixels.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 2, padding: int = 1) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ConvTranspose2d(inputs, outputs, 3, stride, padding, output_padding=stride - 1),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.conv_block(x))


class Wav2LipGenerator(nn.Module):
    """Complete generator. The published network (``channels=16``) has 36.3 million parameters."""

    def __init__(self, channels: int = CHANNELS) -> None:
        """Create a generator whose widths are proportional to ``channels``. The checkpoints require the default."""
        super().__init__()
        wide = _SPEECH * channels
        blocks: list[nn.Sequential] = [nn.Sequential(BatchNormConvolution(6, channels, 7, padding=3))]
        widths = [channels]
        for factor, residuals in _ENCODER:
            width = factor * channels
            down = BatchNormConvolution(widths[-1], width, stride=2)
            blocks.append(nn.Sequential(down, *_residual_blocks(width, residuals)))
            widths.append(width)
        blocks.append(
            nn.Sequential(BatchNormConvolution(wide, wide, padding=0), BatchNormConvolution(wide, wide, 1, padding=0))
        )
        widths.append(wide)
        self.face_encoder_blocks = nn.ModuleList(blocks)
        self.audio_encoder = speech_encoder(wide // 16)
        # The output of each decoder block is concatenated with the encoder's features of the same size.
        blocks = [nn.Sequential(BatchNormConvolution(wide, wide, 1, padding=0))]
        inputs = wide + widths.pop()
        blocks.append(nn.Sequential(BatchNormUpsampling(inputs, wide, stride=1, padding=0), *_residual_blocks(wide, 1)))
        inputs = wide + widths.pop()
        for factor, residuals in _DECODER:
            width = factor * channels
            blocks.append(nn.Sequential(BatchNormUpsampling(inputs, width), *_residual_blocks(width, residuals)))
            inputs = width + widths.pop()
        self.face_decoder_blocks = nn.ModuleList(blocks)
        self.output_block = nn.Sequential(
            BatchNormConvolution(inputs, 2 * channels), nn.Conv2d(2 * channels, 3, 1), nn.Sigmoid()
        )

    def forward(self, audio_sequences: Tensor, face_sequences: Tensor) -> Tensor:
        """Return faces, float32 [B, 3, 96, 96], BGR in [0, 1].

        ``audio_sequences``: mel windows in [-4, 4], float32 [B, 1, 80, 16]. ``face_sequences``: masked face and
        reference face, BGR in [0, 1], float32 [B, 6, 96, 96].
        """
        features: list[Tensor] = []
        x = face_sequences
        for block in self.face_encoder_blocks:
            x = block(x)
            features.append(x)
        x = self.audio_encoder(audio_sequences)
        for block in self.face_decoder_blocks:
            x = torch.cat([block(x), features.pop()], dim=1)
        return self.output_block(x)


def _residual_blocks(channels: int, count: int) -> Iterable[nn.Module]:
    return [BatchNormConvolution(channels, channels, residual=True) for _ in range(count)]


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Return each checkpoint entry's name and shape."""
    return state_shapes(Wav2LipGenerator)
