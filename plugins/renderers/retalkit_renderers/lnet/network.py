"""VideoReTalking's L-Net (Cheng et al., SIGGRAPH Asia 2022), with the parameter names of the published checkpoint.

The network generates a speaking face from a face with a masked lower half, a reference face and 0.2 s of speech.
"""

from __future__ import annotations

from typing import Final

import torch
from retalkit.inference import state_shapes
from torch import Tensor, nn

from retalkit_renderers.lnet.attention import CrossAttention, NoAttention
from retalkit_renderers.lnet.convolutions import (
    ConvolutionBlock,
    ToImage,
    UpsampleBlock,
)
from retalkit_renderers.lnet.fourier import FourierBlocks
from retalkit_renderers.speech_encoder import speech_encoder

SIDE: Final = 96
"""Side of the input and output faces in pixels."""

_CHANNELS: Final = (64, 128, 256, 512)
"""Number of channels at 96, 48, 24 and 12 pixels."""
_LEVELS: Final = 3
_SPEECH: Final = 512
_BLOCKS: Final = 9


class VisualEncoder(nn.Module):
    """Encoder for the masked face and the reference face, [B, 3, 96, 96] each.

    The encoder returns the masked face's features at 96, 48, 24 and 12 pixels. The features at 12 pixels are
    concatenated with the reference face's features, [B, 1024, 12, 12].
    """

    def __init__(self) -> None:
        super().__init__()
        self.first_inp = ConvolutionBlock(3, _CHANNELS[0], 7)
        self.first_ref = ConvolutionBlock(3, _CHANNELS[0], 7)
        for level in range(_LEVELS):
            inside, outside = _CHANNELS[level], _CHANNELS[level + 1]
            last = level == _LEVELS - 1
            attention = CrossAttention(outside, 2, 4, _CHANNELS[0], 4 * _CHANNELS[0]) if last else NoAttention()
            self.add_module(f"ca{level}", attention)
            self.add_module(f"ref_down{level}", ConvolutionBlock(inside, outside, downsample=True))
            self.add_module(f"inp_down{level}", ConvolutionBlock(inside, outside, downsample=True))

    def forward(self, masked: Tensor, reference: Tensor) -> list[Tensor]:
        masked, reference = self.first_inp(masked), self.first_ref(reference)
        features = [masked]
        for level in range(_LEVELS):
            masked = self.get_submodule(f"inp_down{level}")(masked)
            reference = self.get_submodule(f"ref_down{level}")(reference)
            masked = self.get_submodule(f"ca{level}")(masked, reference)
            features.append(masked)
        features[-1] = torch.cat([masked, reference], dim=1)
        return features


class Decoder(nn.Module):
    """Decoder that maps ``VisualEncoder`` features and speech features [B, 512] to faces [B, 3, 96, 96] in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        for level in reversed(range(_LEVELS)):
            # The coarsest features contain the features of both faces.
            inside = _CHANNELS[level + 1] if level < _LEVELS - 1 else 2 * _CHANNELS[-1]
            self.add_module(f"up{level}", UpsampleBlock(inside, _CHANNELS[level]))
            self.add_module(f"res{level}", FourierBlocks(_BLOCKS, inside, _SPEECH))
            self.add_module(f"jump{level}", ConvolutionBlock(_CHANNELS[level], _CHANNELS[level]))
        self.final = ToImage(_CHANNELS[0], 3)

    def forward(self, features: list[Tensor], speech: Tensor) -> Tensor:
        out = features[-1]
        for level in reversed(range(_LEVELS)):
            out = self.get_submodule(f"res{level}")(out, speech)
            out = self.get_submodule(f"up{level}")(out)
            out = self.get_submodule(f"jump{level}")(features[level]) + out
        return self.final(out)


class LNet(nn.Module):
    """Complete network with 127.7 million parameters, most of which belong to layers at 12 x 12 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = VisualEncoder()
        self.decoder = Decoder()
        self.audio_encoder = speech_encoder(_SPEECH // 16)

    def forward(self, audio_sequences: Tensor, face_sequences: Tensor) -> Tensor:
        """Return faces, float32 [B, 3, 96, 96], BGR in [0, 1].

        ``audio_sequences``: mel windows in [-4, 4], float32 [B, 1, 80, 16]. ``face_sequences``: masked face and
        reference face, BGR in [0, 1], float32 [B, 6, 96, 96].
        """
        masked, reference = face_sequences.split(3, dim=1)
        speech = self.audio_encoder(audio_sequences).flatten(1)
        return self.decoder(self.encoder(masked, reference), speech)


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Return each checkpoint entry's name and shape."""
    return state_shapes(LNet)
