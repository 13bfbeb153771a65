"""Restoration enhancer, which runs a face restoration network.

The enhancer crops the face with its edit from the frame, warps the crop to the network's template with five of the
stored landmarks, and restores the warped face. It warps the difference between the restored and the unrestored face
back to the frame (see ``difference``) and adds it under a mask at the frame's resolution. The enhancer differs from the
published pipeline (VideoReTalking, SIGGRAPH Asia 2022, section 3.3, and its script) in the following points:

- Only the face is changed. The published script resizes the whole frame to 512 x 512 and back.
- The face position is computed from the analysis's smoothed landmarks. The published script detects the face again in
  every frame.
- The mouth is parsed in the aligned face, which matches the parsing network's training data. The published script
  parses a distorted box.
- ``steadiness`` removes the part of the restoration that flickers most (see ``difference.reduce_flicker``).
- The restoration's strength is proportional to the edit's opacity. If the lip syncer faded an edit because of low
  confidence, the restoration has the same reduced opacity.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry.schemes import COUNTS, POINTS5, convert
from retalkit.geometry.similarity import fit_similarity
from retalkit.inference import slices
from retalkit.stages import (
    EnhancementClip,
    FaceBatch,
    FaceEdit,
    FrameResult,
    ReferenceBatch,
    Runtime,
    StageContext,
    SyncBatch,
)
from retalkit.storage.frame_store import FrameStore

from retalkit_enhancers.parsing.masks import FACE, MOUTH, class_mask, soften
from retalkit_enhancers.parsing.parser import FaceParser
from retalkit_enhancers.restoration.config import RestorationConfig
from retalkit_enhancers.restoration.crops import Crop, crop_for_template
from retalkit_enhancers.restoration.difference import (
    add_difference,
    face_difference,
    mouth_difference,
    reduce_flicker,
)
from retalkit_enhancers.restoration.restorer import Restorer
from retalkit_enhancers.restoration.template import FFHQ, Matrix, Template, oval, warp_to_template

Float = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Job:
    """Restorer inputs for one face."""

    row: int
    index: int
    """Position in the output, or in the source for reference images."""
    crop: Crop
    matrix: Matrix
    """Crop-to-template transform in pixels, float64 [2, 3]."""
    face: Image
    """Unrestored face in the template, RGB uint8 [512, 512, 3]."""


class RestorationSession:
    """Enhancer session that restores the faces of a clip and caches each restored face."""

    def __init__(
        self,
        config: RestorationConfig,
        restorer: Restorer,
        parser: FaceParser | None,
        template: Template,
        scheme: str,
        context: StageContext,
        *,
        references: bool = False,
    ) -> None:
        """Create the session.

        ``parser``: face parser, which is required if ``config.parses`` is true. ``scheme``: landmark scheme of the
        clip.
        """
        self._config = config
        self._restorer = restorer
        self._parser = parser
        self._template = template
        self._scheme = scheme
        self._seed = context.seed
        self._store = FrameStore(context.cache, "reference" if references else "face")

    def enhance(self, batch: SyncBatch, edits: Sequence[FrameResult]) -> list[FrameResult]:
        """Return restored edits at the frame's resolution, in input order.

        ``PassedThrough`` results, edits with an all-zero mask, and edits for frames without landmarks are returned
        unchanged.
        """
        results = list(edits)
        if self._config.strength <= 0:
            return results
        for job, stored in self._restored(self._edit_jobs(batch, edits)):
            edit = edits[job.row]
            assert isinstance(edit, FaceEdit)
            image, support = self._apply(job, stored, float(edit.mask.max()))
            # The edit's own mask has already been applied when the edit was composited into the crop.
            mask = ((support > 0) | job.crop.shown).astype(np.float32)
            results[job.row] = replace(edit, image=image, mask=mask, matrix=job.crop.matrix(), unrounded_image=None)
        return results

    def enhance_references(self, faces: FaceBatch, references: ReferenceBatch) -> ReferenceBatch:
        """Return the references with restored faces in ``images``.

        Raises ValueError if the references do not contain images.
        """
        if self._config.strength <= 0:
            return references
        if references.images is None:
            raise ValueError(
                "the reference enhancer requires reference images, but the expression editor returned none"
            )
        images = references.images.copy()
        for job, stored in self._restored(self._reference_jobs(faces, references)):
            image, _ = self._apply(job, stored, 1.0)
            height, width = image.shape[:2]
            left, top = job.crop.left, job.crop.top
            images[job.row, top : top + height, left : left + width] = image
        return replace(references, images=images)

    def close(self) -> None:
        """Do nothing, because the stage owns the networks."""

    def _edit_jobs(self, batch: SyncBatch, edits: Sequence[FrameResult]) -> list[_Job]:
        matrices = self._matrices(batch.faces.landmarks)
        rows = ((row, edit) for row, edit in enumerate(edits) if isinstance(edit, FaceEdit) and edit.mask.any())
        jobs = (
            _job(row, int(batch.positions[row]), batch.faces.frames.images[row], matrices[row], edit)
            for row, edit in rows
        )
        return [job for job in jobs if job is not None]

    def _reference_jobs(self, faces: FaceBatch, references: ReferenceBatch) -> list[_Job]:
        assert references.images is not None
        indexes = faces.frames.indexes
        matrices = self._matrices(references.landmarks)
        jobs = (_job(row, int(indexes[row]), references.images[row], matrices[row]) for row in range(len(indexes)))
        return [job for job in jobs if job is not None]

    def _matrices(self, landmarks: Float) -> list[Matrix | None]:
        points = convert(landmarks[..., :2], self._scheme, POINTS5)
        return [fit_similarity(row, self._template.array()) for row in points]

    def _restored(self, jobs: Sequence[_Job]) -> Iterator[tuple[_Job, dict[str, NDArray[np.uint8]]]]:
        """Yield each job with its restored ``face``, uint8 [512, 512, 3].

        If the masks require face parsing, the yielded dictionary also contains ``classes``, uint8 [512, 512].
        """
        missing: list[_Job] = []
        for job in jobs:
            stored = self._store.get(job.index)
            if stored is None:
                missing.append(job)
            else:
                yield job, stored
        for part in slices(len(missing), self._config.batch):
            fresh = missing[part]
            for job, face in zip(fresh, self._restore(fresh), strict=True):
                arrays = {"face": face}
                if self._config.parses:
                    assert self._parser is not None
                    arrays["classes"] = self._parser.classes(face)
                self._store.put(job.index, **arrays)
                yield job, arrays

    def _restore(self, jobs: Sequence[_Job]) -> Image:
        """Return restored faces, RGB uint8 [B, 512, 512, 3].

        The values are rounded, so that cached and newly restored faces are identical.
        """
        faces = np.stack([job.face for job in jobs])
        restored = self._restorer.restore(faces, np.array([job.index for job in jobs], np.int64), self._seed)
        if restored.shape != faces.shape:
            raise ValueError(f"expected an array of shape {faces.shape} from the restorer, got shape {restored.shape}")
        return np.rint(np.clip(np.nan_to_num(restored), 0, 1) * 255).astype(np.uint8)

    def _apply(self, job: _Job, stored: dict[str, NDArray[np.uint8]], share: float) -> tuple[Image, Float]:
        """Return the crop with the restored face, and the mask of changed pixels.

        The crop is RGB uint8 [h, w, 3], and the mask is float32 [h, w].
        """
        difference = reduce_flicker(stored["face"].astype(np.float32) - job.face, self._config.steadiness)
        height, width = job.crop.image.shape[:2]
        if self._config.on == "mouth":
            mouth = class_mask(stored["classes"], MOUTH).astype(np.float32) / 255
            change, support = mouth_difference(job.crop.image, difference, mouth, soften(mouth), job.matrix)
        else:
            change, support = face_difference(difference, self._mask(stored), job.matrix, width, height)
        return add_difference(job.crop.image, change, share * self._config.strength), support

    def _mask(self, stored: dict[str, NDArray[np.uint8]]) -> Float:
        """Return the mask of the whole face, float32 [512, 512]."""
        if self._config.mask == "template":
            return oval(self._template)
        return soften(class_mask(stored["classes"], FACE).astype(np.float32) / 255)


def _job(row: int, index: int, frame: Image, matrix: Matrix | None, edit: FaceEdit | None = None) -> _Job | None:
    crop = None if matrix is None else crop_for_template(frame, matrix, edit)
    if matrix is None or crop is None:
        return None
    local = crop.local(matrix)
    return _Job(row, index, crop, local, warp_to_template(crop.image, local))


class RestorationEnhancer:
    """Base class of the restoration stages.

    A subclass provides ``restorer``, which contains the network, and ``template``, the face position that the network
    requires. The stage requires landmarks, ``frames`` and ``face:edit``. If it is used as a reference enhancer, it
    requires ``reference:image``.
    """

    def __init__(
        self, config: RestorationConfig, runtime: Runtime, restorer: Restorer, template: Template = FFHQ
    ) -> None:
        """Create the stage.

        Raises WeightsError if face parsing is required and its checkpoint does not match the network.
        """
        self._config = config
        self._restorer = restorer
        self._template = template
        self._parser = FaceParser(runtime) if config.parses else None

    def open(self, clip: EnhancementClip, context: StageContext) -> RestorationSession:
        """Open a session for edits. Raises PlanError if the landmarks cannot be converted to five points."""
        return self._open(clip, context, references=False)

    def open_references(self, clip: EnhancementClip, context: StageContext) -> RestorationSession:
        """Open a session for reference images. Raises PlanError if the landmarks cannot be converted to five points."""
        return self._open(clip, context, references=True)

    def _open(self, clip: EnhancementClip, context: StageContext, *, references: bool) -> RestorationSession:
        scheme = clip.analysis.landmark_scheme
        convert(np.zeros((0, COUNTS.get(scheme, 0), 2), np.float32), scheme, POINTS5)
        return RestorationSession(
            self._config, self._restorer, self._parser, self._template, scheme, context, references=references
        )
