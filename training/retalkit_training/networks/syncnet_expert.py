"""Wav2Lip's lip-sync expert, which maps five mouth images and 0.2 s of speech to a joint embedding space.

Reference: Prajwal et al., "A lip sync expert is all you need for speech to lip generation in the wild", ACM Multimedia
2020. Layers and parameter names match those of ``lipsync_expert.pth`` (``models/syncnet.py``, class SyncNet_color). The
metric ``syncnet`` uses another network (Chung and Zisserman, 2016).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from retalkit.inference import state_shapes
from retalkit_renderers.speech_encoder import BatchNormConvolution
from torch import Tensor, nn
from torch.nn import functional

FRAMES: Final = 5
"""Number of frames per window, at 25 frames per second."""
SIDE: Final = 96
"""Side of a face crop in pixels. The network uses the lower half."""
MEL_BANDS: Final = 80
MEL_STEPS: Final = 16
"""Number of mel steps per window, at 80 steps per second."""
CHANNELS: Final = 32
"""Number of channels of the published encoders' first convolutions. The embeddings have 16 times as many elements."""


class Embeddings(NamedTuple):
    """Embeddings of a batch. All elements are at least 0, so cosine similarities are between 0 and 1."""

    speech: Tensor
    """[B, 16 * channels], unit vectors."""
    mouth: Tensor
    """[B, 16 * channels], unit vectors."""

    def cosines(self) -> Tensor:
        """Return the cosine similarity of each pair, [B]."""
        return functional.cosine_similarity(self.speech, self.mouth)


class SyncNetExpert(nn.Module):
    """Expert network with separate face and audio encoders. The published network has 16.4 million parameters."""

    def __init__(self, channels: int = CHANNELS) -> None:
        """Create an expert whose widths are proportional to ``channels``. The checkpoint requires the default."""
        super().__init__()
        c32, c64, c128, c256, c512 = (channels * factor for factor in (1, 2, 4, 8, 16))
        block = BatchNormConvolution
        self.face_encoder = nn.Sequential(
            block(3 * FRAMES, c32, 7, padding=3),  # 48 x 96 pixels
            block(c32, c64, 5, (1, 2)),  # 46 x 47
            *_residual_blocks(c64, 2),
            block(c64, c128, stride=2),  # 23 x 24
            *_residual_blocks(c128, 3),
            block(c128, c256, stride=2),  # 12 x 12
            *_residual_blocks(c256, 2),
            block(c256, c512, stride=2),  # 6 x 6
            *_residual_blocks(c512, 2),
            block(c512, c512, stride=2),  # 3 x 3
            block(c512, c512, padding=0),  # 1 x 1
            block(c512, c512, 1, padding=0),
        )
        # Wav2Lip's generator has the same speech encoder with one residual block less at 3 x 3.
        self.audio_encoder = nn.Sequential(
            block(1, c32),  # 80 x 16
            *_residual_blocks(c32, 2),
            block(c32, c64, stride=(3, 1)),  # 27 x 16
            *_residual_blocks(c64, 2),
            block(c64, c128, stride=3),  # 9 x 6
            *_residual_blocks(c128, 2),
            block(c128, c256, stride=(3, 2)),  # 3 x 3
            *_residual_blocks(c256, 2),
            block(c256, c512, padding=0),  # 1 x 1
            block(c512, c512, 1, padding=0),
        )

    def forward(self, mel: Tensor, mouths: Tensor) -> Embeddings:
        """Return the embeddings of a batch.

        ``mel``: [B, 1, 80, 16] in [-4, 4]. ``mouths``: lower halves of five consecutive faces, [B, 15, 48, 96], BGR in
        [0, 1], with channel 3 t + c for frame t and colour c.
        """
        speech = self.audio_encoder(mel).flatten(1)
        mouth = self.face_encoder(mouths).flatten(1)
        return Embeddings(functional.normalize(speech), functional.normalize(mouth))


def _residual_blocks(channels: int, count: int) -> list[nn.Module]:
    return [BatchNormConvolution(channels, channels, residual=True) for _ in range(count)]


def mouth_windows(faces: Tensor) -> Tensor:
    """Return the expert's input [B, 15, 48, 96] for windows of faces [B, 3, 5, 96, 96], BGR in [0, 1]."""
    lower = faces[:, :, :, faces.shape[3] // 2 :]
    return lower.transpose(1, 2).flatten(1, 2)


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Return each checkpoint entry's name and shape."""
    return state_shapes(SyncNetExpert)
