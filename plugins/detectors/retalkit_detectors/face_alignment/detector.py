"""The detector ``face_alignment``: every frame by itself, each face once.

What the published pipeline does otherwise, and why: it runs S3FD on whole frames of any size, several times for a frame
and in batches that take gigabytes; here it runs once, on a small frame, and on a larger one only where that showed no
face. FAN sees the face in the frame's own resolution. Frames are computed one by one: batches save no time on a
processor, and so a result cannot depend on them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from retalkit.inference import computing
from retalkit.stages import DetectionClip, Face, FrameBatch, Runtime, StageContext
from retalkit.storage.frame_store import FrameStore

from retalkit_detectors.face_alignment.boxes import find_boxes, looks
from retalkit_detectors.face_alignment.interface import FaceAlignmentConfig
from retalkit_detectors.face_alignment.landmarks import find_landmarks
from retalkit_detectors.face_alignment.networks import Networks, load_networks

Arrays = dict[str, NDArray[Any]]


class FaceAlignmentDetector:
    """Finds faces with S3FD and their 68 landmarks with FAN."""

    def __init__(self, config: FaceAlignmentConfig, runtime: Runtime) -> None:
        self._config = config
        self._runtime = runtime

    def open(self, clip: DetectionClip, context: StageContext) -> FaceAlignmentSession:
        """Raises WeightsError where the weights do not fit."""
        weights = self._runtime.weights
        networks = load_networks(weights["s3fd"], weights["fan"], self._runtime.device, self._runtime.precision)
        return FaceAlignmentSession(self._config, networks, FrameStore(context.cache, "face_alignment"))


class FaceAlignmentSession:
    """One clip. What was found in a frame is stored, so that a run that is killed goes on behind it."""

    def __init__(self, config: FaceAlignmentConfig, networks: Networks, store: FrameStore) -> None:
        self._config = config
        self._networks: Networks | None = networks
        self._store = store

    def detect(self, frames: FrameBatch) -> list[list[Face]]:
        """All faces of each frame, the largest first; landmarks [68, 3] (z = 0), box and score of S3FD.

        The landmarks count from the middle of the first pixel, the box from its border.
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
        self._networks = None

    def _find(self, image: NDArray[np.uint8]) -> Arrays:
        networks, config = self._networks, self._config
        if networks is None:
            raise RuntimeError("the session is closed")
        device = networks.device
        with computing(device, networks.precision):
            sides = looks(max(image.shape[:2]), config.longest_side, config.largest_side)
            boxes = find_boxes(image, networks.s3fd, device, sides, config.min_score)
            area = np.prod(boxes[:, 2:4] - boxes[:, :2], axis=1)
            boxes = boxes[np.argsort(-area, kind="stable")][: config.max_faces]
            landmarks = [find_landmarks(image, box[:4], networks.fan, device, config.flip) for box in boxes]
        return {
            "boxes": boxes[:, :4].astype(np.float32),
            "landmarks": np.stack(landmarks) if landmarks else np.zeros((0, 68, 3), np.float32),
            "scores": boxes[:, 4].astype(np.float32),
        }
