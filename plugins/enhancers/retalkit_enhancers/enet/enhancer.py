"""Enhancer ``enet``, in which E-Net generates the face around the lip syncer's mouth.

Reference: Cheng et al., "VideoReTalking: audio-based lip synchronization for talking head video editing in the wild",
SIGGRAPH Asia 2022, section 3.3. The face box, the crop and resize of the reference, the BGR channel order, and the
clipping to [0, 1] with truncation to integer grey levels follow the published code. The stage differs from the
published script in the following points:

- L-Net is a separate stage, and E-Net receives L-Net's unrounded result. After any other lip syncer, E-Net's input is
  the edited frame, cropped to the face box and resized to 96 x 96. E-Net then also generates pixels that the lip syncer
  masked out, such as the pixels of a hand.
- The result fades in over the edge of the face box. The published script pastes the whole box and hides the edge in a
  later step with face parsing and a blend over the whole frame.
- ``upper_face`` works independently of other options, whereas the published option ``--up_face`` requires
  ``--without_rl1``. The upper half is selected by row index instead of by non-black pixels.
- With ``keep_upper``, the upper half of the frame stays bit-identical. The published script resizes the upper half to
  384 x 384 and back.
- Each frame has a separate noise generator.
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
"""Number of 16-bit levels per 8-bit level. Truncating a value to 16 bits and then to 8 bits is equivalent to truncating
it directly to 8 bits.
"""


@dataclass(frozen=True, slots=True)
class _Job:
    """Generator inputs for one face."""

    row: int
    position: int
    edit: FaceEdit
    """Edit from the lip syncer."""
    box: NDArray[np.float32]
    """Face box with integer coordinates, float32 [4]."""
    low: NDArray[np.float32]
    """Low-resolution face, float32 [96, 96, 3], RGB in [0, 1]."""
    reference: NDArray[np.uint8]
    """Reference face, RGB uint8 [384, 384, 3]."""
    original: NDArray[np.uint8]
    """Face from the source frame, RGB uint8 [384, 384, 3]."""
    key: bytes
    """Hash of the reference face."""


class EnetSession:
    """Enhancer session that generates the faces of a clip and caches each generated face."""

    def __init__(self, config: EnetConfig, generator: FaceGenerator, context: StageContext) -> None:
        self._config = config
        self._generator = generator
        self._store = FrameStore(context.cache, NETWORK)
        self._mask = full_mask(config.keep_upper and config.upper_face == "original")

    def enhance(self, batch: SyncBatch, edits: Sequence[FrameResult]) -> list[FrameResult]:
        """Return edits with 384 x 384 pixels.

        ``PassedThrough`` results, edits with an all-zero mask, and edits without a face box are returned unchanged.
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
        """Do nothing, because the stage owns the networks."""

    def _result(self, job: _Job, levels: NDArray[np.uint16]) -> FaceEdit:
        return replace(
            job.edit,
            image=(levels // _STEPS).astype(np.uint8),
            # The lip syncer fades its mask out where its confidence is low.
            mask=self._mask * job.edit.mask.max(),
            matrix=crop_matrix(job.box, SIZE),
            unrounded_image=levels.astype(np.float32) / 65535,
        )

    def _parts(self, jobs: Sequence[_Job]) -> Iterator[list[_Job]]:
        """Yield batches of at most ``batch`` consecutive jobs with a common reference."""
        for _, group in groupby(jobs, key=lambda job: job.key):
            same = list(group)
            for part in slices(len(same), self._config.batch):
                yield same[part]

    def _generate(self, jobs: Sequence[_Job]) -> NDArray[np.uint16]:
        """Return the generated faces for jobs with a common reference, RGB uint16 [T, 384, 384, 3].

        The value 65535 represents 1.0.
        """
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
            raise ValueError("the enhancer 'enet' requires reference images, but the expression editor returned none")
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
    """Stage of the enhancer ``enet``.

    The stage requires ``frames``, ``reference:image`` and ``face:edit``, and provides ``face:edit``.
    """

    def __init__(self, config: EnetConfig, runtime: Runtime) -> None:
        """Load the networks. Raises WeightsError if a checkpoint does not match its network."""
        self._config = config
        self._device = runtime.device
        self._networks = load_networks(runtime)
        emotion = config.upper_face
        self._emotion = None if emotion == "original" else EmotionalFace(runtime, emotion)

    def open(self, clip: EnhancementClip, context: StageContext) -> EnetSession:
        """Open a session. No preparation is necessary, because faces are generated frame by frame."""
        del clip
        generator = FaceGenerator(self._config, self._networks, self._emotion, self._device, context.seed)
        return EnetSession(self._config, generator, context)
