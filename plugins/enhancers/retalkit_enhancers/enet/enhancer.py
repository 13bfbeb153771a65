"""Enhancer ``enet``: E-Net generates the face around the lip syncer's mouth.

Cheng et al., "VideoReTalking: audio-based lip synchronization for talking head video editing in the wild", SIGGRAPH
Asia 2022, section 3.3. As published: box, crop and resize of the reference, BGR colours, result clipped to [0, 1] and
truncated to integer grey levels. Differences from the published script:

- L-Net is a separate stage; its unrounded result is the input. After any other lip syncer, the input is the edited
  frame, cropped to the face box and resized to 96 x 96. What that syncer masked out (a hand) is then generated, too.
- The result fades in over the edge of its box. The published script pastes the whole box and hides the edge later, with
  face parsing and a blend over the whole frame.
- ``upper_face`` works on its own (the published ``--up_face`` has no effect without ``--without_rl1``), and the upper
  half is selected by its rows, not by non-black pixels.
- With ``keep_upper`` the upper half of the frame stays bit-identical; published, it is resized to 384 x 384 and back.
- Each frame has its own noise generator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry.face_crop import crop_face, crop_matrix
from retalkit.inference import slices
from retalkit.stages import EnhancementClip, FaceEdit, FrameResult, Runtime, StageContext, SyncBatch
from retalkit.storage.frame_store import FrameStore

from retalkit_enhancers.enet.face_generator import FaceGenerator, load_networks
from retalkit_enhancers.enet.face_region import full_mask, locate
from retalkit_enhancers.enet.identity_codes import reference_key
from retalkit_enhancers.enet.interface import NETWORK, EnetConfig
from retalkit_enhancers.enet.network import SIZE
from retalkit_enhancers.ganimation.emotional_face import EmotionalFace

_STEPS = 257
"""16-bit levels in one 8-bit level: truncating to 16 bits and then to 8 equals truncating to 8."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One face to generate."""

    row: int
    position: int
    edit: FaceEdit
    """The edit of the lip syncer."""
    box: NDArray[np.float32]
    """float32 [4], integers."""
    low: NDArray[np.float32]
    """float32 [96, 96, 3], RGB in [0, 1]."""
    reference: NDArray[np.uint8]
    """RGB uint8 [384, 384, 3]."""
    original: NDArray[np.uint8]
    """RGB uint8 [384, 384, 3]: the face in the source frame."""
    key: bytes
    """Hash of the reference."""


class EnetSession:
    """Generates the faces of one clip and keeps each in the cache."""

    def __init__(self, config: EnetConfig, generator: FaceGenerator, context: StageContext) -> None:
        self._config = config
        self._generator = generator
        self._store = FrameStore(context.cache, NETWORK)
        self._mask = full_mask(config.keep_upper and config.upper_face == "original")

    def enhance(self, batch: SyncBatch, edits: Sequence[FrameResult]) -> list[FrameResult]:
        """Return edits of 384 x 384.

        Unchanged: ``PassedThrough``, an edit whose mask is zero, and an edit without a face box.
        """
        results = list(edits)
        missing: list[_Job] = []
        for job in _jobs(batch, edits):
            stored = self._store.get(job.position)
            if stored is None:
                missing.append(job)
            else:
                results[job.row] = self._result(job, stored["levels"])
        for part in self._parts(missing):
            for job, levels in zip(part, self._generate(part), strict=True):
                self._store.put(job.position, levels=levels)
                results[job.row] = self._result(job, levels)
        return results

    def close(self) -> None:
        """Do nothing: the networks belong to the stage."""

    def _result(self, job: _Job, levels: NDArray[np.uint16]) -> FaceEdit:
        return replace(
            job.edit,
            image=(levels // _STEPS).astype(np.uint8),
            # The lip syncer fades its mask where its confidence is low.
            mask=self._mask * job.edit.mask.max(),
            matrix=crop_matrix(job.box, SIZE),
            unrounded_image=levels.astype(np.float32) / 65535,
        )

    def _parts(self, jobs: Sequence[_Job]) -> Iterator[list[_Job]]:
        """Yield consecutive jobs with the same reference, at most ``batch`` at a time."""
        for _, group in groupby(jobs, key=lambda job: job.key):
            same = list(group)
            for part in slices(len(same), self._config.batch):
                yield same[part]

    def _generate(self, jobs: Sequence[_Job]) -> NDArray[np.uint16]:
        """Return faces with the same reference, RGB uint16 [T, 384, 384, 3]; 65535 is 1."""
        faces = self._generator(
            low=np.stack([job.low for job in jobs]),
            reference=jobs[0].reference,
            key=jobs[0].key,
            originals=np.stack([job.original for job in jobs]),
            positions=[job.position for job in jobs],
        )
        return (faces.astype(np.float64) * 65535).astype(np.uint16)


def _jobs(batch: SyncBatch, edits: Sequence[FrameResult]) -> Iterator[_Job]:
    for row, edit in enumerate(edits):
        if not isinstance(edit, FaceEdit) or not edit.mask.any():
            continue
        frame = batch.faces.frames.images[row]
        found = locate(edit, frame, batch.faces.boxes[row])
        if found is None:
            continue
        if (references := batch.references.images) is None:
            raise ValueError("enet needs reference images, and the expression editor returned none")
        box, low = found
        reference = crop_face(references[row], box, SIZE)
        yield _Job(
            row=row,
            position=int(batch.positions[row]),
            edit=edit,
            box=box,
            low=low,
            reference=reference,
            original=crop_face(frame, box, SIZE),
            key=reference_key(reference),
        )


class EnetEnhancer:
    """Needs ``frames``, ``reference:image`` and ``face:edit``; gives ``face:edit``."""

    def __init__(self, config: EnetConfig, runtime: Runtime) -> None:
        """Raises WeightsError if a checkpoint does not fit."""
        self._config = config
        self._device = runtime.device
        self._networks = load_networks(runtime)
        emotion = config.upper_face
        self._emotion = None if emotion == "original" else EmotionalFace(runtime, emotion)

    def open(self, clip: EnhancementClip, context: StageContext) -> EnetSession:
        """Open without work: faces are generated frame by frame."""
        del clip
        generator = FaceGenerator(self._config, self._networks, self._emotion, self._device, context.seed)
        return EnetSession(self._config, generator, context)
