"""Lip syncer sessions for networks that generate the lower half of the face from speech, such as L-Net and Wav2Lip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.errors import RunCancelledError
from retalkit.geometry.face_crop import crop_matrix
from retalkit.inference import CompiledNetwork, compile_network, empty_network, full_batches, load_weights, slices
from retalkit.stages import (
    FaceEdit,
    FrameForecast,
    FrameResult,
    PassedThrough,
    Runtime,
    Speech,
    StageContext,
    SyncBatch,
)
from retalkit.storage.frame_store import FrameStore
from torch import nn

from retalkit_renderers.lower_face import face_box, lower_half
from retalkit_renderers.mel_gate import gated_windows

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

STORED: Final = "face"
NO_FACE: Final = PassedThrough("no face")
OUT_OF_FRAME: Final = PassedThrough("face out of frame")


class GenerationOptions(Protocol):
    """Options that every lip syncer with a face generator has."""

    @property
    def gate(self) -> bool:
        """Whether to replace the audio with silence wherever no speech is detected."""
        ...

    @property
    def chin(self) -> float:
        """Downward extension of the face box as a fraction of the box height."""
        ...

    @property
    def batch(self) -> int:
        """Maximum number of faces per network call on a GPU."""
        ...


class BatchedFaceGenerator:
    """Face generator that runs a network in batches.

    The network's inputs are mel windows, float32 [B, 1, 80, 16], and the masked face with the reference face, BGR in
    [0, 1], float32 [B, 6, side, side]. The output is BGR in [0, 1], float32 [B, 3, side, side].
    """

    def __init__(self, name: str, make: Callable[[], nn.Module], side: int, runtime: Runtime, batch: int) -> None:
        """Load the network. Raises WeightsError if the checkpoint does not match the network.

        ``name``: checkpoint name. ``make``: constructor of the network. ``side``: side of the faces in pixels.
        ``batch``: maximum number of faces per network call on a GPU.
        """
        self._device, self._batch = runtime.device, batch
        weights = runtime.weights[name]

        def load() -> CompiledNetwork:
            network = load_weights(empty_network(make), weights)
            inputs = [torch.zeros(1, 1, 80, 16), torch.zeros(1, 6, side, side)]
            return compile_network(network, inputs, runtime, full_precision=True)

        self._network = runtime.shared((name, weights), load)

    def __call__(self, mel: Float, faces: Float) -> Float:
        """Return the generated faces, float32 [T, side, side, 3], RGB in [0, 1].

        ``mel``: mel windows in [-4, 4], float32 [T, 80, 16]. ``faces``: masked face and reference face, BGR in [0, 1],
        float32 [T, 6, side, side]. On the CPU, a result does not depend on the other faces in the call. On a GPU, the
        position in the batch may change the last digits.
        """
        generated = np.empty((len(faces), *faces.shape[2:], 3), np.float32)
        for rows, wanted in full_batches(len(faces), self._batch, self._device):
            images = self._network(torch.from_numpy(mel[rows, None]), torch.from_numpy(faces[rows]))[0][:wanted]
            generated[rows[:wanted]] = images.flip(1).permute(0, 2, 3, 1).clamp(0, 1).numpy()
        return generated


@dataclass(frozen=True, slots=True)
class _Job:
    """Generator inputs for one face."""

    row: int
    position: int
    box: Float
    """Face box with integer coordinates, float32 [4]."""


class FaceGenerationSession:
    """Lip syncer session that generates the faces of one clip and stores each face in the cache."""

    def __init__(
        self,
        name: str,
        options: GenerationOptions,
        network_faces: Callable[[Image, Image, Float], Float],
        generator: Callable[[Float, Float], Float],
        speech: Speech,
        context: StageContext,
    ) -> None:
        """Create a session. Faces are generated on demand.

        ``name``: name of the lip syncer. ``network_faces``: function from a frame, a reference frame and a face box to
        the network's input, float32 [6, side, side]. ``generator``: function as ``BatchedFaceGenerator.__call__``.
        """
        self._name = name
        self._options = options
        self._network_faces = network_faces
        self._generator = generator
        self._speech = speech
        self._context = context
        self._store = FrameStore(context.cache, STORED)

    def sync(self, batch: SyncBatch) -> list[FrameResult]:
        """Return edits with unrounded images. Frames without a face are passed through."""
        results: list[FrameResult] = [NO_FACE] * len(batch.positions)
        missing: list[_Job] = []
        height, width = batch.faces.frames.images.shape[1:3]
        for row, position in enumerate(batch.positions.tolist()):
            if not np.isfinite(batch.faces.boxes[row]).all():
                continue
            box = face_box(batch.faces.boxes[row], self._options.chin, width, height)
            if box is None:
                results[row] = OUT_OF_FRAME
                continue
            job = _Job(row, position, box)
            stored = self._store.get(position)
            if stored is None:
                missing.append(job)
            else:
                results[row] = _edit(stored[STORED], box)
        for part in slices(len(missing), self._options.batch):
            if self._context.cancelled:
                raise RunCancelledError("the run was cancelled; repeat the call to resume the run")
            jobs = missing[part]
            for job, face in zip(jobs, self._generate(batch, jobs), strict=True):
                self._store.put(job.position, **{STORED: face})
                results[job.row] = _edit(face, job.box)
        return results

    def forecast(self, batch: SyncBatch) -> list[FrameForecast]:
        """Return the confidence and the reason of every result that ``sync`` would return."""
        height, width = batch.faces.frames.images.shape[1:3]
        found: list[FrameForecast] = []
        for box in batch.faces.boxes:
            if not np.isfinite(box).all():
                found.append(FrameForecast(0.0, NO_FACE.reason))
            elif face_box(box, self._options.chin, width, height) is None:
                found.append(FrameForecast(0.0, OUT_OF_FRAME.reason))
            else:
                found.append(FrameForecast(1.0))
        return found

    def close(self) -> None:
        """Do nothing, because the stage owns the network."""

    def _generate(self, batch: SyncBatch, jobs: Sequence[_Job]) -> Float:
        """Return the generated faces, float32 [T, side, side, 3], RGB in [0, 1]."""
        if (references := batch.references.images) is None:
            raise ValueError(
                f"the lip syncer '{self._name}' requires reference images, but the expression editor returned none"
            )
        frames = batch.faces.frames.images
        faces = np.stack([self._network_faces(frames[job.row], references[job.row], job.box) for job in jobs])
        mel = gated_windows(self._speech, batch.times[[job.row for job in jobs]], gate=self._options.gate)
        return self._generator(mel, faces)


def _edit(face: Float, box: Float) -> FaceEdit:
    side = face.shape[0]
    # Values are truncated to integers, as in the published scripts.
    return FaceEdit(
        image=(face * np.float32(255)).astype(np.uint8),
        mask=lower_half(side),
        matrix=crop_matrix(box, side),
        unrounded_image=face,
    )
