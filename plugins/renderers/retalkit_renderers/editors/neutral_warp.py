"""Expression editor ``neutral_warp``: the person's own closed mouth, warped into every frame."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478, mesh_space
from retalkit.geometry.pose import to_head_frame
from retalkit.stages import Analysis, ExpressionEditClip, FaceBatch, ReferenceBatch, Runtime, StageContext

from retalkit_renderers.editors.clip_shape import ShotShapes
from retalkit_renderers.editors.config import NeutralWarpConfig
from retalkit_renderers.editors.shape import closed_mouth, smiling, wear
from retalkit_renderers.mesh_warp import (
    MeshTopology,
    TriangleRaster,
    complete_points,
    even_rectangle,
    follow_weights,
    make_topology,
)

Float = NDArray[np.float32]

STORED = "canonical.npz"


class NeutralWarpSession:
    """Serves, in the pose of every frame, one shape of the lower face for each shot."""

    def __init__(self, config: NeutralWarpConfig, analysis: Analysis, context: StageContext) -> None:
        self._analysis = analysis
        self._wants_images = "reference:image" in context.requested_ports
        known = self._stored(context)
        if known is None:
            known = self._learned(config, analysis)
            with context.cache.write(STORED) as path:
                np.savez(path, shots=known.shots, shapes=known.shapes)
        self.known = known
        """The canonical shapes in the head frame."""
        self._topologies: dict[int, MeshTopology] = {}

    @staticmethod
    def _stored(context: StageContext) -> ShotShapes | None:
        path = context.cache.path(STORED)
        if path is None:
            return None
        with np.load(path, allow_pickle=False) as stored:
            return ShotShapes(stored["shots"], stored["shapes"])

    @staticmethod
    def _learned(config: NeutralWarpConfig, analysis: Analysis) -> ShotShapes:
        found = ShotShapes.learn(analysis)
        shapes = [closed_mouth(shape) for shape in found.shapes]
        if config.template == "smile":
            shapes = [smiling(shape) for shape in shapes]
        return ShotShapes(found.shots, np.array(shapes, np.float32).reshape(-1, mesh478.COUNT, 3))

    def edit(self, faces: FaceBatch) -> ReferenceBatch:
        """The canonical shape as landmarks, and as whole frames where images are wanted."""
        landmarks = np.full_like(faces.landmarks, np.nan)
        images = faces.frames.images.copy() if self._wants_images else None
        pose = mesh_space.unpack_pose(faces.coefficients)
        head = to_head_frame(faces.landmarks, pose)
        for row, index in enumerate(faces.frames.indexes):
            if not np.isfinite(head[row]).all():
                continue
            known = self.known.row(int(self._analysis.tracks(int(index), int(index) + 1)[0]))
            if known is None:
                continue
            one, shape = slice(row, row + 1), self.known.shapes[known]
            landmarks[row] = wear(shape, head[one], pose[one], follow_weights(shape))[0]
            if images is not None:
                self._warp(images[row], faces.landmarks[row, :, :2], landmarks[row, :, :2], known)
        return ReferenceBatch(landmarks, images)

    def _warp(self, image: NDArray[np.uint8], source_points: Float, target_points: Float, known: int) -> None:
        """Brings the lower face of one frame to the canonical shape, in place."""
        if known not in self._topologies:
            self._topologies[known] = make_topology(self.known.shapes[known])
        topology = self._topologies[known]
        source = complete_points(source_points)
        target = complete_points(target_points, ring_from=source_points)
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
        """Holds nothing that has to be freed."""


class NeutralWarpEditor:
    """Needs ``landmarks:mesh478`` and ``coefficients:mesh``; gives ``reference:mesh478`` and, when wanted,
    ``reference:image``."""

    def __init__(self, config: NeutralWarpConfig, runtime: Runtime) -> None:
        self._config = config

    def open(self, clip: ExpressionEditClip, context: StageContext) -> NeutralWarpSession:
        """Learns the shapes from the least open frames of each shot, once; they are kept in the cache."""
        return NeutralWarpSession(self._config, clip.analysis, context)
