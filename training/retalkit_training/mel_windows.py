"""First time steps of mel windows in training.

Wav2Lip trains its generator with windows that start 40 ms earlier than those of inference: ``get_segmented_mels``
counts frames from 1. Its expert, and the inference code of Wav2Lip and VideoReTalking, count from 0
(``retalkit.speech.mel_windows``). Which windows L-Net was trained with is not published.
"""

from __future__ import annotations

import math
from typing import Literal

from retalkit.speech.mel import STEPS_PER_SECOND

Alignment = Literal["inference", "wav2lip"]
"""Window of a generator's training frame: ``inference``, the window that the stage uses for this frame, or ``wav2lip``,
the window of the previous frame, as Wav2Lip's training code selects."""


def expert_window(frame: int, rate: float = 25.0) -> int:
    """Return the first mel step of the window of five frames from ``frame``: floor(80 frame / rate)."""
    return math.floor(STEPS_PER_SECOND * frame / rate)


def generator_window(frame: int, alignment: Alignment, rate: float = 25.0) -> int:
    """Return the first mel step of the window of one frame.

    ``inference``: floor(80 frame / rate). ``wav2lip``: floor(80 (frame - 1) / rate).

    Raises:
        ValueError: frame 0 with ``wav2lip``. Wav2Lip's training never uses this frame.
    """
    if alignment == "inference":
        return expert_window(frame, rate)
    if frame < 1:
        raise ValueError("Wav2Lip's training has no mel window for frame 0")
    return expert_window(frame - 1, rate)
