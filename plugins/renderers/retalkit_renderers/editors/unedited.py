"""Expression editor ``none``, which returns the frames unchanged."""

from __future__ import annotations

from retalkit.stages import ExpressionEditClip, FaceBatch, ReferenceBatch, Runtime, StageContext

from retalkit_renderers.editors.config import NoneConfig


class NoneSession:
    """Editor session that returns the source frames as references."""

    def __init__(self, context: StageContext) -> None:
        self._images_requested = "reference:image" in context.requested_ports

    def edit(self, faces: FaceBatch) -> ReferenceBatch:
        """Return the landmarks and, if images are requested, the frames of ``faces``."""
        images = faces.frames.images.copy() if self._images_requested else None
        return ReferenceBatch(faces.landmarks.copy(), images)

    def close(self) -> None: ...


class NoneEditor:
    """Expression editor that provides ``reference:landmarks`` and, if requested, ``reference:image``."""

    def __init__(self, config: NoneConfig, runtime: Runtime) -> None:
        self._config = config

    def open(self, clip: ExpressionEditClip, context: StageContext) -> NoneSession:
        """Open a session. No preparation is necessary."""
        return NoneSession(context)
