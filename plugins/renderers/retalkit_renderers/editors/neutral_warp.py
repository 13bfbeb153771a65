"""Expression editor ``neutral_warp``, which warps every frame's mouth to the person's own closed mouth."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478, mesh_space
from retalkit.geometry.pose import to_head_frame
from retalkit.stages import Analysis, ExpressionEditClip, FaceBatch, ReferenceBatch, Runtime, StageContext

from retalkit_renderers.editors.config import NeutralWarpConfig
from retalkit_renderers.editors.mouth_shapes import close_mouth, smile, transfer_lower_face
from retalkit_renderers.editors.track_shapes import TrackShapes
from retalkit_renderers.mesh_warp import (
    MeshTopology,
    TriangleRaster,
    even_rectangle,
    fit_mouth_weights,
    make_topology,
    topology_points,
)

Float = NDArray[np.float32]

STORED = "canonical.npz"


class NeutralWarpSession:
    """Editor session that transfers a track's canonical lower-face shape to the pose of every frame."""

    def __init__(self, config: NeutralWarpConfig, analysis: Analysis, context: StageContext) -> None:
        self._analysis = analysis
        self._images_requested = "reference:image" in context.requested_ports
        shapes = self._load(context)
        if shapes is None:
            shapes = self._fit(config, analysis)
            with context.cache.write(STORED) as path:
                np.savez(path, tracks=shapes.tracks, shapes=shapes.shapes)
        self.track_shapes = shapes
        """Canonical shapes in the head frame."""
        self._mouth_weights = [fit_mouth_weights(shape) for shape in shapes.shapes]
        self._topologies: dict[int, MeshTopology] = {}

    @staticmethod
    def _load(context: StageContext) -> TrackShapes | None:
        path = context.cache.path(STORED)
        if path is None:
            return None
        with np.load(path, allow_pickle=False) as stored:
            return TrackShapes(stored["tracks"], stored["shapes"])

    @staticmethod
    def _fit(config: NeutralWarpConfig, analysis: Analysis) -> TrackShapes:
        found = TrackShapes.fit(analysis)
        shapes = [close_mouth(shape) for shape in found.shapes]
        if config.template == "smile":
            shapes = [smile(shape) for shape in shapes]
        return TrackShapes(found.tracks, np.array(shapes, np.float32).reshape(-1, mesh478.COUNT, 3))

    def edit(self, faces: FaceBatch) -> ReferenceBatch:
        """Return landmarks with the canonical shape and, if images are requested, whole frames."""
        landmarks = np.full_like(faces.landmarks, np.nan)
        images = faces.frames.images.copy() if self._images_requested else None
        pose = mesh_space.unpack_pose(faces.coefficients)
        head = to_head_frame(faces.landmarks, pose)
        for row, index in enumerate(faces.frames.indexes):
            if not np.isfinite(head[row]).all():
                continue
            number = self.track_shapes.row(int(self._analysis.tracks(int(index), int(index) + 1)[0]))
            if number is None:
                continue
            one, shape = slice(row, row + 1), self.track_shapes.shapes[number]
            landmarks[row] = transfer_lower_face(shape, head[one], pose[one], self._mouth_weights[number])[0]
            if images is not None:
                self._warp(images[row], faces.landmarks[row, :, :2], landmarks[row, :, :2], number)
        return ReferenceBatch(landmarks, images)

    def _warp(self, image: NDArray[np.uint8], source_points: Float, target_points: Float, number: int) -> None:
        """Warp the lower face in one frame to the canonical shape, in place."""
        if number not in self._topologies:
            self._topologies[number] = make_topology(self.track_shapes.shapes[number])
        topology = self._topologies[number]
        source = topology_points(source_points)
        target = topology_points(target_points, ring_from=source_points)
        used = topology.points
        high, wide = image.shape[:2]
        rectangle = even_rectangle(np.vstack([source[used], target[used]]), 2, wide, high)
        left, top, width, height = rectangle
        if not width or not height:
            return
        map_x, map_y = TriangleRaster(topology, target, rectangle).dense_map(source)
        warped = cv2.remap(image, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        image[top : top + height, left : left + width] = warped

    def close(self) -> None:
        """Do nothing, because the session holds no resources."""


class NeutralWarpEditor:
    """Expression editor that requires ``landmarks:mesh478`` and ``coefficients:mesh``.

    The editor provides ``reference:landmarks`` and, if requested, ``reference:image``.
    """

    def __init__(self, config: NeutralWarpConfig, runtime: Runtime) -> None:
        self._config = config

    def open(self, clip: ExpressionEditClip, context: StageContext) -> NeutralWarpSession:
        """Open a session after loading the canonical shapes or computing them from each track's least open frames."""
        return NeutralWarpSession(self._config, clip.analysis, context)
