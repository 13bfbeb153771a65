"""Lip syncer ``lnet``, which generates the lower half of the face from the speech with L-Net.

Reference: Cheng et al., "VideoReTalking: audio-based lip synchronization for talking head video editing in the wild",
SIGGRAPH Asia 2022, section 3.2. The box, the crops, the BGR channel order, the black lower half of the masked face and
the mel window of 0.2 s per frame follow the publication. The stage differs from the published script in the following
points:

- Mel windows follow the frame timestamps (``retalkit.speech.mel_windows``), including speech that is shorter than one
  window.
- The box is averaged over five frames of a shot. The published average includes frames from other shots and faces and
  is applied twice.
- The extension below the chin is proportional to the face size. The published extension is 20 pixels for all face
  sizes.
- With ``gate``, the network input is silence where there is no speech (``retalkit_renderers.lnet.mel_gate``).
- The result is blended over the edge of the lower half. In the published script, E-Net's face replaces the whole box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry.face_crop import crop_matrix
from retalkit.inference import slices
from retalkit.stages import FaceEdit, FrameResult, LipSyncClip, PassedThrough, Runtime, Speech, StageContext, SyncBatch
from retalkit.storage.frame_store import FrameStore

from retalkit_renderers.lnet.face_generator import FaceGenerator
from retalkit_renderers.lnet.face_region import face_box, lower_half, network_faces
from retalkit_renderers.lnet.interface import LNetConfig
from retalkit_renderers.lnet.mel_gate import gated_windows
from retalkit_renderers.lnet.network import SIDE

Float = NDArray[np.float32]

STORED: Final = "face"
NO_FACE: Final = PassedThrough("no face")
OUT_OF_FRAME: Final = PassedThrough("face out of frame")


@dataclass(frozen=True, slots=True)
class _Job:
    """Generator inputs for one face."""

    row: int
    position: int
    box: Float
    """Face box with integer coordinates, float32 [4]."""


class LNetSession:
    """Lip syncer session that generates the faces of one clip and stores each face in the cache."""

    def __init__(self, config: LNetConfig, generator: FaceGenerator, speech: Speech, context: StageContext) -> None:
        self._config = config
        self._speech = speech
        self._generator = generator
        self._store = FrameStore(context.cache, STORED)

    def sync(self, batch: SyncBatch) -> list[FrameResult]:
        """Return edits with unrounded images of 96 x 96 pixels. Frames without a face are passed through."""
        results: list[FrameResult] = [NO_FACE] * len(batch.positions)
        missing: list[_Job] = []
        height, width = batch.faces.frames.images.shape[1:3]
        for row, position in enumerate(batch.positions.tolist()):
            if not np.isfinite(batch.faces.boxes[row]).all():
                continue
            box = face_box(batch.faces.boxes[row], self._config.chin, width, height)
            if box is None:
                results[row] = OUT_OF_FRAME
                continue
            job = _Job(row, position, box)
            stored = self._store.get(position)
            if stored is None:
                missing.append(job)
            else:
                results[row] = _edit(stored[STORED], box)
        for part in slices(len(missing), self._config.batch):
            jobs = missing[part]
            for job, face in zip(jobs, self._generate(batch, jobs), strict=True):
                self._store.put(job.position, **{STORED: face})
                results[job.row] = _edit(face, job.box)
        return results

    def close(self) -> None:
        """Do nothing, because the stage owns the network."""

    def _generate(self, batch: SyncBatch, jobs: Sequence[_Job]) -> Float:
        """Return the generated faces, float32 [T, 96, 96, 3], RGB in [0, 1]."""
        if (references := batch.references.images) is None:
            raise ValueError("the lip syncer 'lnet' requires reference images, but the expression editor returned none")
        frames = batch.faces.frames.images
        faces = np.stack([network_faces(frames[job.row], references[job.row], job.box) for job in jobs])
        mel = gated_windows(self._speech, batch.times[[job.row for job in jobs]], gate=self._config.gate)
        return self._generator(mel, faces)


class LNetLipSyncer:
    """Lip syncer that requires ``frames``, ``reference:image`` and the speech, and provides ``face:edit``."""

    def __init__(self, config: LNetConfig, runtime: Runtime) -> None:
        """Load the network. Raises WeightsError if the checkpoint does not match the network."""
        self._config = config
        self._generator = FaceGenerator(runtime, config.batch)

    def open(self, clip: LipSyncClip, context: StageContext) -> LNetSession:
        """Return a session that generates faces on demand for each frame."""
        return LNetSession(self._config, self._generator, clip.speech, context)


def _edit(face: Float, box: Float) -> FaceEdit:
    # Values are truncated to integers, as in the published script.
    return FaceEdit(
        image=(face * np.float32(255)).astype(np.uint8),
        mask=lower_half(),
        matrix=crop_matrix(box, SIDE),
        unrounded_image=face,
    )
