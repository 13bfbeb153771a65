"""Lip syncer ``lnet``: L-Net draws the lower face to the speech.

Cheng et al., "VideoReTalking: audio-based lip synchronization for talking head video editing in the wild", SIGGRAPH
Asia 2022, section 3.2. As published: box, crops, blue first, lower half of the masked face black, a fifth of a second
of mel for a frame. Other than published:

- Speech follows the timestamps of the frames. Its windows are those of ``retalkit.speech.mel_windows``, also in speech
  that is shorter than a window.
- The box is the mean of five frames of the shot; published, means run over cuts and people and into one another.
- The room below the chin grows with the face; published, it is 20 pixels in any picture.
- With ``gate`` the network hears silence where nobody speaks (``retalkit_renderers.lnet.hearing``).
- The result fades in over the edge of the lower half; published, E-Net's face replaces the whole box.
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

from retalkit_renderers.lnet.drawing import FaceDrawing
from retalkit_renderers.lnet.hearing import heard
from retalkit_renderers.lnet.interface import NETWORK, LNetConfig
from retalkit_renderers.lnet.network import SIDE
from retalkit_renderers.lnet.places import face_box, lower_half, network_faces

Float = NDArray[np.float32]

STORED: Final = "face"
NO_FACE: Final = PassedThrough("no face")
OUT_OF_FRAME: Final = PassedThrough("face out of frame")


@dataclass(frozen=True, slots=True)
class _Job:
    """One face to be drawn."""

    row: int
    position: int
    box: Float
    """float32 [4], whole numbers."""


class LNetSession:
    """Draws faces and keeps each in the cache. The network is loaded when the first is asked that is not stored."""

    def __init__(self, config: LNetConfig, runtime: Runtime, speech: Speech, context: StageContext) -> None:
        self._config = config
        self._speech = speech
        self._runtime = runtime
        self._store = FrameStore(context.cache, STORED)
        self._network: FaceDrawing | None = None

    def sync(self, batch: SyncBatch) -> list[FrameResult]:
        """Faces of 96 x 96 with their exact values; a frame without a face passes."""
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
            for job, face in zip(jobs, self._draw(batch, jobs), strict=True):
                self._store.put(job.position, **{STORED: face})
                results[job.row] = _edit(face, job.box)
        return results

    def close(self) -> None:
        """Frees the network."""
        self._network = None

    def _draw(self, batch: SyncBatch, jobs: Sequence[_Job]) -> Float:
        """float32 [T, 96, 96, 3], RGB in [0, 1]."""
        if (references := batch.references.images) is None:
            raise ValueError("lnet needs reference images, and the expression editor gave none")
        if self._network is None:
            runtime = self._runtime
            weights = runtime.weights[NETWORK]
            self._network = FaceDrawing(weights, runtime.device, runtime.precision, self._config.batch)
        frames = batch.faces.frames.images
        faces = np.stack([network_faces(frames[job.row], references[job.row], job.box) for job in jobs])
        mel = heard(self._speech, batch.times[[job.row for job in jobs]], gate=self._config.gate)
        return self._network(mel, faces)


class LNetLipSyncer:
    """Needs ``frames``, ``reference:image`` and the speech; gives ``face:edit``."""

    def __init__(self, config: LNetConfig, runtime: Runtime) -> None:
        self._config = config
        self._runtime = runtime

    def open(self, clip: LipSyncClip, context: StageContext) -> LNetSession:
        """Opens without work: everything is done frame by frame."""
        return LNetSession(self._config, self._runtime, clip.speech, context)


def _edit(face: Float, box: Float) -> FaceEdit:
    # Truncated as published.
    return FaceEdit(
        image=(face * np.float32(255)).astype(np.uint8),
        mask=lower_half(),
        matrix=crop_matrix(box, SIDE),
        unrounded_image=face,
    )
