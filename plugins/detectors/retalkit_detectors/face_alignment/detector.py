"""Detector ``face_alignment``, which computes S3FD boxes and FAN landmarks for each frame.

The published pipeline runs S3FD on whole frames of any size, several times per frame and in batches that require
gigabytes of memory. This detector runs S3FD once on a downscaled frame. It runs S3FD again on a larger frame only if no
face was detected. FAN processes the face at the frame's original resolution. Frames are processed individually, because
batches do not reduce the computing time on the CPU. The results therefore do not depend on batching.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from retalkit.stages import DetectionClip, Face, FrameBatch, Runtime, StageContext
from retalkit.storage.frame_store import FrameStore

from retalkit_detectors.face_alignment.boxes import find_boxes, search_sides
from retalkit_detectors.face_alignment.interface import FaceAlignmentConfig
from retalkit_detectors.face_alignment.landmarks import find_landmarks
from retalkit_detectors.face_alignment.networks import Networks, load_networks

Arrays = dict[str, NDArray[Any]]


class FaceAlignmentDetector:
    """Detector that localises faces with S3FD and fits 68 landmarks with FAN."""

    def __init__(self, config: FaceAlignmentConfig, runtime: Runtime) -> None:
        """Load the networks. Raises WeightsError if a checkpoint does not match its network."""
        self._config = config
        self._networks = load_networks(runtime)

    def open(self, clip: DetectionClip, context: StageContext) -> FaceAlignmentSession:
        """Return a session for one clip."""
        del clip
        return FaceAlignmentSession(self._config, self._networks, FrameStore(context.cache, "face_alignment"))

    def person_opacity(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the opacity of the persons in an image, see ``PersonSegmenter``."""
        from retalkit_detectors.person_opacity import person_opacity

        return person_opacity(image)


class FaceAlignmentSession:
    """Face detection session for one clip.

    The session stores each frame's faces in the cache, so that an interrupted run resumes after the last stored frame.
    """

    def __init__(self, config: FaceAlignmentConfig, networks: Networks, store: FrameStore) -> None:
        self._config = config
        self._networks = networks
        self._store = store

    def detect(self, frames: FrameBatch) -> list[list[Face]]:
        """Return all faces of each frame in descending size order.

        Each face contains landmarks [68, 3] (z = 0), the S3FD box and the S3FD score. Landmark coordinates are relative
        to the first pixel's centre. Box coordinates are relative to the first pixel's edge.
        """
        found: list[list[Face]] = []
        for image, index in zip(frames.images, frames.indexes, strict=True):
            arrays = self._store.get(int(index))
            if arrays is None:
                arrays = self._find(image)
                self._store.put(int(index), **arrays)
            rows = zip(arrays["boxes"], arrays["landmarks"], arrays["scores"], strict=True)
            found.append([Face(box, landmarks, float(score)) for box, landmarks, score in rows])
        return found

    def close(self) -> None:
        """Do nothing, because the stage owns the networks."""

    def _find(self, image: NDArray[np.uint8]) -> Arrays:
        networks, config = self._networks, self._config
        sides = search_sides(max(image.shape[:2]), config.longest_side, config.largest_side)
        boxes = find_boxes(image, networks.s3fd, sides, config.min_score)
        area = np.prod(boxes[:, 2:4] - boxes[:, :2], axis=1)
        boxes = boxes[np.argsort(-area, kind="stable")][: config.max_faces]
        landmarks = [find_landmarks(image, box[:4], networks.fan, config.flip) for box in boxes]
        return {
            "boxes": boxes[:, :4].astype(np.float32),
            "landmarks": np.stack(landmarks) if landmarks else np.zeros((0, 68, 3), np.float32),
            "scores": boxes[:, 4].astype(np.float32),
        }
