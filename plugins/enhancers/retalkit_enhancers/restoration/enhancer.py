"""What every restoration enhancer does around its network.

A face is cut out of the frame with the edit in it, brought to the network's template by five points of the stored
landmarks, restored, and what that changed is brought back (see ``change``) under a mask, at the frame's own resolution.
Other than published (VideoReTalking, SIGGRAPH Asia 2022, section 3.3 and its script):

- Nothing but the face is touched. The published script takes the whole frame to 512 x 512 and back.
- The face is not looked for again in every frame: where it is was found, and smoothed, by the analysis.
- The mouth is parsed in the aligned face, as the parsing network was trained, not in a distorted box.
- ``steadiness`` takes out of the restoration what flickers most (see ``change.steadied``).
- The restored face is as strong as the edit that it restores: one that was faded for lack of confidence stays so.
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

from retalkit_enhancers.parsing.masks import FACE, MOUTH, class_mask, softened
from retalkit_enhancers.parsing.parser import FaceParser
from retalkit_enhancers.restoration.change import added, face_change, mouth_change, steadied
from retalkit_enhancers.restoration.config import PARSING_NETWORK, RestorationConfig
from retalkit_enhancers.restoration.crops import Crop, face_crop
from retalkit_enhancers.restoration.restorer import Restorer, RestorerLoader
from retalkit_enhancers.restoration.template import FFHQ, Matrix, Template, aligned, oval

Float = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Job:
    """One face to be restored."""

    row: int
    index: int
    """Position in the output, or in the source for a reference image."""
    crop: Crop
    matrix: Matrix
    """float64 [2, 3], from pixels of the crop to those of the template."""
    face: Image
    """RGB uint8 [512, 512, 3]: the unrestored face in the template."""


class RestorationSession:
    """Restores faces and keeps each in the cache. Networks are loaded when the first is asked that is not stored."""

    def __init__(
        self,
        config: RestorationConfig,
        runtime: Runtime,
        load: RestorerLoader,
        template: Template,
        scheme: str,
        context: StageContext,
        *,
        references: bool = False,
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._load = load
        self._template = template
        self._scheme = scheme
        self._context = context
        self._store = FrameStore(context.cache, "reference" if references else "face")
        self._restorer: Restorer | None = None
        self._parser: FaceParser | None = None

    def enhance(self, batch: SyncBatch, edits: Sequence[FrameResult]) -> list[FrameResult]:
        """Restored edits at the frame's resolution, in the same order.

        PassedThrough stays, and so does an edit that shows nothing or has no landmarks.
        """
        results = list(edits)
        if self._config.strength <= 0:
            return results
        jobs = self._edit_jobs(batch, edits)
        for job, stored in self._restored(jobs):
            edit = edits[job.row]
            assert isinstance(edit, FaceEdit)
            image, support = self._let_in(job, stored, float(edit.mask.max()))
            # The edit itself is in the image already, with its own mask.
            mask = ((support > 0) | job.crop.shown).astype(np.float32)
            results[job.row] = replace(edit, image=image, mask=mask, matrix=job.crop.place(), unrounded_image=None)
        return results

    def enhance_references(self, faces: FaceBatch, references: ReferenceBatch) -> ReferenceBatch:
        """The same with sharper faces in ``images``. Raises ValueError where there are no images."""
        if self._config.strength <= 0:
            return references
        if references.images is None:
            raise ValueError("a reference enhancer needs reference images, and the expression editor returned none")
        images = references.images.copy()
        for job, stored in self._restored(self._reference_jobs(faces, references)):
            image, _ = self._let_in(job, stored, 1.0)
            height, wide = image.shape[:2]
            left, top = job.crop.left, job.crop.top
            images[job.row, top : top + height, left : left + wide] = image
        return replace(references, images=images)

    def close(self) -> None:
        """Frees the networks."""
        self._restorer = self._parser = None

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
        """Each job with its restored ``face`` uint8 [512, 512, 3] and, where masks need it, ``classes`` uint8."""
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
                    arrays["classes"] = self._classes(face)
                self._store.put(job.index, **arrays)
                yield job, arrays

    def _restore(self, jobs: Sequence[_Job]) -> Image:
        """RGB uint8 [B, 512, 512, 3]. Rounded at once, so that a face is the same when it comes from the cache."""
        if self._restorer is None:
            self._restorer = self._load(self._context.seed)
        faces = np.stack([job.face for job in jobs])
        restored = self._restorer.restore(faces, np.array([job.index for job in jobs], np.int64))
        if restored.shape != faces.shape:
            raise ValueError(f"a restorer gave {restored.shape} for faces {faces.shape}")
        return np.rint(np.clip(np.nan_to_num(restored), 0, 1) * 255).astype(np.uint8)

    def _classes(self, face: Image) -> Image:
        # One at a time: then no class depends on which faces are parsed together.
        if self._parser is None:
            weights = self._runtime.weights[PARSING_NETWORK]
            self._parser = FaceParser(weights, self._runtime.device, self._runtime.precision)
        return self._parser.classes(face)

    def _let_in(self, job: _Job, stored: dict[str, NDArray[np.uint8]], share: float) -> tuple[Image, Float]:
        """The crop with the restored face in it, RGB uint8 [h, w, 3], and where that may show, float32 [h, w]."""
        difference = steadied(stored["face"].astype(np.float32) - job.face, self._config.steadiness)
        height, wide = job.crop.image.shape[:2]
        if self._config.on == "mouth":
            mouth = class_mask(stored["classes"], MOUTH).astype(np.float32) / 255
            change, support = mouth_change(job.crop.image, difference, mouth, softened(mouth), job.matrix)
        else:
            change, support = face_change(difference, self._mask(stored), job.matrix, wide, height)
        return added(job.crop.image, change, share * self._config.strength), support

    def _mask(self, stored: dict[str, NDArray[np.uint8]]) -> Float:
        """float32 [512, 512]: how a whole face is let in."""
        if self._config.mask == "template":
            return oval(self._template)
        return softened(class_mask(stored["classes"], FACE).astype(np.float32) / 255)


def _job(row: int, index: int, frame: Image, matrix: Matrix | None, edit: FaceEdit | None = None) -> _Job | None:
    crop = None if matrix is None else face_crop(frame, matrix, edit)
    if matrix is None or crop is None:
        return None
    local = crop.local(matrix)
    return _Job(row, index, crop, local, aligned(crop.image, local))


class RestorationEnhancer:
    """Needs landmarks, ``frames`` and ``face:edit``; as a reference enhancer ``reference:image``.

    A stage is one of these with its network: ``load`` returns the restorer for a seed, ``template`` is where that
    network expects the face.
    """

    def __init__(
        self, config: RestorationConfig, runtime: Runtime, load: RestorerLoader, template: Template = FFHQ
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._load = load
        self._template = template

    def open(self, clip: EnhancementClip, context: StageContext) -> RestorationSession:
        """Open without work. Raises PlanError where the landmarks cannot be converted to five points."""
        return self._opened(clip, context, references=False)

    def open_references(self, clip: EnhancementClip, context: StageContext) -> RestorationSession:
        """The same for reference images."""
        return self._opened(clip, context, references=True)

    def _opened(self, clip: EnhancementClip, context: StageContext, *, references: bool) -> RestorationSession:
        scheme = clip.analysis.landmark_scheme
        convert(np.zeros((0, COUNTS.get(scheme, 0), 2), np.float32), scheme, POINTS5)
        return RestorationSession(
            self._config, self._runtime, self._load, self._template, scheme, context, references=references
        )
