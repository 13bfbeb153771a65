"""Enhancer ``enet``: E-Net draws the face around the lip syncer's mouth.

Cheng et al., "VideoReTalking: audio-based lip synchronization for talking head video editing in the wild", SIGGRAPH
Asia 2022, section 3.3. As published: box, crop and resize of the reference, colours in the order blue, green, red,
result cut to [0, 1] and truncated to whole grey levels. Other than published:

- L-Net is a stage of its own; its exact result is taken over. After any other lip syncer the edited frame, cut to the
  face's box and brought to 96 x 96, takes its place. What that syncer kept clear of (a hand) is then drawn, too.
- The result fades in over the edge of its box. The published script pastes the whole box and hides the edge later, with
  face parsing and a blend over the whole picture.
- ``upper_face`` works by itself (the published ``--up_face`` does nothing unless ``--without_rl1`` is given, too), and
  the upper half is told by its rows, not by pixels that are not black.
- With ``keep_upper`` the upper half of the frame keeps its bits; published, it goes through 384 x 384 and back.
- Noise is drawn for each frame from a generator of its own.
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

from retalkit_enhancers.enet.drawing import FaceDrawing
from retalkit_enhancers.enet.identities import Identities
from retalkit_enhancers.enet.interface import NETWORK, EnetConfig
from retalkit_enhancers.enet.network import SIZE
from retalkit_enhancers.enet.places import full_mask, placed

_FINE = 257
"""Steps of the stored 16-bit levels in one of 8 bits: truncating twice is truncating once."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One face to be drawn."""

    row: int
    position: int
    edit: FaceEdit
    """The lip syncer's."""
    box: NDArray[np.float32]
    """float32 [4], whole numbers."""
    low: NDArray[np.float32]
    """float32 [96, 96, 3], RGB in [0, 1]."""
    reference: NDArray[np.uint8]
    """RGB uint8 [384, 384, 3]."""
    original: NDArray[np.uint8]
    """RGB uint8 [384, 384, 3]: the face in the source frame."""
    key: bytes
    """Of the reference."""


class EnetSession:
    """Draws faces and keeps each in the cache. Networks are loaded when the first is asked that is not stored."""

    def __init__(self, config: EnetConfig, runtime: Runtime, context: StageContext) -> None:
        self._config = config
        self._runtime = runtime
        self._context = context
        self._store = FrameStore(context.cache, NETWORK)
        self._mask = full_mask(config.keep_upper and config.upper_face == "original")
        self._drawing: FaceDrawing | None = None

    def enhance(self, batch: SyncBatch, edits: Sequence[FrameResult]) -> list[FrameResult]:
        """Faces of 384 x 384; PassedThrough stays, and so does an edit that shows nothing or has no face's box."""
        results = list(edits)
        missing: list[_Job] = []
        for job in _jobs(batch, edits):
            stored = self._store.get(job.position)
            if stored is None:
                missing.append(job)
            else:
                results[job.row] = self._result(job, stored["levels"])
        for part in self._parts(missing):
            for job, levels in zip(part, self._drawn(part), strict=True):
                self._store.put(job.position, levels=levels)
                results[job.row] = self._result(job, levels)
        return results

    def close(self) -> None:
        """Frees the networks."""
        self._drawing = None

    def _result(self, job: _Job, levels: NDArray[np.uint16]) -> FaceEdit:
        return replace(
            job.edit,
            image=(levels // _FINE).astype(np.uint8),
            # As strong as the lip syncer left it: its mask is faded where it is not sure.
            mask=self._mask * job.edit.mask.max(),
            matrix=crop_matrix(job.box, SIZE),
            unrounded_image=levels.astype(np.float32) / 65535,
        )

    def _parts(self, jobs: Sequence[_Job]) -> Iterator[list[_Job]]:
        """Jobs in a row with the same reference, at most ``batch`` at a time."""
        for _, group in groupby(jobs, key=lambda job: job.key):
            same = list(group)
            for part in slices(len(same), self._config.batch):
                yield same[part]

    def _drawn(self, jobs: Sequence[_Job]) -> NDArray[np.uint16]:
        """uint16 [T, 384, 384, 3], RGB, 65535 is 1: faces with the same reference."""
        if self._drawing is None:
            self._drawing = FaceDrawing(self._config, self._runtime, self._context.seed)
        faces = self._drawing(
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
        found = placed(edit, frame, batch.faces.boxes[row])
        if found is None:
            continue
        if (references := batch.references.images) is None:
            raise ValueError("enet needs reference images, and the expression editor gave none")
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
            key=Identities.key(reference),
        )


class EnetEnhancer:
    """Needs ``frames``, ``reference:image`` and ``face:edit``; gives ``face:edit``."""

    def __init__(self, config: EnetConfig, runtime: Runtime) -> None:
        self._config = config
        self._runtime = runtime

    def open(self, clip: EnhancementClip, context: StageContext) -> EnetSession:
        """Opens without work: everything is done frame by frame."""
        return EnetSession(self._config, self._runtime, context)
