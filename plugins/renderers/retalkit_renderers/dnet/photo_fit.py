"""Expression estimation from a still image with the installed detector and reconstructor.

The module looks up both stages by name, as a run file does, and does not import their packages directly.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from retalkit.errors import InputError
from retalkit.geometry.schemes import scheme_of
from retalkit.media.photo_source import PhotoSource
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import FoundStage, Registry
from retalkit.stages import (
    DetectionClip,
    Face,
    FaceBatch,
    FrameBatch,
    ReconstructionClip,
    Runtime,
    StageCache,
    StageContext,
    StageKind,
)

from retalkit_renderers.dnet.coefficients import EXPRESSION

Float = NDArray[np.float32]

DETECTOR: Final = "mediapipe"
RECONSTRUCTOR: Final = "deep3d"


class PhotoFit:
    """Detector and reconstructor that estimate the expression of a face in a still image."""

    def __init__(self, runtime: Runtime, registry: Registry | None = None) -> None:
        """Load both stages. Raises ConfigError if a stage is not installed.

        ``runtime`` must contain the reconstructor's weights.
        """
        registry = discover() if registry is None else registry
        self._detector = registry.find(StageKind.DETECTOR, DETECTOR)
        self._reconstructor = registry.find(StageKind.RECONSTRUCTOR, RECONSTRUCTOR)
        self._detect: Any = self._detector.spec.make(self._detector.spec.config(), runtime)
        self._reconstruct: Any = self._reconstructor.spec.make(self._reconstructor.spec.config(), runtime)

    def expression(self, path: Path, context: StageContext) -> Float:
        """Return the expression of the largest face, float32 [64].

        The face is cropped and fitted with the method that is used for video frames. Raises InputError if the image
        cannot be read or contains no face.
        """
        source = PhotoSource(path)
        ports = self._reconstructor.spec.gives
        inner = replace(context, cache=_Part(context.cache, "template-"), requested_ports=ports)
        face = _largest_face(self._detect, source, inner)
        if face is None:
            raise InputError(
                f"{path}: no face was detected; choose an image with a clearly visible face", code="no-face"
            )
        photo = _OneFace(source, face, _scheme(self._detector))
        session = self._reconstruct.open(ReconstructionClip(analysis=photo), inner)
        try:
            row: Float = session.reconstruct(photo.batch())[0]
        finally:
            session.close()
        if not np.isfinite(row).all():
            raise InputError(
                f"{path}: the face is too small for an expression estimate; choose an image with a larger face",
                code="no-face",
            )
        return row[EXPRESSION]


def _largest_face(detector: Any, source: PhotoSource, context: StageContext) -> Face | None:
    session = detector.open(DetectionClip(source=source.info), context)
    try:
        faces: list[Face] = session.detect(_frame(source))[0]
    finally:
        session.close()
    return max(faces, key=lambda face: float(np.prod(face.box[2:] - face.box[:2])), default=None)


def _frame(source: PhotoSource) -> FrameBatch:
    (_, image), *_ = source.read([0])
    return FrameBatch(image[None], source.times(0, 1), np.zeros(1, np.int64))


def _scheme(detector: FoundStage) -> str:
    return next(scheme for port in detector.spec.gives if (scheme := scheme_of(port)) is not None)


@dataclass(frozen=True, slots=True)
class _Part:
    """Cache view that prepends a prefix to all names."""

    cache: StageCache
    prefix: str

    def path(self, name: str) -> Path | None:
        return self.cache.path(self.prefix + name)

    def write(self, name: str) -> AbstractContextManager[Path]:
        return self.cache.write(self.prefix + name)


@dataclass(frozen=True, slots=True)
class _OneFace:
    """``Analysis`` implementation for a still image with one face."""

    source: PhotoSource
    face: Face
    landmark_scheme: str
    coefficient_space: str = ""

    def landmarks(self, start: int, stop: int) -> Float:
        return np.asarray(self.face.landmarks, np.float32)[None][start:stop]

    def coefficients(self, start: int, stop: int) -> Float:
        return np.zeros((1, 0), np.float32)[start:stop]

    def boxes(self, start: int, stop: int) -> Float:
        return np.asarray(self.face.box, np.float32)[None][start:stop]

    def tracks(self, start: int, stop: int) -> NDArray[np.int32]:
        return np.zeros(1, np.int32)[start:stop]

    def batch(self) -> FaceBatch:
        """Return the image as a batch that the reconstructor accepts."""
        return FaceBatch(_frame(self.source), self.landmarks(0, 1), self.coefficients(0, 1), self.boxes(0, 1))
