"""Conversion between windows of consecutive frames and batches of images.

Batches contain the first frames of all windows, then the second frames, as in the ``forward`` methods of Wav2Lip and
VideoReTalking.
"""

from __future__ import annotations

from torch import Tensor


def flatten_frames(windows: Tensor) -> Tensor:
    """Return windows of images [B, C, T, H, W] as images [T B, C, H, W]."""
    return windows.permute(2, 0, 1, 3, 4).flatten(0, 1)


def flatten_mels(windows: Tensor) -> Tensor:
    """Return mel windows of T frames [B, T, 1, 80, 16] as [T B, 1, 80, 16]."""
    return windows.transpose(0, 1).flatten(0, 1)


def unflatten_frames(images: Tensor, batch: int) -> Tensor:
    """Return images [T B, C, H, W] as windows [B, C, T, H, W]. ``batch``: number of windows B."""
    return images.unflatten(0, (-1, batch)).permute(1, 2, 0, 3, 4)
