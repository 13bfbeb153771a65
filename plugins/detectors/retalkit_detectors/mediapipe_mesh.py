"""Detector ``mediapipe``, which tracks 478 mesh points of every face across frames."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.geometry.face_tracker import intersection_over_union
from retalkit.geometry.scene_cuts import CutDetector, sampling_step, thumbnail_of_samples
from retalkit.stages import DetectionClip, Face, FrameBatch, Runtime, StageContext

from retalkit_detectors.mediapipe_graphs import (
    BoxGraph,
    DetectedBox,
    MeshGraph,
    ReducedImage,
    Region,
    close_up,
    crop_square,
    reduced_frame,
    region_around,
    single_frame,
)
from retalkit_detectors.mediapipe_options import MediaPipeConfig
from retalkit_detectors.plausibility import implausible_reason, plausibility, ramp

Image = NDArray[np.uint8]
Landmarks = NDArray[np.float32]

SAME_FACE: Final = 0.4
"""Minimum intersection over union at which two regions are considered to contain the same face."""
CONFIDENT_SCORES: Final = (0.65, 0.8)
"""Box scores at which the confidence reaches 0 and 1.

The mesh network returns a presence score of 1.0 for clutter that resembles a face. The box score of such clutter in a
close-up is 0.0 to 0.7. The box score of real faces reaches 0.78, even for blurred faces and faces behind a microphone.
"""
SUFFICIENT_SCORE: Final = 0.8
"""Box score in the complete image above which the detector does not evaluate a close-up."""
CERTAIN_PRESENCE: Final = 0.99
"""Presence score of the mesh network below which a face is doubtful."""
VIEW: Final = 1.6
"""Side of the view for the orientation check, as a multiple of the side of the mesh network's region."""
MIN_CONFIDENCE: Final = 0.2
"""Minimum confidence of a face. Faces with a lower confidence are discarded."""
UPSIDE_DOWN: Final = "upside down"
FLIPPED_SCORES: Final = (0.8, 0.1)
"""Box score of the rotated face above which a face may be upside down, and its minimum excess over the score of the
face itself. For upright faces, the score of the face rotated by 180 degrees is at most 0.81 and at least 0.01 lower.
For landmarks on a face that is upside down, it is at least 0.87 and 0.21 higher."""
CHECK_EVERY: Final = 10
CHECK_DOUBTFUL: Final = 2
"""Intervals between two checks of the orientation of a face, as multiples of ``detect_every``."""
SMOOTHING: Final = 0.5
"""Weight of the newest value in the exponential smoothing of a face's confidence."""


@dataclass(frozen=True)
class Track:
    """State of a tracked face."""

    landmarks: Landmarks
    presence: float
    confidence: float
    """Smoothed box network confidence in [0, 1]."""
    upside_down: bool = False
    """Whether the landmarks are upside down in the image."""
    unchecked: int = 0
    """Number of searches since the orientation was checked."""

    @cached_property
    def region(self) -> Region:
        """Return the mesh network's input region for the next frame."""
        left_eye, right_eye = self.landmarks[mesh478.LEFT_EYE_OUTER], self.landmarks[mesh478.RIGHT_EYE_OUTER]
        return region_around(self.landmarks, left_eye, right_eye)


@dataclass
class _View:
    """One frame of a batch."""

    frames: FrameBatch
    row: int
    starts_shot: bool = False

    @cached_property
    def reduced(self) -> ReducedImage:
        return reduced_frame(self.frames, self.row)


class MediaPipeDetector:
    """Detector that localises faces with BlazeFace and fits MediaPipe's attention mesh to each face."""

    def __init__(self, config: MediaPipeConfig, runtime: Runtime) -> None:
        self._config = config

    def open(self, clip: DetectionClip, context: StageContext) -> MediaPipeSession:
        return MediaPipeSession(self._config)

    def low_score_reason(self, face: Face, width: int, height: int) -> str:
        """Return why a face has a low score, see ``DetectorWithReasons``."""
        return implausible_reason(face.landmarks, width, height) or "unclear face"

    def person_opacity(self, image: Image) -> NDArray[np.float32]:
        """Return the opacity of the persons in an image, see ``PersonSegmenter``."""
        from retalkit_detectors.person_opacity import person_opacity

        return person_opacity(image)


class MediaPipeSession:
    """Detection session that processes a clip's frames in order.

    A face's mesh determines the face's region in the next frame. In every ``detect_every``-th frame of a shot and in
    frames without a face, the box networks search the complete image. These searches update the confidence of tracked
    faces. A cut resets all tracks.
    """

    def __init__(self, config: MediaPipeConfig) -> None:
        self._config = config
        self._closed = False
        self._near = BoxGraph(full_range=False, min_confidence=config.min_confidence)
        self._far = BoxGraph(full_range=True, min_confidence=config.min_confidence)
        self._mesh = MeshGraph()
        self._searcher = ThreadPoolExecutor(1, thread_name_prefix="face search")
        self._cuts = CutDetector()
        self._tracks: list[Track] = []
        self._age = 0
        """Number of frames since the shot started."""
        self._frames_without_face = 0
        """Number of frames since the last frame with a face."""

    def detect(self, frames: FrameBatch) -> list[list[Face]]:
        """Return all faces of each frame. The face with the oldest track is listed first.

        The score is the product of the presence score, the confidence and the plausibility.
        """
        views = [_View(frames, row) for row in range(len(frames.indexes))]
        searches = self._plan_searches(views)
        # The searches do not depend on the tracks, so they run at the same time as the mesh network.
        boxes = [
            self._searcher.submit(self._search, view) if due else None
            for view, due in zip(views, searches, strict=True)
        ]
        return [self._detect(view, found) for view, found in zip(views, boxes, strict=True)]

    def close(self) -> None:
        """Release the networks once. MediaPipe raises an exception if a graph is closed twice."""
        if self._closed:
            return
        self._closed = True
        self._searcher.shutdown(cancel_futures=True)
        for graph in (self._near, self._far, self._mesh):
            graph.close()

    def _plan_searches(self, views: Sequence[_View]) -> list[bool]:
        """Return for each of the next frames whether the complete image is searched even if faces are tracked."""
        searches: list[bool] = []
        for view in views:
            view.starts_shot = self._starts_shot(view)
            self._age = 0 if view.starts_shot else self._age
            searches.append(self._age % self._config.detect_every == 0)
            self._age += 1
        return searches

    def _search(self, view: _View) -> list[DetectedBox]:
        return self._near.detect(view.reduced)

    def _detect(self, view: _View, found: Future[list[DetectedBox]] | None) -> list[Face]:
        """Return the faces of the next frame. ``found``: boxes of the search, or None if no search is due."""
        if view.starts_shot:
            self._tracks, self._frames_without_face = [], 0
        tracks = self._track(view)
        if found is not None:
            boxes = found.result()
            tracks = self._start(view, self._confirm(view, tracks, boxes), boxes)
        elif not tracks:
            tracks = self._start(view, tracks, self._search(view))
        if not tracks and (found is not None or self._frames_without_face < self._config.detect_every):
            tracks = self._start(view, tracks, self._far.detect(view.reduced))
        self._tracks = tracks
        self._frames_without_face = 0 if tracks else self._frames_without_face + 1
        return [as_face(track, *view.frames.size) for track in tracks]

    def _starts_shot(self, view: _View) -> bool:
        """Return whether a shot starts at the frame."""
        if view.frames.shot_starts is not None:
            return bool(view.frames.shot_starts[view.row])
        step = sampling_step(*view.frames.size)
        return self._cuts.starts_shot(thumbnail_of_samples(view.frames.sampled(view.row, step)))

    def _track(self, view: _View) -> list[Track]:
        """Track all faces into the new frame, and return the tracks without lost faces and newer duplicates."""
        tracks: list[Track] = []
        for track in self._tracks:
            moved = self._fit(view, track.region, track.confidence)
            if moved is not None and not is_tracked(moved.region, tracks):
                tracks.append(replace(moved, upside_down=track.upside_down, unchecked=track.unchecked))
        return tracks

    def _confirm(self, view: _View, tracks: Sequence[Track], boxes: Sequence[DetectedBox]) -> list[Track]:
        """Update the confidence of the tracks, and return the tracks with sufficient confidence."""
        kept: list[Track] = []
        for track in tracks:
            confidence = SMOOTHING * self._confidence(view, track, boxes) + (1 - SMOOTHING) * track.confidence
            if confidence >= MIN_CONFIDENCE:
                doubtful = confidence < 1 or track.presence < CERTAIN_PRESENCE
                known = replace(track, confidence=confidence, unchecked=track.unchecked + 1)
                due = known.unchecked >= (CHECK_DOUBTFUL if doubtful else CHECK_EVERY)
                kept.append(self._oriented(view, known) if due else known)
        return kept

    def _start(self, view: _View, tracks: Sequence[Track], boxes: Sequence[DetectedBox]) -> list[Track]:
        """Return the existing tracks, and new tracks for boxes that do not belong to a tracked face."""
        all_tracks = list(tracks)
        for box in boxes:
            if len(all_tracks) >= self._config.max_faces:
                break
            if is_tracked(box.region, all_tracks):
                continue
            rough = self._fit(view, box.region, 1.0)
            # Box networks and meshes define different regions. The second fit uses the region that the first mesh
            # defines for the next frame.
            refined = None if rough is None else self._fit(view, rough.region, 1.0)
            if refined is None or is_tracked(refined.region, all_tracks):
                continue
            confidence = self._confidence(view, refined, boxes)
            if confidence >= MIN_CONFIDENCE:
                all_tracks.append(self._oriented(view, replace(refined, confidence=confidence)))
        return all_tracks

    def _oriented(self, view: _View, track: Track) -> Track:
        """Return the track with the result of the orientation check.

        If the mesh is fitted upright to a face that is upside down, its mouth lies on the forehead. The box network
        then recognises the face more clearly after a rotation by 180 degrees.
        """
        least, excess = FLIPPED_SCORES
        flipped = self._upright_score(view, track.region, np.pi)
        upside_down = flipped > least and flipped > self._upright_score(view, track.region, 0.0) + excess
        return replace(track, upside_down=upside_down, unchecked=0)

    def _upright_score(self, view: _View, region: Region, turn: float) -> float:
        """Return the box score of a face that is rotated upright and then by ``turn`` radians."""
        size, angle = 128, region.angle + turn
        scale = size / (region.side * VIEW)
        cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
        linear = np.array([[cosine, sine], [-sine, cosine]])
        # The radius includes the corners of the view and a border for the interpolation.
        left, top, crop = crop_square(view.frames, view.row, region, region.side * VIEW * np.sqrt(0.5) + 2)
        offset = size / 2 - linear @ (region.x - left, region.y - top)
        sampling = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        matrix = np.hstack([linear, offset[:, None]])
        turned = cv2.warpAffine(crop, matrix, (size, size), flags=sampling, borderMode=cv2.BORDER_REPLICATE)
        boxes = self._near.detect(ReducedImage(np.asarray(turned, np.uint8), 1))
        return max((box.score for box in boxes if _is_upright(box, size)), default=0.0)

    def _confidence(self, view: _View, track: Track, boxes: Sequence[DetectedBox]) -> float:
        """Return the short-range network's confidence for a face, evaluated in the complete image or in a close-up."""
        best = best_score(track.region, boxes) if boxes and not boxes[0].full_range else 0.0
        if best < SUFFICIENT_SCORE:
            left, top, crop = close_up(view.frames, view.row, track.region)
            region = replace(track.region, x=track.region.x - left, y=track.region.y - top)
            best = max(best, best_score(region, self._near.detect(reduced_frame(single_frame(crop), 0))))
        return ramp(best, *CONFIDENT_SCORES)

    def _fit(self, view: _View, region: Region, confidence: float) -> Track | None:
        landmarks, presence = self._mesh.fit(view.frames, view.row, region)
        if presence < self._config.min_presence or not np.isfinite(landmarks).all():
            return None
        return Track(landmarks, presence, confidence)


def _is_upright(box: DetectedBox, size: int) -> bool:
    near = np.hypot(box.region.x - size / 2, box.region.y - size / 2) < 0.3 * size
    return bool(near and np.cos(box.region.angle) > 0)


def is_tracked(region: Region, tracks: Sequence[Track]) -> bool:
    """Return whether a track already covers the face in the region."""
    return any(intersection_over_union(region.box, track.region.box) >= SAME_FACE for track in tracks)


def best_score(region: Region, boxes: Sequence[DetectedBox]) -> float:
    """Return the highest score among the boxes in the region, or 0 if the region contains no box."""
    scores = [box.score for box in boxes if intersection_over_union(region.box, box.region.box) >= SAME_FACE]
    return max(scores, default=0.0)


def as_face(track: Track, width: int, height: int) -> Face:
    """Return the track's face for a ``width`` x ``height`` frame."""
    x, y = np.ascontiguousarray(track.landmarks[: mesh478.MESH_COUNT, :2].T)
    box = np.array([x.min(), y.min(), x.max(), y.max()], np.float32)
    score = min(track.presence, 1.0) * track.confidence * plausibility(track.landmarks, width, height)
    return Face(box, track.landmarks, score, UPSIDE_DOWN if track.upside_down else "")
