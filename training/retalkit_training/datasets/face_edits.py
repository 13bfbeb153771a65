"""Edits of prepared faces: references with the canonical expression, and restored frames.

L-Net receives a reference image whose expression was edited (report, equations 4 to 7), and E-Net's targets are
restored frames (report, equations 8 to 12). Both edits are computed once, by the stages of a run.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from retalkit.config import Choice
from retalkit.errors import PlanError
from retalkit.pipeline.analysis_store import StoredAnalysis
from retalkit.pipeline.plan import plan_stage
from retalkit.pipeline.planned_stage import PlannedStage
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.registry import Registry
from retalkit.stages import (
    EnhancementClip,
    ExpressionEditClip,
    ExpressionEditorSession,
    FrameBatch,
    ReferenceBatch,
    ReferenceEnhancerSession,
    StageKind,
)
from retalkit.storage.cache import make_key
from retalkit_training.datasets.settings import PrepareSettings

Image = NDArray[np.uint8]

_IMAGE: Final = "reference:image"
RESTORERS: Final = ("gpen", "gfpgan")
"""Restorers in the order in which ``restore: auto`` selects them. GPEN was used for E-Net (report)."""
_PER_FRAME: Final = {"steadiness": 0.0}
"""Options of the restorers. Targets are single frames, so they are restored as published."""


class FaceEdits:
    """Expression editor and restorer of one preparation."""

    def __init__(self, settings: PrepareSettings, registry: Registry, without_coefficients: str) -> None:
        """Select the stages. ``without_coefficients``: reason for which there are no 3DMM coefficients, or "".

        Raises:
            PlanError: a requested stage cannot run on this machine.
        """
        self.editor: PlannedStage[Any] | None = None
        self.restorer: PlannedStage[Any] | None = None
        self.unrestored = "" if settings.restore != "none" else "not requested"
        """Reason for which frames are not restored, or an empty string."""
        if settings.references != "none":
            if settings.references == "dnet" and without_coefficients:
                raise PlanError(
                    f"references: D-Net needs 3DMM coefficients: {without_coefficients}", code="missing-coefficients"
                )
            choice = Choice(use=settings.references)
            planned = plan_stage(StageKind.EXPRESSION_EDITOR, choice, registry, "references")
            self.editor = replace(planned, requested_ports=frozenset({_IMAGE}))
        if settings.restore == "auto":
            self._select_restorer(registry)
        elif settings.restore != "none":
            self.restorer = _plan_restorer(settings.restore, registry)

    def _select_restorer(self, registry: Registry) -> None:
        reasons: list[str] = []
        for name in RESTORERS:
            try:
                self.restorer = _plan_restorer(name, registry)
                return
            except PlanError as error:
                reasons.append(str(error))
        self.unrestored = reasons[0]

    @property
    def references(self) -> str:
        """Name of the expression editor, or ``none``."""
        return self.editor.found.spec.name if self.editor is not None else "none"

    @property
    def restoration(self) -> str:
        """Name of the restorer, or ``none``."""
        return self.restorer.found.spec.name if self.restorer is not None else "none"

    def identities(self) -> list[dict[str, Any]]:
        """Return the plain data that identifies the edits in cache keys."""
        return [stage.identity() for stage in (self.editor, self.restorer) if stage is not None]

    @contextmanager
    def open(
        self, steps: ClipSteps, analysis: StoredAnalysis, model: StoredAnalysis | None, key: str
    ) -> Generator[OpenEdits]:
        """Open the sessions for one video and close them when the context exits.

        ``model``: analysis with 3DMM coefficients, which D-Net requires. ``key``: key of the video.
        """
        with ExitStack() as stack:
            editor: ExpressionEditorSession | None = None
            restorer: ReferenceEnhancerSession | None = None
            edited = model if self.references == "dnet" and model is not None else analysis
            if self.editor is not None:
                context = steps.context(self.editor, steps.cache.entry(make_key("references", key)))
                stage = steps.make(self.editor)
                editor = stack.enter_context(closing(stage.open(ExpressionEditClip(analysis=edited), context)))
            if self.restorer is not None:
                context = steps.context(self.restorer, steps.cache.entry(make_key("restored", key)))
                stage = steps.make(self.restorer)
                clip = EnhancementClip(analysis=analysis)
                restorer = stack.enter_context(closing(stage.open_references(clip, context)))
            yield OpenEdits(analysis, edited, editor, restorer)


@dataclass(frozen=True, slots=True)
class OpenEdits:
    """Open sessions for one video."""

    analysis: StoredAnalysis
    edited: StoredAnalysis
    """Analysis with the coefficients that the editor requires."""
    editor: ExpressionEditorSession | None
    restorer: ReferenceEnhancerSession | None

    def reference(self, image: Image, index: int) -> Image | None:
        """Return a frame, RGB [H, W, 3], with the canonical expression, or None without an editor.

        A frame that the editor cannot edit is returned unchanged.
        """
        if self.editor is None:
            return None
        found = self.editor.edit(self.edited.faces(_batch(self.edited, image, index)))
        return image if found.images is None else found.images[0]

    def restored(self, image: Image, index: int) -> Image:
        """Return the restored frame, RGB [H, W, 3], or the frame itself without a restorer."""
        if self.restorer is None:
            return image
        faces = self.analysis.faces(_batch(self.analysis, image, index))
        found = self.restorer.enhance_references(faces, ReferenceBatch(faces.landmarks, image[None]))
        return image if found.images is None else found.images[0]


def _plan_restorer(name: str, registry: Registry) -> PlannedStage[Any]:
    planned = plan_stage(StageKind.ENHANCER, Choice.model_validate({"use": name, **_PER_FRAME}), registry, "restore")
    return replace(planned, requested_ports=frozenset({_IMAGE}))


def _batch(analysis: StoredAnalysis, image: Image, index: int) -> FrameBatch:
    return FrameBatch(image[None], analysis.source.times(index, index + 1), np.array([index]))
