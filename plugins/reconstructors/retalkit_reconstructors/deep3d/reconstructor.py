"""Reconstructor ``deep3d``, which estimates face model coefficients for each frame's face.

The face crop and the alignment follow the published pipeline. Coefficients are in the space ``bfm257``, float32 [T,
262]: identity 80, expression 64, texture 80, angles 3 (radians), lighting 27, translation 3, and five crop parameters
in pixels. The crop parameters are the width and height of the face crop (256), the alignment scale, and the position of
the standard face's origin in the crop (x, and y measured from the lower border).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.geometry.deep3d_alignment import AlignedFace, align_face
from retalkit.geometry.face_crop import crop_boxes_at, crop_face, points_in_crop
from retalkit.geometry.schemes import IBUG68, convert
from retalkit.inference import CompiledNetwork, compile_network, empty_network, full_batches, load_weights
from retalkit.plugins import StageConfig
from retalkit.stages import Analysis, FaceBatch, ReconstructionClip, Runtime, StageContext
from retalkit.storage.frame_store import FrameStore

from retalkit_reconstructors.deep3d import standard_landmarks
from retalkit_reconstructors.deep3d.interface import LANDMARKS, NETWORK
from retalkit_reconstructors.deep3d.network import COUNT, SIDE, CoefficientNetwork

Float = NDArray[np.float32]

ROW: Final = COUNT + 5
"""Number of coefficients per frame."""

_BATCH: Final = 8
"""Maximum number of faces per network call on a GPU, which limits the memory use to about 100 MB."""


class Deep3DReconstructor:
    """Reconstructor that estimates Basel Face Model coefficients for each frame."""

    def __init__(self, config: StageConfig, runtime: Runtime) -> None:
        """Load the network. Raises WeightsError if a checkpoint does not match the network."""
        del config  # The stage has no options.
        self._device = runtime.device
        self._standard = standard_landmarks.load(runtime.weights[LANDMARKS])
        self._network = load_network(runtime)

    def open(self, clip: ReconstructionClip, context: StageContext) -> Deep3DSession:
        """Return a reconstruction session for one clip."""
        return Deep3DSession(clip.analysis, self._network, self._standard, self._device, context)


def load_network(runtime: Runtime) -> CompiledNetwork:
    """Return the compiled network. Raises WeightsError if the checkpoint does not match the network."""
    weights = runtime.weights[NETWORK]

    def load() -> CompiledNetwork:
        network = load_weights(empty_network(CoefficientNetwork), weights)
        return compile_network(network, [torch.zeros(1, 3, SIDE, SIDE)], runtime, full_precision=True)

    return runtime.shared((NETWORK, weights), load)


class Deep3DSession:
    """Session that processes each frame of one clip independently."""

    def __init__(
        self, analysis: Analysis, network: CompiledNetwork, standard: Float, device: str, context: StageContext
    ) -> None:
        self._analysis = analysis
        self._network, self._device = network, device
        self._standard = standard
        self._store = FrameStore(context.cache, "coefficients")

    def reconstruct(self, faces: FaceBatch) -> Float:
        """Return coefficients, float32 [T, 262]. The coefficients of frames without a face are NaN."""
        out = np.full((len(faces.landmarks), ROW), np.nan, np.float32)
        boxes = crop_boxes_at(self._analysis, faces.frames.indexes)
        landmarks = convert(faces.landmarks, self._analysis.landmark_scheme, IBUG68)
        missing: list[tuple[int, AlignedFace]] = []
        for row, index in enumerate(faces.frames.indexes):
            if not np.isfinite(boxes[row]).all():
                continue
            if (stored := self._store.get(int(index))) is not None:
                out[row] = stored["coefficients"]
                continue
            crop = crop_face(faces.frames.images[row], boxes[row])
            aligned = align_face(crop, points_in_crop(landmarks[row], boxes[row]), self._standard)
            if aligned is not None:
                missing.append((row, aligned))
        for rows, wanted in full_batches(len(missing), _BATCH, self._device):
            found = self._estimate([missing[number][1].image for number in rows])
            for number, coefficients in zip(rows[:wanted], found, strict=False):
                row, aligned = missing[number]
                out[row] = np.concatenate([coefficients, aligned.parameters])
                self._store.put(int(faces.frames.indexes[row]), coefficients=out[row])
        return out

    def close(self) -> None:
        """Do nothing, because the stage owns the network."""

    def _estimate(self, images: list[NDArray[np.uint8]]) -> Float:
        """Return the estimated coefficients [B, 257] of aligned faces."""
        pixels = torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)))
        return self._network(pixels.float() / 255.0)[0].numpy()
