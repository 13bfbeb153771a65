"""Small valid stages. Tests replace single methods with faulty ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from retalkit.plugins import StageConfig, StageSpec
from retalkit.stages import (
    CONTRACT_VERSIONS,
    Face,
    FaceBatch,
    FaceEdit,
    FrameBatch,
    FrameResult,
    PassedThrough,
    ReferenceBatch,
    Runtime,
    StageContext,
    StageKind,
    SyncBatch,
)
from retalkit.testing import Report


class ToyStage:
    """Opens sessions of one class."""

    def __init__(self, session: type[ToySession]) -> None:
        self._session = session

    def open(self, clip: Any, context: StageContext) -> ToySession:
        return self._session(clip, context)

    def open_references(self, clip: Any, context: StageContext) -> ToySession:
        return self._session(clip, context)


class ToySession:
    def __init__(self, clip: Any, context: StageContext) -> None:
        self.clip = clip
        self.context = context

    def close(self) -> None: ...


class Detects(ToySession):
    def detect(self, frames: FrameBatch) -> list[list[Face]]:
        return [self.faces(image) for image in frames.images]

    def faces(self, image: NDArray[np.uint8]) -> list[Face]:
        height, width = image.shape[:2]
        if min(height, width) < 8:
            return []
        box = np.array([width / 4, height / 4, width / 2, height / 2], np.float32)
        points = np.array([[0.3, 0.3], [0.4, 0.3], [0.35, 0.35], [0.3, 0.4], [0.4, 0.4]]) * [width, height]
        landmarks = np.concatenate([points, np.zeros((5, 1))], axis=1).astype(np.float32)
        return [Face(box, landmarks, float(image.mean() / 255))]


class Reconstructs(ToySession):
    def reconstruct(self, faces: FaceBatch) -> NDArray[np.float32]:
        return faces.landmarks[:, :4].reshape(-1, 12).copy()


class Edits(ToySession):
    def edit(self, faces: FaceBatch) -> ReferenceBatch:
        images = "reference:image" in self.context.requested_ports
        return ReferenceBatch(faces.landmarks.copy(), faces.frames.images.copy() if images else None)


class Syncs(ToySession):
    def sync(self, batch: SyncBatch) -> list[FrameResult]:
        return [self.one(batch, row) for row in range(len(batch.positions))]

    def one(self, batch: SyncBatch, row: int) -> FrameResult:
        box = batch.faces.boxes[row]
        if not np.isfinite(box).all():
            return PassedThrough("no face")
        image = np.full((20, 30, 3), int(batch.positions[row]) % 256, np.uint8)
        left, top = int((box[0] + box[2]) / 2) - 15, int(box[1] + 0.75 * (box[3] - box[1])) - 10
        matrix = np.array([[1, 0, -left], [0, 1, -top]], np.float32)
        return FaceEdit(image, np.full((20, 30), 0.5, np.float32), matrix)


class Enhances(ToySession):
    def enhance(self, batch: SyncBatch, edits: Sequence[FrameResult]) -> list[FrameResult]:
        return [self.better(edit) if isinstance(edit, FaceEdit) else edit for edit in edits]

    def better(self, edit: FaceEdit) -> FrameResult:
        return replace(edit, image=np.minimum(edit.image, 250), unrounded_image=None)

    def enhance_references(self, faces: FaceBatch, references: ReferenceBatch) -> ReferenceBatch:
        assert references.images is not None
        return replace(references, images=np.minimum(references.images, 250))


class Denoises(ToySession):
    def denoise(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        return waveform * np.float32(0.5)

    def finish(self) -> NDArray[np.float32]:
        return np.zeros(0, np.float32)


GIVES = {
    StageKind.DETECTOR: "landmarks:points5",
    StageKind.RECONSTRUCTOR: "coefficients:mine",
    StageKind.EXPRESSION_EDITOR: "reference:image",
    StageKind.DENOISER: "speech:waveform",
    StageKind.LIP_SYNCER: "face:edit",
    StageKind.ENHANCER: "face:edit",
}
VALID: dict[StageKind, type[ToySession]] = {
    StageKind.DETECTOR: Detects,
    StageKind.RECONSTRUCTOR: Reconstructs,
    StageKind.EXPRESSION_EDITOR: Edits,
    StageKind.DENOISER: Denoises,
    StageKind.LIP_SYNCER: Syncs,
    StageKind.ENHANCER: Enhances,
}
KIND = {session: kind for kind, session in VALID.items()}


def faulty(base: type[ToySession], **members: Any) -> type[ToySession]:
    """Return a subclass of a valid session with other members."""
    return type(f"Faulty{base.__name__}", (base,), members)


def problems(report: Report, check: str) -> str:
    """Return the problems of one check."""
    return " | ".join(problem.broken for problem in report.problems if problem.check == check)


def spec_of(kind: StageKind, session: type[ToySession], **changes: Any) -> StageSpec:
    """Return the spec of a stage with this session."""
    build: Callable[[StageConfig, Runtime], ToyStage] = lambda config, runtime: ToyStage(session)  # noqa: E731
    spec = StageSpec(
        kind=kind,
        name="toy",
        summary="A stage for tests.",
        build=build,
        licence="MIT",
        needs=frozenset({"frames"}),
        gives=frozenset({GIVES[kind]}),
        api=CONTRACT_VERSIONS[kind].current,
    )
    return replace(spec, **changes)
