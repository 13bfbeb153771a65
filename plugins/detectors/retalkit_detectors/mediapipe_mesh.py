"""The detector ``mediapipe``: 478 mesh points of every face, followed from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.geometry.face_tracker import intersection_over_union
from retalkit.geometry.scene_cuts import CutDetector
from retalkit.stages import DetectionClip, Face, FrameBatch, Runtime, StageContext

from retalkit_detectors.mediapipe_graphs import BoxGraph, FoundBox, MeshGraph, Region, region_around, view_of
from retalkit_detectors.plausibility import plausibility, ramp
from retalkit_detectors.plugin import MediaPipeConfig

Image = NDArray[np.uint8]
Landmarks = NDArray[np.float32]

SAME_FACE: Final = 0.4
"""Intersection over union of two regions from which on they are one face."""
BELIEVED: Final = (0.65, 0.8)
"""Box scores from worthless to certain. The mesh network reports presence 1.0 on clutter that looks a little like a
face (box score 0.0 to 0.7 on a close view); real faces, also blurred or behind a microphone, reach 0.78."""
SURE: Final = 0.8
"""Box score in the whole picture that makes a second look unnecessary."""
FORGET: Final = 0.2
"""Certainty below which a face is no longer followed."""
FADING: Final = 0.5
"""Weight of the newest look in the certainty of a face."""


@dataclass(frozen=True, slots=True)
class Track:
    """A face that is followed."""

    landmarks: Landmarks
    presence: float
    certainty: float
    """In [0, 1]: how sure the box network was, looking a few times."""

    @property
    def region(self) -> Region:
        """Where to look for the face in the next frame."""
        left_eye, right_eye = self.landmarks[mesh478.LEFT_EYE_OUTER], self.landmarks[mesh478.RIGHT_EYE_OUTER]
        return region_around(self.landmarks, left_eye, right_eye)


class MediaPipeDetector:
    """Finds faces with BlazeFace and fits MediaPipe's attention mesh to each."""

    def __init__(self, config: MediaPipeConfig, runtime: Runtime) -> None:
        self._config = config

    def open(self, clip: DetectionClip, context: StageContext) -> MediaPipeSession:
        return MediaPipeSession(self._config)


class MediaPipeSession:
    """One pass over a clip, in order.

    A face found in a frame says where to look in the next one. In every ``detect_every``-th frame of a shot, and in
    frames without a face, the box networks search the whole picture and confirm what is followed. At a cut all is
    forgotten.
    """

    def __init__(self, config: MediaPipeConfig) -> None:
        self._config = config
        self._closed = False
        self._near = BoxGraph(full_range=False, min_confidence=config.min_confidence)
        self._far = BoxGraph(full_range=True, min_confidence=config.min_confidence)
        self._mesh = MeshGraph()
        self._cuts = CutDetector()
        self._tracks: list[Track] = []
        self._age = 0
        """Frames since the shot began."""
        self._lonely = 0
        """Frames since a face was there."""

    def detect(self, frames: FrameBatch) -> list[list[Face]]:
        """All faces of each frame, the longest followed first; the score is presence x certainty x plausibility."""
        return [self._detect(image) for image in frames.images]

    def close(self) -> None:
        """Frees the networks; once, since the library takes a second time for an error."""
        if self._closed:
            return
        self._closed = True
        for graph in (self._near, self._far, self._mesh):
            graph.close()

    def _detect(self, image: Image) -> list[Face]:
        if self._cuts.is_cut(image):
            self._tracks, self._age, self._lonely = [], 0, 0
        look = self._age % self._config.detect_every == 0
        self._age += 1
        tracks = self._follow(image)
        if look or not tracks:
            boxes = self._near.find(image)
            if look:
                tracks = self._confirm(image, tracks, boxes)
            tracks = self._start(image, tracks, boxes)
        if not tracks and (look or self._lonely < self._config.detect_every):
            tracks = self._start(image, tracks, self._far.find(image))
        self._tracks = tracks
        self._lonely = 0 if tracks else self._lonely + 1
        return [as_face(track, image.shape[1], image.shape[0]) for track in tracks]

    def _follow(self, image: Image) -> list[Track]:
        """The known faces in a new frame; those that are gone are left out, and the younger of two on one face."""
        found: list[Track] = []
        for track in self._tracks:
            moved = self._fit(image, track.region, track.certainty)
            if moved is not None and not is_known(moved.region, found):
                found.append(moved)
        return found

    def _confirm(self, image: Image, tracks: Sequence[Track], boxes: Sequence[FoundBox]) -> list[Track]:
        kept: list[Track] = []
        for track in tracks:
            certainty = FADING * self._belief(image, track, boxes) + (1 - FADING) * track.certainty
            if certainty >= FORGET:
                kept.append(Track(track.landmarks, track.presence, certainty))
        return kept

    def _start(self, image: Image, tracks: Sequence[Track], boxes: Sequence[FoundBox]) -> list[Track]:
        """The tracks and what the boxes show besides them."""
        found = list(tracks)
        for box in boxes:
            if len(found) >= self._config.max_faces:
                break
            if is_known(box.region, found):
                continue
            rough = self._fit(image, box.region, 1.0)
            # The squares of the box networks differ from those around a mesh: a second fit is what the next frame gets.
            fresh = None if rough is None else self._fit(image, rough.region, 1.0)
            if fresh is None or is_known(fresh.region, found):
                continue
            certainty = self._belief(image, fresh, boxes)
            if certainty >= FORGET:
                found.append(Track(fresh.landmarks, fresh.presence, certainty))
        return found

    def _belief(self, image: Image, track: Track, boxes: Sequence[FoundBox]) -> float:
        """How sure the short-range network is of this face, in the whole picture or on a close view of it."""
        best = best_score(track.region, boxes) if boxes and not boxes[0].full_range else 0.0
        if best < SURE:
            left, top, view = view_of(image, track.region)
            close = self._near.find(view)
            region = track.region
            best = max(best, best_score(Region(region.x - left, region.y - top, region.side, region.angle), close))
        return ramp(best, *BELIEVED)

    def _fit(self, image: Image, region: Region, certainty: float) -> Track | None:
        landmarks, presence = self._mesh.mesh(image, region)
        if presence < self._config.min_presence or not np.isfinite(landmarks).all():
            return None
        return Track(landmarks, presence, certainty)


def is_known(region: Region, tracks: Sequence[Track]) -> bool:
    """Whether the region shows a face that is followed already."""
    return any(intersection_over_union(region.box, track.region.box) >= SAME_FACE for track in tracks)


def best_score(region: Region, boxes: Sequence[FoundBox]) -> float:
    """The highest score of a box on this region, 0 if there is none."""
    scores = [box.score for box in boxes if intersection_over_union(region.box, box.region.box) >= SAME_FACE]
    return max(scores, default=0.0)


def as_face(track: Track, width: int, height: int) -> Face:
    """The face of a track in a frame of ``width`` x ``height`` pixels."""
    points = track.landmarks[: mesh478.MESH_COUNT, :2]
    box = np.concatenate([points.min(0), points.max(0)]).astype(np.float32)
    score = min(track.presence, 1.0) * track.certainty * plausibility(track.landmarks, width, height)
    return Face(box, track.landmarks, score)
