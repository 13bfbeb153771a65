"""The reconstructor ``deep3d``: every frame's face, cut out and aligned as published, through the network.

Coefficients ``bfm257``, float32 [T, 262]: identity 80, expression 64, texture 80, angles 3 (radians), lighting 27,
translation 3; then width and height of the face's crop (256), the scale of the alignment in it, and the place of the
standard face's origin in it (x, and y from the lower border), in pixels.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.geometry.deep3d_alignment import AlignedFace, align_face
from retalkit.geometry.face_crop import crop_boxes_at, crop_face, points_in_crop
from retalkit.geometry.schemes import IBUG68, convert
from retalkit.inference import computing, load_weights, slices
from retalkit.plugins import StageConfig
from retalkit.stages import Analysis, FaceBatch, ReconstructionClip, Runtime, StageContext
from retalkit.storage.frame_store import FrameStore

from retalkit_reconstructors.deep3d import standard_landmarks
from retalkit_reconstructors.deep3d.interface import LANDMARKS, NETWORK
from retalkit_reconstructors.deep3d.network import COUNT, CoefficientNetwork, fold_normalisations

Float = NDArray[np.float32]

ROW: Final = COUNT + 5
"""Numbers of a frame."""

_FACES_AT_ONCE: Final = 8
"""More are not faster on a processor; these take about 100 MB."""


class Deep3DReconstructor:
    """Reads the coefficients of the Basel face model off each frame."""

    def __init__(self, config: StageConfig, runtime: Runtime) -> None:
        self._runtime = runtime

    def open(self, clip: ReconstructionClip, context: StageContext) -> Deep3DSession:
        return Deep3DSession(clip.analysis, self._runtime, context)


class Deep3DSession:
    """Serves one clip; every frame is read by itself."""

    def __init__(self, analysis: Analysis, runtime: Runtime, context: StageContext) -> None:
        self._analysis = analysis
        self._device, self._precision = runtime.device, runtime.precision
        self._standard = standard_landmarks.load(runtime.weights[LANDMARKS])
        network = load_weights(CoefficientNetwork(), runtime.weights[NETWORK], runtime.device)
        # torch's own annotations lack this form of the call.
        self._network: CoefficientNetwork | None = fold_normalisations(network).to(memory_format=torch.channels_last)  # pyright: ignore
        self._store = FrameStore(context.cache, "coefficients")

    def reconstruct(self, faces: FaceBatch) -> Float:
        """float32 [T, 262]; NaN rows where there is no face."""
        out = np.full((len(faces.landmarks), ROW), np.nan, np.float32)
        boxes = crop_boxes_at(self._analysis, faces.frames.indexes)
        landmarks = convert(faces.landmarks, self._analysis.landmark_scheme, IBUG68)
        wanted: list[tuple[int, AlignedFace]] = []
        for row, index in enumerate(faces.frames.indexes):
            if not np.isfinite(boxes[row]).all():
                continue
            if (stored := self._store.get(int(index))) is not None:
                out[row] = stored["coefficients"]
                continue
            crop = crop_face(faces.frames.images[row], boxes[row])
            aligned = align_face(crop, points_in_crop(landmarks[row], boxes[row]), self._standard)
            if aligned is not None:
                wanted.append((row, aligned))
        for part in slices(len(wanted), _FACES_AT_ONCE):
            found = self._read([aligned.image for _, aligned in wanted[part]])
            for (row, aligned), coefficients in zip(wanted[part], found, strict=True):
                out[row] = np.concatenate([coefficients, aligned.parameters])
                self._store.put(int(faces.frames.indexes[row]), coefficients=out[row])
        return out

    def close(self) -> None:
        """Frees the network."""
        self._network = None

    def _read(self, images: list[NDArray[np.uint8]]) -> Float:
        """Coefficients [B, 257] of aligned faces."""
        if self._network is None:
            raise RuntimeError("the session is closed")
        # Channels stay last in memory, as the convolutions like them.
        pictures = torch.from_numpy(np.stack(images)).to(self._device).permute(0, 3, 1, 2).float() / 255.0
        with computing(self._device, self._precision):
            return self._network(pictures).float().cpu().numpy()
