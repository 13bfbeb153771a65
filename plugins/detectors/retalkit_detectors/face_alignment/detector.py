"""Detector ``face_alignment``: boxes of S3FD and landmarks of FAN for each frame.

Differences from the published pipeline, which runs S3FD on whole frames of any size, several times per frame and in
batches that take gigabytes: here S3FD runs once, on a downscaled frame, and on a larger one only where no face was
found. FAN reads the face at the frame's own resolution. Frames are processed one by one: batches save no time on the
CPU, and results cannot depend on them.
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
    """Finds faces with S3FD and their 68 landmarks with FAN."""

    def __init__(self, config: FaceAlignmentConfig, runtime: Runtime) -> None:
        """Raises WeightsError if a checkpoint does not fit."""
        self._config = config
        self._networks = load_networks(runtime)

    def open(self, clip: DetectionClip, context: StageContext) -> FaceAlignmentSession:
        """Open for one clip."""
        del clip
        return FaceAlignmentSession(self._config, self._networks, FrameStore(context.cache, "face_alignment"))


class FaceAlignmentSession:
    """Serves one clip. The faces of each frame are stored, so that an interrupted run resumes after them."""

    def __init__(self, config: FaceAlignmentConfig, networks: Networks, store: FrameStore) -> None:
        self._config = config
        self._networks = networks
        self._store = store

    def detect(self, frames: FrameBatch) -> list[list[Face]]:
        """Return all faces of each frame, the largest first: landmarks [68, 3] (z = 0), box and score of S3FD.

        Landmarks are measured from the centre of the first pixel, boxes from its edge.
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
        """Do nothing: the networks belong to the stage."""

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
