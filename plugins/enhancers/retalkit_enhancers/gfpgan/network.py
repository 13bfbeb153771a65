"""GFPGAN v1, which restores degraded 512 x 512 faces, implemented without custom operators.

Reference: Wang et al., "Towards real-world blind face restoration with generative facial prior", CVPR 2021. A U-Net
removes the degradation. Its bottleneck provides the style codes of a StyleGAN2 generator. Its decoder provides a scale
and a shift for half of the generator's channels (section 3.4). Images are RGB in [-1, 1].

Parameter names and shapes match those of the published checkpoint. The module also defines the checkpoint's unused
parameters (``toRGB``, ``style_mlp``, ``noises``), so that the checkpoint loads strictly.
"""

from __future__ import annotations

from collections.abc import Sequence

from retalkit.inference import state_shapes
from torch import Tensor, nn
from torch.nn import functional

from retalkit_enhancers.gfpgan.generator import CHANNELS, LEVELS, Generator
from retalkit_enhancers.stylegan2 import CODE_SIZE, NEGATIVE_SLOPE, DownBlock, UpBlock

SIZE = 512
_CODES = 2 * LEVELS
_HALF = tuple(channels // 2 for channels in CHANNELS)
"""Number of U-Net feature channels at 4, 8, ... 512 pixels."""


def _condition(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.LeakyReLU(NEGATIVE_SLOPE),
        nn.Conv2d(channels, channels, 3, padding=1),
    )


class Gfpgan(nn.Module):
    """GFPGAN network, which consists of the U-Net and the generator."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_body_first = nn.Conv2d(3, _HALF[-1], 1)
        self.conv_body_down = nn.ModuleList()
        self.conv_body_up = nn.ModuleList()
        self.toRGB = nn.ModuleList()
        self.condition_scale = nn.ModuleList()
        self.condition_shift = nn.ModuleList()
        for level in range(1, LEVELS):
            above, here = _HALF[level - 1], _HALF[level]
            self.conv_body_down.insert(0, DownBlock(here, above))
            self.conv_body_up.append(UpBlock(above, here))
            self.toRGB.append(nn.Conv2d(here, 3, 1))
            self.condition_scale.append(_condition(here))
            self.condition_shift.append(_condition(here))
        self.final_conv = nn.Conv2d(_HALF[0], _HALF[0], 3, padding=1)
        self.final_linear = nn.Linear(_HALF[0] * 4 * 4, _CODES * CODE_SIZE)
        self.stylegan_decoder = Generator()

    @property
    def is_noisy(self) -> bool:
        """Whether any noise strength is nonzero, in which case ``forward`` requires noise."""
        return any(layer.is_noisy for layer in self.stylegan_decoder.styled)

    def encode(self, faces: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Return style codes [B, 16, 512] for faces [B, 3, 512, 512], and scales and shifts at 8, 16, ... 512 pixels.

        The scales and shifts apply to half of the generator's channels.
        """
        x = functional.leaky_relu(self.conv_body_first(faces), NEGATIVE_SLOPE)
        levels: list[Tensor] = []
        for block in self.conv_body_down:
            x = block(x)
            levels.append(x)
        x = functional.leaky_relu(self.final_conv(x), NEGATIVE_SLOPE)
        codes = self.final_linear(x.flatten(1)).unflatten(1, (_CODES, CODE_SIZE))
        conditions: list[tuple[Tensor, Tensor]] = []
        steps = zip(reversed(levels), self.conv_body_up, self.condition_scale, self.condition_shift, strict=True)
        for skip, block, scale, shift in steps:
            x = block(x + skip)
            conditions.append((scale(x), shift(x)))
        return codes, conditions

    def forward(self, faces: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Return restored faces [B, 3, 512, 512], RGB in [-1, 1], without clipping.

        ``faces``: degraded faces [B, 3, 512, 512], RGB in [-1, 1]. ``noise``: fifteen tensors [B, 1, n, n] from N(0, 1)
        with n from ``NOISE_SIZES``, or None for no noise.
        """
        codes, conditions = self.encode(faces)
        return self.stylegan_decoder(codes, conditions, noise)


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Return each network parameter's name and shape, including the checkpoint's stored noise."""
    return state_shapes(Gfpgan)
