"""Two small MediaPipe graphs: boxes of faces in a picture, and the mesh of one face in a region of a picture.

The published face mesh solution (Kartynnik et al., "Real-time facial surface geometry from monocular video on mobile
GPUs", 2019; Grishchenko et al., "Attention mesh", 2020) keeps its tracker inside its graph and hides how sure it is.
The mesh part is cut out of that graph here, so that regions can be chosen outside and the presence score be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from retalkit_detectors.lazy_matplotlib import late_matplotlib
from retalkit_detectors.native_logs import without_chatter

with late_matplotlib():
    import mediapipe
    from mediapipe.calculators.util.thresholding_calculator_pb2 import ThresholdingCalculatorOptions
    from mediapipe.framework import calculator_pb2
    from mediapipe.framework.formats import rect_pb2
    from mediapipe.python._framework_bindings import resource_util, validated_graph_config
    from mediapipe.python.solutions.face_detection import FaceDetection

MESH_GRAPH: Final = Path("mediapipe/modules/face_landmark/face_landmark_front_cpu.binarypb")
MESH_NODES: Final = "facelandmarkcpu__"
IMAGE: Final = "landmarks_loop_image"
REGION: Final = "face_rect"
LANDMARKS: Final = "face_landmarks"
PRESENCE: Final = "facelandmarkcpu__face_presence_score"

VIEW: Final = 0.67
"""Half side of a close view, in sides of the region: the face fills about half of it."""
DETECTION_SIZE: Final = 384
"""About the longest side of the picture that the box networks see; they take 128 and 192 pixels."""
MARGIN: Final = 1.5
"""Side of the region that the mesh network sees, in longest sides of the box."""


@dataclass(frozen=True, slots=True)
class Region:
    """A turned square of the picture."""

    x: float
    """Centre in pixels."""
    y: float
    side: float
    """Pixels."""
    angle: float
    """Radians, clockwise as seen: the roll of the face."""

    @property
    def box(self) -> NDArray[np.float32]:
        """float32 [4]: left, top, right, bottom of the square before turning."""
        half = self.side / 2
        return np.array([self.x - half, self.y - half, self.x + half, self.y + half], np.float32)


@dataclass(frozen=True, slots=True)
class FoundBox:
    """What a box network found."""

    region: Region
    score: float
    full_range: bool


def region_around(points: NDArray[np.float32], left_eye: NDArray[np.float32], right_eye: NDArray[np.float32]) -> Region:
    """The region of points [N, >=2] in pixels, upright along the line from ``left_eye`` to ``right_eye`` [>=2]."""
    low, high = points[:, :2].min(0).astype(np.float64), points[:, :2].max(0).astype(np.float64)
    x, y = (low + high) / 2
    across = (right_eye - left_eye).astype(np.float64)
    return Region(float(x), float(y), float((high - low).max() * MARGIN), float(np.arctan2(across[1], across[0])))


class BoxGraph:
    """BlazeFace (Bazarevsky et al., 2019): short range for faces above a tenth of the picture, full range for less."""

    def __init__(self, full_range: bool, min_confidence: float) -> None:
        self._full_range = full_range
        with without_chatter():
            self._solution = FaceDetection(min_detection_confidence=min_confidence, model_selection=int(full_range))
            self._solution.process(np.zeros((64, 64, 3), np.uint8))

    def find(self, image: NDArray[np.uint8]) -> list[FoundBox]:
        """Faces in RGB uint8 [H, W, 3], the surest first."""
        factor, small = shrunk(image, DETECTION_SIZE)
        found = self._solution.process(small).detections or []
        scale = np.array([small.shape[1], small.shape[0]], np.float32) * factor
        boxes: list[FoundBox] = []
        for detection in sorted(found, key=lambda one: -one.score[0]):
            data = detection.location_data
            box = data.relative_bounding_box
            corners = np.array([[box.xmin, box.ymin], [box.xmin + box.width, box.ymin + box.height]], np.float32)
            eyes = np.array([[point.x, point.y] for point in data.relative_keypoints[:2]], np.float32)
            region = region_around(corners * scale, eyes[0] * scale, eyes[1] * scale)
            if region.side > 0:
                boxes.append(FoundBox(region, float(detection.score[0]), self._full_range))
        return boxes

    def close(self) -> None:
        self._solution.close()


class MeshGraph:
    """The attention mesh: 478 points of the face in a region."""

    def __init__(self) -> None:
        self._results: dict[str, Any] = {}
        self._time = 0
        with without_chatter():
            self._graph = mediapipe.CalculatorGraph(graph_config=self._config())
            for stream in (LANDMARKS, PRESENCE):
                self._graph.observe_output_stream(stream, self._results.__setitem__)
            self._graph.start_run({"with_attention": mediapipe.packet_creator.create_bool(True)})
            self.mesh(np.zeros((64, 64, 3), np.uint8), Region(32, 32, 48, 0))

    @staticmethod
    def _config() -> calculator_pb2.CalculatorGraphConfig:
        packages = Path(mediapipe.__file__).parent.parent
        resource_util.set_resource_dir(str(packages))
        validated = validated_graph_config.ValidatedGraphConfig()
        validated.initialize(binary_graph_path=str(packages / MESH_GRAPH))
        whole = calculator_pb2.CalculatorGraphConfig()
        whole.ParseFromString(validated.binary_config)
        part = calculator_pb2.CalculatorGraphConfig()
        part.node.extend(node for node in whole.node if node.name.startswith(MESH_NODES))
        for node in part.node:
            if node.calculator == "ThresholdingCalculator":
                # The score is judged outside, so landmarks have to come out whatever it is.
                node.options.Extensions[ThresholdingCalculatorOptions.ext].threshold = -1.0
        part.input_stream.extend([IMAGE, REGION])
        part.output_stream.extend([LANDMARKS, PRESENCE])
        part.input_side_packet.append("with_attention")
        return part

    def mesh(self, image: NDArray[np.uint8], region: Region) -> tuple[NDArray[np.float32], float]:
        """Points float32 [478, 3] in pixels (z at the scale of x) and the presence score in [0, 1]."""
        left, top, crop = cropped(image, region)
        height, width = crop.shape[:2]
        rectangle = rect_pb2.NormalizedRect(
            x_center=(region.x - left) / width,
            y_center=(region.y - top) / height,
            width=region.side / width,
            height=region.side / height,
            rotation=region.angle,
        )
        create = mediapipe.packet_creator
        picture = create.create_image(data=crop, image_format=mediapipe.ImageFormat.SRGB)
        self._time += 1
        self._graph.add_packet_to_input_stream(IMAGE, picture.at(self._time))
        self._graph.add_packet_to_input_stream(REGION, create.create_proto(rectangle).at(self._time))
        self._graph.wait_until_idle()
        points = mediapipe.packet_getter.get_proto(self._results[LANDMARKS]).landmark
        presence = mediapipe.packet_getter.get_float(self._results[PRESENCE])
        landmarks = np.array([(point.x, point.y, point.z) for point in points], np.float64)
        landmarks = landmarks * (width, height, width) + (left, top, 0)
        return landmarks.astype(np.float32), float(presence)

    def close(self) -> None:
        self._graph.close()


def shrunk(image: NDArray[np.uint8], longest: int) -> tuple[int, NDArray[np.uint8]]:
    """A whole factor and the picture made smaller by it, so that its longest side is near ``longest`` or below; up to
    factor - 1 pixels on the right and at the bottom are left out."""
    height, width = image.shape[:2]
    factor = max(1, min(round(max(height, width) / longest), height, width))
    rows, columns = height // factor, width // factor
    if factor == 1:
        return 1, np.ascontiguousarray(image)
    # Whole factors take OpenCV's fast path, about eight times as quick as other area averages.
    part = image[: rows * factor, : columns * factor]
    return factor, cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def cropped(image: NDArray[np.uint8], region: Region) -> tuple[int, int, NDArray[np.uint8]]:
    """Left, top and a contiguous copy of the part of the picture that the turned region can touch: copying the whole
    picture into the graph would cost more than the network."""
    reach = region.side * (abs(np.cos(region.angle)) + abs(np.sin(region.angle))) / 2 + 2
    return _square(image, region.x, region.y, reach)


def view_of(image: NDArray[np.uint8], region: Region) -> tuple[int, int, NDArray[np.uint8]]:
    """Left, top and a contiguous copy of the surroundings of a face, in which a box network can judge it."""
    return _square(image, region.x, region.y, region.side * VIEW)


def _square(image: NDArray[np.uint8], x: float, y: float, reach: float) -> tuple[int, int, NDArray[np.uint8]]:
    height, width = image.shape[:2]
    left = int(np.clip(np.floor(x - reach), 0, width - 1))
    top = int(np.clip(np.floor(y - reach), 0, height - 1))
    right = int(np.clip(np.ceil(x + reach), left + 1, width))
    bottom = int(np.clip(np.ceil(y + reach), top + 1, height))
    return left, top, np.ascontiguousarray(image[top:bottom, left:right])
