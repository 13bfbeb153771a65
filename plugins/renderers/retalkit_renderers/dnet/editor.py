"""Expression editor ``dnet``: the published D-Net draws every frame's face with one expression."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.geometry.face_crop import crop_boxes, crop_boxes_at, crop_face, points_in_crop
from retalkit.geometry.schemes import IBUG68, convert
from retalkit.inference import computing, full_batches, load_weights, slices
from retalkit.stages import Analysis, ExpressionEditClip, FaceBatch, ReferenceBatch, Runtime, StageContext
from retalkit.storage.frame_store import FrameStore

from retalkit_renderers.dnet.coefficients import driving_window, wearing
from retalkit_renderers.dnet.interface import NETWORK, PICTURES, TEMPLATES, DNetConfig
from retalkit_renderers.dnet.network import DNet
from retalkit_renderers.dnet.photo_fit import expression_of_picture
from retalkit_renderers.dnet.pictures import byte_picture, network_picture, put_face
from retalkit_renderers.dnet.shots import first_of_shot, window_rows
from retalkit_renderers.dnet.templates import published_expression, stored_expression

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

STORED: Final = "face"


class DNetEditor:
    """Needs frames, ``landmarks:ibug68`` and ``coefficients:bfm257``; gives ``reference:landmarks`` and, when wanted,
    ``reference:image``."""

    def __init__(self, config: DNetConfig, runtime: Runtime) -> None:
        self._config = config
        self._runtime = runtime

    def open(self, clip: ExpressionEditClip, context: StageContext) -> DNetSession:
        """Raises InputError where the template is a file that cannot be used."""
        return DNetSession(self._config, self._runtime, clip.analysis, context)


class DNetSession:
    """Serves one clip. The network is loaded when the first face is asked that is not stored."""

    def __init__(self, config: DNetConfig, runtime: Runtime, analysis: Analysis, context: StageContext) -> None:
        self._config = config
        self._runtime = runtime
        self._analysis = analysis
        self._context = context
        self._store = FrameStore(context.cache, STORED)
        self._network: DNet | None = None
        self._shot_source: tuple[int, Image] | None = None
        self._wants_images = "reference:image" in context.requested_ports
        self._expression = self._read_expression() if self._wants_images else np.zeros(0, np.float32)

    def edit(self, faces: FaceBatch) -> ReferenceBatch:
        """Landmarks are those of the frames themselves: D-Net tells of none, and its face keeps the pose of the frame.

        Images are whole frames with the drawn face in the crop; a frame without a face stays as it is.
        """
        landmarks = faces.landmarks.copy()
        if not self._wants_images:
            return ReferenceBatch(landmarks)
        images = faces.frames.images.copy()
        boxes = crop_boxes_at(self._analysis, faces.frames.indexes)
        drawn = self._drawn(faces, boxes)
        points = convert(faces.landmarks, self._analysis.landmark_scheme, IBUG68)
        for row, index in enumerate(faces.frames.indexes):
            if (face := drawn.get(int(index))) is not None:
                put_face(images[row], face, boxes[row], points_in_crop(points[row], boxes[row]))
        return ReferenceBatch(landmarks, images)

    def close(self) -> None:
        """Frees the network."""
        self._network = None
        self._shot_source = None

    def _read_expression(self) -> Float:
        template = self._config.template
        if not isinstance(template, Path):
            return published_expression(self._runtime.weights[TEMPLATES], template)
        if template.suffix.lower() in PICTURES:
            return expression_of_picture(template, self._runtime, self._context)
        return stored_expression(template)

    def _drawn(self, faces: FaceBatch, boxes: Float) -> dict[int, Image]:
        """Source index -> drawn face uint8 [256, 256, 3], of every frame of the batch that has one."""
        done: dict[int, Image] = {}
        missing: dict[int, tuple[Image, Float]] = {}
        for row, index in enumerate(faces.frames.indexes.tolist()):
            if index in done or index in missing or not np.isfinite(boxes[row]).all():
                continue
            if (stored := self._store.get(index)) is not None:
                done[index] = stored[STORED]
            elif (rows := window_rows(self._analysis, index)) is not None:
                source = self._source(index, faces.frames.images[row], boxes[row])
                missing[index] = source, wearing(driving_window(rows), self._expression)
        indexes = list(missing)
        for part in slices(len(indexes), self._config.batch):
            for index, face in zip(indexes[part], self._draw([missing[i] for i in indexes[part]]), strict=True):
                self._store.put(index, **{STORED: face})
                done[index] = face
        return done

    def _source(self, index: int, image: Image, box: Float) -> Image:
        """The crop uint8 [256, 256, 3] that the face is drawn from."""
        if not self._config.one_shot:
            return crop_face(image, box)
        first = first_of_shot(self._analysis, index)
        if self._shot_source is None or self._shot_source[0] != first:
            first_box = crop_boxes(self._analysis, first, first + 1)[0]
            if not np.isfinite(first_box).all():  # the face came in from outside of the picture
                return crop_face(image, box)
            _, image = next(iter(self._analysis.source.read([first])))
            self._shot_source = first, crop_face(image, first_box)
        return self._shot_source[1]

    def _draw(self, work: Sequence[tuple[Image, Float]]) -> list[Image]:
        """Drawn faces of sources and driving windows [73, 26]."""
        if self._network is None:
            self._network = load_weights(DNet(), self._runtime.weights[NETWORK], self._runtime.device)
        sources = np.stack([network_picture(source) for source, _ in work])
        windows = np.stack([window for _, window in work])
        device = self._runtime.device
        pictures: list[Image] = []
        with computing(device, self._runtime.precision):
            for rows, wanted in full_batches(len(work), self._config.batch, device):
                seen, driven = torch.from_numpy(sources[rows]).to(device), torch.from_numpy(windows[rows]).to(device)
                found = self._network(seen, driven).image[:wanted].float().cpu().numpy()
                pictures += [byte_picture(picture) for picture in found]
        return pictures
