"""Enhancer ``none``, which returns the edit unchanged."""

from __future__ import annotations

from collections.abc import Sequence

from retalkit.stages import EnhancementClip, FrameResult, Runtime, StageContext, SyncBatch

from retalkit_enhancers.config import NoneConfig


class NoneSession:
    """Enhancer session that returns edits unchanged."""

    def enhance(self, batch: SyncBatch, edits: Sequence[FrameResult]) -> list[FrameResult]:
        """Return ``edits`` without changes."""
        return list(edits)

    def close(self) -> None: ...


class NoneEnhancer:
    """Stage of the enhancer ``none``, which requires and provides ``face:edit``."""

    def __init__(self, config: NoneConfig, runtime: Runtime) -> None:
        self._config = config

    def open(self, clip: EnhancementClip, context: StageContext) -> NoneSession:
        """Open a session. No preparation is necessary."""
        return NoneSession()
