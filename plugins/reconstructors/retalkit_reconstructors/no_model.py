"""Reconstructor ``none``, for pipelines whose other stages do not use coefficients."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from retalkit.stages import FaceBatch, ReconstructionClip, Runtime, StageContext

from retalkit_reconstructors.plugin import NoneConfig


class NoneReconstructor:
    """Reconstructor that provides the empty coefficient space ``coefficients:none``."""

    def __init__(self, config: NoneConfig, runtime: Runtime) -> None:
        self._config = config

    def open(self, clip: ReconstructionClip, context: StageContext) -> NoneSession:
        """Open a session. No preparation is necessary."""
        return NoneSession()


class NoneSession:
    """Reconstructor session without coefficients."""

    def reconstruct(self, faces: FaceBatch) -> NDArray[np.float32]:
        """Return an empty array, float32 [T, 0]."""
        return np.zeros((len(faces.landmarks), 0), np.float32)

    def close(self) -> None: ...
