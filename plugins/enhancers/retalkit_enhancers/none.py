"""Enhancer ``none``: the identity."""

from __future__ import annotations

from collections.abc import Sequence

from retalkit.stages import EnhancementClip, FrameResult, Runtime, StageContext, SyncBatch

from retalkit_enhancers.config import NoneConfig


class NoneSession:
    """Hands edits on."""

    def enhance(self, batch: SyncBatch, edits: Sequence[FrameResult]) -> list[FrameResult]:
        """The same edits."""
        return list(edits)

    def close(self) -> None: ...


class NoneEnhancer:
    """Needs and gives ``face:edit``."""

    def __init__(self, config: NoneConfig, runtime: Runtime) -> None:
        self._config = config

    def open(self, clip: EnhancementClip, context: StageContext) -> NoneSession:
        """Nothing to prepare."""
        return NoneSession()
