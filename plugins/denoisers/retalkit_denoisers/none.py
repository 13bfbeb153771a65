"""Denoiser ``none``, which returns the speech unchanged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from retalkit.plugins import StageConfig
from retalkit.stages import DenoiseClip, Runtime, StageContext


class NoDenoiser:
    """Denoiser that returns the speech unchanged."""

    def __init__(self, config: StageConfig, runtime: Runtime) -> None:
        del config

    def open(self, clip: DenoiseClip, context: StageContext) -> NoDenoiserSession:
        return NoDenoiserSession()


class NoDenoiserSession:
    def denoise(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        return waveform

    def finish(self) -> NDArray[np.float32]:
        return np.zeros(0, dtype=np.float32)

    def close(self) -> None: ...
