"""MediaPipe graphs for face boxes in an image and for the face mesh in an image region.

The published face mesh solution includes a tracker and does not expose its scores (Kartynnik et al., "Real-time facial
surface geometry from monocular video on mobile GPUs", 2019; Grishchenko et al., "Attention mesh", 2020). This module
uses only the mesh subgraph of the published graph, so that the caller selects the regions and receives the presence
score.
"""

# MediaPipe and its protobuf modules do not provide type information.
# pyright: reportAttributeAccessIssue=false, reportUnusedImport=false

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from retalkit.stages import FrameBatch

from retalkit_detectors.lazy_packages import defer_initialisation

defer_initialisation("mediapipe", "mediapipe.python.solutions")

# These modules register the option types of the calculators in the mesh graph. MediaPipe ignores unregistered options.
import mediapipe.calculators.tensor.tensors_to_floats_calculator_pb2  # noqa: E402
import mediapipe.framework.tool.switch_container_pb2  # noqa: E402
import mediapipe.python.solutions.face_mesh  # noqa: E402, F401
from mediapipe.calculators.util.thresholding_calculator_pb2 import ThresholdingCalculatorOptions  # noqa: E402
from mediapipe.framework import calculator_pb2  # noqa: E402
from mediapipe.framework.formats import rect_pb2  # noqa: E402
from mediapipe.python import packet_creator, packet_getter  # noqa: E402
from mediapipe.python._framework_bindings import resource_util, validated_graph_config  # noqa: E402
from mediapipe.python._framework_bindings.calculator_graph import CalculatorGraph  # noqa: E402
from mediapipe.python._framework_bindings.image_frame import ImageFormat  # noqa: E402
from mediapipe.python.solutions.face_detection import FaceDetection  # noqa: E402

MESH_GRAPH: Final = Path("mediapipe/modules/face_landmark/face_landmark_front_cpu.binarypb")
MESH_NODES: Final = "facelandmarkcpu__"
IMAGE: Final = "landmarks_loop_image"
REGION: Final = "face_rect"
LANDMARKS: Final = "face_landmarks"
PRESENCE: Final = "facelandmarkcpu__face_presence_score"

CLOSE_UP: Final = 0.67
"""Ratio of half of the close-up's side to the region's side. The face covers about half of the close-up's width."""
DETECTION_SIZE: Final = 384
"""Approximate longest side, in pixels, of the image that is passed to a box network. The networks' input sides are 128
and 192 pixels.
"""
MARGIN: Final = 1.5
"""Ratio of the mesh region's side to the box's longer side."""


@dataclass(frozen=True, slots=True)
class Region:
    """Rotated square image region."""

    x: float
    """Horizontal position of the centre in pixels."""
    y: float
    """Vertical position of the centre in pixels."""
    side: float
    """Side length in pixels."""
    angle: float
    """Clockwise roll angle of the face in radians."""

    @property
    def box(self) -> NDArray[np.float32]:
        """Return the bounds (left, top, right, bottom) of the square before rotation, float32 [4]."""
        half = self.side / 2
        return np.array([self.x - half, self.y - half, self.x + half, self.y + half], np.float32)


@dataclass(frozen=True, slots=True)
class DetectedBox:
    """Face box returned by a box network."""

    region: Region
    score: float
    full_range: bool


def region_around(points: NDArray[np.float32], left_eye: NDArray[np.float32], right_eye: NDArray[np.float32]) -> Region:
    """Return the region around points [N, >=2] in pixels, aligned with the line from ``left_eye`` to ``right_eye``."""
    # Contiguous rows: reductions along the first axis of a small array take several times longer.
    x, y = np.ascontiguousarray(points[:, :2].T)
    left, right, top, bottom = (float(each) for each in (x.min(), x.max(), y.min(), y.max()))
    across = (right_eye - left_eye).astype(np.float64)
    side = max(right - left, bottom - top) * MARGIN
    return Region((left + right) / 2, (top + bottom) / 2, side, float(np.arctan2(across[1], across[0])))


@dataclass(frozen=True, slots=True)
class ReducedImage:
    """Image for a box network."""

    pixels: NDArray[np.uint8]
    """Contiguous RGB image, uint8 [h, w, 3]."""
    factor: int
    """Integer factor by which the image has been reduced."""


class BoxGraph:
    """BlazeFace graph (Bazarevsky et al., 2019), which detects face boxes.

    The short-range model detects faces larger than a tenth of the image. The full-range model also detects smaller
    faces. Several threads may use an instance.
    """

    def __init__(self, full_range: bool, min_confidence: float) -> None:
        self._full_range = full_range
        self._lock = Lock()
        self._solution = FaceDetection(min_detection_confidence=min_confidence, model_selection=int(full_range))
        self._solution.process(np.zeros((64, 64, 3), np.uint8))

    def detect(self, reduced: ReducedImage) -> list[DetectedBox]:
        """Return the faces in an image in descending score order, in pixels of the image before its reduction."""
        small, factor = reduced.pixels, reduced.factor
        with self._lock:
            output: Any = self._solution.process(small)
        detections: list[Any] = sorted(output.detections or [], key=_score, reverse=True)
        scale = np.array([small.shape[1], small.shape[0]], np.float32) * factor
        boxes: list[DetectedBox] = []
        for detection in detections:
            data = detection.location_data
            box = data.relative_bounding_box
            corners = np.array([[box.xmin, box.ymin], [box.xmin + box.width, box.ymin + box.height]], np.float32)
            eyes = np.array([[point.x, point.y] for point in data.relative_keypoints[:2]], np.float32)
            region = region_around(corners * scale, eyes[0] * scale, eyes[1] * scale)
            if region.side > 0:
                boxes.append(DetectedBox(region, float(detection.score[0]), self._full_range))
        return boxes

    def close(self) -> None:
        self._solution.close()


class MeshGraph:
    """Attention mesh graph, which fits 478 face points in an image region."""

    def __init__(self) -> None:
        self._results: dict[str, Any] = {}
        self._time = 0
        self._graph = CalculatorGraph(graph_config=self._config())
        for stream in (LANDMARKS, PRESENCE):
            self._graph.observe_output_stream(stream, self._results.__setitem__)
        self._graph.start_run({"with_attention": packet_creator.create_bool(True)})
        self.fit(single_frame(np.zeros((64, 64, 3), np.uint8)), 0, Region(32, 32, 48, 0))

    @staticmethod
    def _config() -> Any:
        """Return a ``CalculatorGraphConfig`` with the published graph's mesh nodes."""
        packages = Path(packet_creator.__file__).parents[2]
        resource_util.set_resource_dir(str(packages))
        validated = validated_graph_config.ValidatedGraphConfig()
        validated.initialize(binary_graph_path=str(packages / MESH_GRAPH))
        full = calculator_pb2.CalculatorGraphConfig()
        full.ParseFromString(validated.binary_config)
        mesh_only = calculator_pb2.CalculatorGraphConfig()
        mesh_only.node.extend(node for node in full.node if node.name.startswith(MESH_NODES))
        for node in mesh_only.node:
            if node.calculator == "ThresholdingCalculator":
                # The caller evaluates the score, so the graph must return landmarks regardless of the score.
                node.options.Extensions[ThresholdingCalculatorOptions.ext].threshold = -1.0
        mesh_only.input_stream.extend([IMAGE, REGION])
        mesh_only.output_stream.extend([LANDMARKS, PRESENCE])
        mesh_only.input_side_packet.append("with_attention")
        return mesh_only

    def fit(self, frames: FrameBatch, row: int, region: Region) -> tuple[NDArray[np.float32], float]:
        """Return the points fitted to the frame in ``row`` in pixels, float32 [478, 3], and the presence score in
        [0, 1].

        The z coordinates have the scale of the x coordinates.
        """
        left, top, crop = crop_region(frames, row, region)
        height, width = crop.shape[:2]
        rectangle = rect_pb2.NormalizedRect(
            x_center=(region.x - left) / width,
            y_center=(region.y - top) / height,
            width=region.side / width,
            height=region.side / height,
            rotation=region.angle,
        )
        packet = packet_creator.create_image(data=crop, image_format=ImageFormat.SRGB)
        self._time += 1
        self._graph.add_packet_to_input_stream(IMAGE, packet.at(self._time))
        self._graph.add_packet_to_input_stream(REGION, packet_creator.create_proto(rectangle).at(self._time))
        self._graph.wait_until_idle()
        points = packet_getter.get_proto(self._results[LANDMARKS]).landmark
        presence = packet_getter.get_float(self._results[PRESENCE])
        landmarks = np.array([(point.x, point.y, point.z) for point in points], np.float64)
        landmarks = landmarks * (width, height, width) + (left, top, 0)
        return landmarks.astype(np.float32), float(presence)

    def close(self) -> None:
        self._graph.close()


def _score(detection: Any) -> float:
    return detection.score[0]


def single_frame(image: NDArray[np.uint8]) -> FrameBatch:
    """Return an RGB image, uint8 [H, W, 3], as a batch of one frame."""
    return FrameBatch(image[None], np.zeros(1), np.zeros(1, np.int64))


def reduced_frame(frames: FrameBatch, row: int) -> ReducedImage:
    """Return the frame in ``row`` reduced to about the size of the box networks' inputs."""
    width, height = frames.size
    factor = max(1, min(round(max(height, width) / DETECTION_SIZE), height, width))
    return ReducedImage(np.ascontiguousarray(frames.reduced(row, factor)), factor)


def crop_region(frames: FrameBatch, row: int, region: Region) -> tuple[int, int, NDArray[np.uint8]]:
    """Return the left and top coordinates and the contiguous image of the rotated region's bounding box.

    Passing the complete image to the graph would take longer than the network inference.
    """
    radius = region.side * (abs(np.cos(region.angle)) + abs(np.sin(region.angle))) / 2 + 2
    return crop_square(frames, row, region, radius)


def close_up(frames: FrameBatch, row: int, region: Region) -> tuple[int, int, NDArray[np.uint8]]:
    """Return the left and top coordinates and the contiguous image around a face, for the box network."""
    return crop_square(frames, row, region, region.side * CLOSE_UP)


def crop_square(frames: FrameBatch, row: int, region: Region, radius: float) -> tuple[int, int, NDArray[np.uint8]]:
    """Return the left and top coordinates and the contiguous image of the square with half the side ``radius`` around
    the centre of a region. Parts outside the frame are omitted.
    """
    width, height = frames.size
    left = int(np.clip(np.floor(region.x - radius), 0, width - 1))
    top = int(np.clip(np.floor(region.y - radius), 0, height - 1))
    right = int(np.clip(np.ceil(region.x + radius), left + 1, width))
    bottom = int(np.clip(np.ceil(region.y + radius), top + 1, height))
    return left, top, np.ascontiguousarray(frames.crop(row, left, top, right - left, bottom - top))
