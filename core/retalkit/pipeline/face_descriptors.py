"""Description of the faces in a clip, by which the tracklets of one person are joined."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from retalkit.geometry.face_tracker import area
from retalkit.geometry.schemes import POINTS5, convert, convertible
from retalkit.persons.grouping import Tracklet
from retalkit.pipeline.stage_errors import check_cancelled
from retalkit.pipeline.tracklets import StoredTracklets
from retalkit.stages import Face, FaceImage, FaceRecogniser, Source
from retalkit.storage.cache import Folder

Float = NDArray[np.float32]

VERSION: Final = 2
"""Version number in the cache key. The number must be increased when the described frames change."""

DESCRIPTORS: Final = "descriptors.npz"

SAMPLES: Final = 3
"""Number of frames of each tracklet that are described."""
_MIN_FRAMES: Final = 3
"""Minimum length of a tracklet of a video, in frames, that is described."""


def descriptors_complete(folder: Folder) -> bool:
    """Return whether the descriptors in ``folder`` are complete."""
    return folder.path(DESCRIPTORS) is not None


def store_descriptors(
    tracklets: StoredTracklets,
    source: Source,
    recogniser: FaceRecogniser,
    folder: Folder,
    cancelled: Callable[[], bool],
) -> None:
    """Describe the faces of all tracklets and store the descriptors."""
    descriptors = describe(tracklets, source, recogniser, cancelled)
    with folder.write(DESCRIPTORS) as path:
        np.savez(path, **{str(number): values for number, values in descriptors.items()})


def load_descriptors(folder: Folder) -> dict[int, Float]:
    """Return the stored descriptors, as a mapping from tracklet number to descriptor."""
    with np.load(folder.folder / DESCRIPTORS, allow_pickle=False) as stored:
        return {int(number): stored[number] for number in stored.files}


def describe(
    tracklets: StoredTracklets, source: Source, recogniser: FaceRecogniser, cancelled: Callable[[], bool]
) -> dict[int, Float]:
    """Return a mapping from tracklet number to descriptor. Tracklets that cannot be described are left out.

    The most frontal frames in each third of a tracklet are described.
    """
    wanted = _samples(tracklets, 1 if source.info.is_photo else _MIN_FRAMES)
    found: defaultdict[int, list[Float]] = defaultdict(list)
    scheme = tracklets.detections.scheme
    for index, image in source.read(sorted(wanted)):
        check_cancelled(cancelled)
        for number, face in wanted[index]:
            values = recogniser.describe(FaceImage(image=image, landmarks=face.landmarks, landmark_scheme=scheme))
            if values is not None:
                found[number].append(values)
    return {number: np.mean(rows, axis=0).astype(np.float32) for number, rows in found.items()}


def _samples(tracklets: StoredTracklets, shortest: int) -> dict[int, list[tuple[int, Face]]]:
    """Return the frames to describe, as a mapping from frame index to tracklet numbers and faces."""
    scheme = tracklets.detections.scheme
    known: Mapping[int, Tracklet] = {each.number: each for each in tracklets.tracklets if each.frames >= shortest}
    best: dict[tuple[int, int], tuple[float, int, Face]] = {}
    for frame, numbers in tracklets:
        for number, face in zip(numbers.tolist(), frame.faces, strict=True):
            tracklet = known.get(number)
            if tracklet is None:
                continue
            part = (frame.index - tracklet.first) * SAMPLES // (tracklet.last - tracklet.first + 1)
            quality = _quality(face, scheme)
            if (number, part) not in best or quality > best[number, part][0]:
                best[number, part] = (quality, frame.index, face)
    wanted: defaultdict[int, list[tuple[int, Face]]] = defaultdict(list)
    for (number, _), (_, index, face) in sorted(best.items(), key=lambda item: item[0]):
        wanted[index].append((number, face))
    return dict(wanted)


def _quality(face: Face, scheme: str) -> float:
    """Return a value that is high for large, frontal and confidently detected faces."""
    frontal = 1.0
    if POINTS5 in convertible(scheme):
        eye, other, nose = convert(face.landmarks, scheme, POINTS5)[:3, :2]
        between = max(float(np.linalg.norm(other - eye)), 1e-6)
        along = float((nose - eye) @ (other - eye)) / between**2
        frontal = 1.0 - min(2 * abs(along - 0.5), 1.0)
    return face.score * frontal * float(np.sqrt(max(area(face.box), 0.0)))
