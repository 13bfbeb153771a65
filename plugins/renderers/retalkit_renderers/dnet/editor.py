"""Expression editor ``dnet``, which uses the published D-Net to generate each frame's face with one constant
expression.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.geometry.face_crop import CROP_SIZE, crop_boxes, crop_boxes_at, crop_face, points_in_crop
from retalkit.geometry.schemes import IBUG68, convert
from retalkit.inference import CompiledNetwork, compile_network, empty_network, full_batches, load_weights, slices
from retalkit.stages import Analysis, ExpressionEditClip, FaceBatch, ReferenceBatch, Runtime, StageContext
from retalkit.storage.frame_store import FrameStore

from retalkit_renderers.dnet.coefficients import WINDOW, driving_window, replace_expression
from retalkit_renderers.dnet.face_images import paste_face, to_network, to_uint8
from retalkit_renderers.dnet.interface import IMAGE_SUFFIXES, NETWORK, TEMPLATES, DNetConfig
from retalkit_renderers.dnet.network import COEFFICIENTS, DNet
from retalkit_renderers.dnet.photo_fit import PhotoFit
from retalkit_renderers.dnet.shots import first_of_shot, window_rows
from retalkit_renderers.dnet.templates import published_expression, stored_expression

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

STORED: Final = "face"
_IMAGE: Final = "reference:image"


class DNetEditor:
    """Expression editor that requires frames, ``landmarks:ibug68`` and ``coefficients:bfm257``.

    The editor provides ``reference:landmarks`` and, if requested, ``reference:image``.
    """

    def __init__(self, config: DNetConfig, runtime: Runtime) -> None:
        """Load the network and the template expression.

        Raises WeightsError if a checkpoint does not match the network, and InputError if the template file is invalid.
        """
        self._config = config
        self._device = runtime.device
        self._network = load_network(runtime)
        template = config.template
        self._photo: tuple[PhotoFit, Path] | None = None
        self._expression: Float | None = None
        if not isinstance(template, Path):
            self._expression = published_expression(runtime.weights[TEMPLATES], template)
        elif template.suffix.lower() in IMAGE_SUFFIXES:
            self._photo = PhotoFit(runtime), template
        else:
            self._expression = stored_expression(template)

    def open(self, clip: ExpressionEditClip, context: StageContext) -> DNetSession:
        """Return a session for one clip. Raises InputError if the template is a still image without a usable face."""
        if self._expression is None and self._photo is not None and _IMAGE in context.requested_ports:
            fit, path = self._photo
            self._expression = fit.expression(path, context)
        return DNetSession(self._config, self._network, self._device, self._expression, clip.analysis, context)


def load_network(runtime: Runtime) -> CompiledNetwork:
    """Return the compiled D-Net, whose first output contains the edited faces.

    The inputs are faces [B, 3, 256, 256], RGB in [-1, 1], and driving windows [B, 73, 26].
    """
    weights = runtime.weights[NETWORK]

    def load() -> CompiledNetwork:
        network = load_weights(empty_network(DNet), weights)
        inputs = [torch.zeros(1, 3, CROP_SIZE, CROP_SIZE), torch.zeros(1, COEFFICIENTS, WINDOW)]
        return compile_network(network, inputs, runtime, full_precision=True)

    return runtime.shared((NETWORK, weights), load)


class DNetSession:
    """Editor session that edits the faces of one clip and stores each edited face in the cache."""

    def __init__(
        self,
        config: DNetConfig,
        network: CompiledNetwork,
        device: str,
        expression: Float | None,
        analysis: Analysis,
        context: StageContext,
    ) -> None:
        """Initialise the session.

        ``expression``: expression for every frame, float32 [64], or None if images are not requested.
        """
        self._config = config
        self._network, self._device = network, device
        self._expression = expression
        self._analysis = analysis
        self._store = FrameStore(context.cache, STORED)
        self._shot_source: tuple[int, Image] | None = None
        self._needs_images = _IMAGE in context.requested_ports

    def edit(self, faces: FaceBatch) -> ReferenceBatch:
        """Return the frame's landmarks and, if requested, images with the edited faces.

        D-Net does not return landmarks. The returned landmarks are those of the frame, because the edited face has the
        frame's pose. Images are whole frames with the edited face in the crop. Frames without a face remain unchanged.
        """
        landmarks = faces.landmarks.copy()
        if not self._needs_images:
            return ReferenceBatch(landmarks)
        images = faces.frames.images.copy()
        boxes = crop_boxes_at(self._analysis, faces.frames.indexes)
        edited = self._edited_faces(faces, boxes)
        points = convert(faces.landmarks, self._analysis.landmark_scheme, IBUG68)
        for row, index in enumerate(faces.frames.indexes):
            if (face := edited.get(int(index))) is not None:
                paste_face(images[row], face, boxes[row], points_in_crop(points[row], boxes[row]))
        return ReferenceBatch(landmarks, images)

    def close(self) -> None:
        """Release the stored source image. The stage owns the network."""
        self._shot_source = None

    def _edited_faces(self, faces: FaceBatch, boxes: Float) -> dict[int, Image]:
        """Return a mapping from source index to edited face, uint8 [256, 256, 3], for frames with an edited face."""
        assert self._expression is not None
        done: dict[int, Image] = {}
        missing: dict[int, tuple[Image, Float]] = {}
        for row, index in enumerate(faces.frames.indexes.tolist()):
            if index in done or index in missing or not np.isfinite(boxes[row]).all():
                continue
            if (stored := self._store.get(index)) is not None:
                done[index] = stored[STORED]
            elif (rows := window_rows(self._analysis, index)) is not None:
                source = self._source(index, faces.frames.images[row], boxes[row])
                missing[index] = source, replace_expression(driving_window(rows), self._expression)
        indexes = list(missing)
        for part in slices(len(indexes), self._config.batch):
            for index, face in zip(indexes[part], self._generate([missing[i] for i in indexes[part]]), strict=True):
                self._store.put(index, **{STORED: face})
                done[index] = face
        return done

    def _source(self, index: int, image: Image, box: Float) -> Image:
        """Return the source crop from which the face is generated, uint8 [256, 256, 3]."""
        if not self._config.one_shot:
            return crop_face(image, box)
        first = first_of_shot(self._analysis, index)
        if self._shot_source is None or self._shot_source[0] != first:
            first_box = crop_boxes(self._analysis, first, first + 1)[0]
            if not np.isfinite(first_box).all():  # The face appears only later in the shot.
                return crop_face(image, box)
            _, image = next(iter(self._analysis.source.read([first])))
            self._shot_source = first, crop_face(image, first_box)
        return self._shot_source[1]

    def _generate(self, work: Sequence[tuple[Image, Float]]) -> list[Image]:
        """Return the edited faces for pairs of a source crop and a driving window [73, 26]."""
        sources = torch.from_numpy(np.stack([to_network(source) for source, _ in work]))
        windows = torch.from_numpy(np.stack([window for _, window in work]))
        images: list[Image] = []
        for rows, wanted in full_batches(len(work), self._config.batch, self._device):
            faces = self._network(sources[rows], windows[rows])[0][:wanted].numpy()
            images += [to_uint8(face) for face in faces]
        return images
