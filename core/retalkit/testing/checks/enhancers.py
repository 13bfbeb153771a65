"""Checks for enhancers that process the lip syncer's results or reference images."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from retalkit.stages import EnhancementClip, FaceEdit, FrameResult, PassedThrough, ReferenceBatch, SyncBatch
from retalkit.testing.checks.edits import as_row, check_edits
from retalkit.testing.checks.subject import FrameSubject
from retalkit.testing.checks.values import Row, array_error, copy_row
from retalkit.testing.examination import Examination, StopCheckError
from retalkit.testing.fixtures.clips import Clip, Indexes, plain_references

_KEPT = "enhance() must preserve the order and number of results, and must return PassedThrough results unchanged."
_SIDE = 96


class EnhancerSubject(FrameSubject):
    """Test subject that calls an enhancer's ``enhance()`` method."""

    positions = True
    method = "enhance"
    contract = _KEPT

    def __init__(self, exam: Examination, stage: Any, images: bool) -> None:
        super().__init__(exam, stage)
        self._images = images

    def open_session(self, clip: Clip, cache: str) -> Any:
        return self.stage.open(EnhancementClip(analysis=clip.analysis), self.context(cache))

    def request(self, check: str, session: Any, clip: Clip, numbers: Indexes) -> list[Row]:
        batch = clip.sync_batch(numbers, references=self._images)
        edits = [_example_edit(batch, row, check) for row in range(len(numbers))]
        inputs = {
            "": batch,
            **{f"the edit of frame {number}": edit for number, edit in zip(numbers, edits, strict=True)},
        }
        result = self.call_method(check, clip, numbers, session, batch, list(edits), inputs=inputs)
        scheme = clip.analysis.landmark_scheme
        results = check_edits(self.exam, check, self.call, result, numbers.tolist(), batch.faces, scheme)
        for number, before, after in zip(numbers, edits, results, strict=True):
            if isinstance(before, PassedThrough) and before != after:
                self.exam.problem(
                    check,
                    f"{self.call} returned an edit for frame {number}, which the lip syncer passed through",
                    _KEPT,
                )
            elif isinstance(before, FaceEdit) and isinstance(after, PassedThrough):
                self.exam.problem(
                    check, f"{self.call} replaced the edit of frame {number} by PassedThrough({after.reason!r})", _KEPT
                )
        return [as_row(one) for one in results]


class ReferenceEnhancerSubject(FrameSubject):
    """Test subject that calls the ``enhance_references()`` method of an enhancer that provides ``reference:image``."""

    any_order = True
    method = "enhance_references"
    contract = "enhance_references() must return a ReferenceBatch with RGB images, uint8 [T, H, W, 3] as in the input."

    def open_session(self, clip: Clip, cache: str) -> Any:
        return self.stage.open_references(EnhancementClip(analysis=clip.analysis), self.context(cache))

    def request(self, check: str, session: Any, clip: Clip, numbers: Indexes) -> list[Row]:
        faces = clip.faces(numbers)
        references = plain_references(faces, images=True)
        inputs = {"": faces, "the references": references}
        result = self.call_method(check, clip, numbers, session, faces, references, inputs=inputs)
        if not isinstance(result, ReferenceBatch):
            self.exam.problem(
                check, f"{self.call} returned {type(result).__name__}, expected ReferenceBatch", self.contract
            )
            raise StopCheckError
        images: object = result.images
        if wrong := array_error(images, np.uint8, faces.frames.images.shape, "[T, H, W, 3]"):
            self.exam.problem(check, f"images {wrong}", self.contract)
            raise StopCheckError
        assert result.images is not None
        if not np.array_equal(result.landmarks, faces.landmarks, equal_nan=True):
            self.exam.problem(
                check, f"{self.call} changed the landmarks", "enhance_references() must change only the images."
            )
        return [copy_row({"image": image}) for image in result.images]


def _example_edit(batch: SyncBatch, row: int, check: str) -> FrameResult:
    """Return a typical lip syncer result for a frame, which depends on the frame position but not on the batch."""
    image, box, position = batch.faces.frames.images[row], batch.faces.boxes[row], int(batch.positions[row])
    if not np.isfinite(box).all():
        # A third-party lip syncer may edit frames without a face.
        return _small_edit(image) if check == "one_pixel" and position else PassedThrough("no face")
    if position % 8 == 5:
        return PassedThrough("occluded")
    if check == "odd_size" and position == 1:
        return _small_edit(image)
    left, top = int(box[0]), int(box[1] + (box[3] - box[1]) / 2)
    width, height = max(int(box[2] - box[0]), 8), max(int((box[3] - box[1]) / 2), 8)
    return _scaled_edit(image, box) if position % 2 else _flat_edit(image, left, top, width, height)


def _flat_edit(image: Any, left: int, top: int, width: int, height: int) -> FaceEdit:
    """Return an edit with a blurred lower face at the frame's resolution."""
    matrix = np.array([[1, 0, -left], [0, 1, -top]], np.float32)
    cut = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return FaceEdit(np.asarray(cv2.blur(cut, (5, 5)), np.uint8), _oval(width, height), matrix)


def _scaled_edit(image: Any, box: Any) -> FaceEdit:
    """Return a 96 x 96-pixel face edit with an unrounded image, similar to the output of published networks."""
    scale = _SIDE / max(float(box[2] - box[0]), float(box[3] - box[1]), 1.0)
    matrix = np.array([[scale, 0, -scale * box[0]], [0, scale, -scale * box[1]]], np.float32)
    cut = cv2.warpAffine(image, matrix, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    unrounded = np.asarray(cut, np.float32) / np.float32(255)
    mask = _oval(_SIDE, _SIDE)
    mask[: _SIDE // 2] = 0
    return FaceEdit((unrounded * 255).astype(np.uint8), mask, matrix, unrounded_image=unrounded)


def _small_edit(image: Any) -> FaceEdit:
    """Return a 1 x 1-pixel edit."""
    return FaceEdit(image[:1, :1].copy(), np.ones((1, 1), np.float32), np.array([[1, 0, 0], [0, 1, 0]], np.float32))


def _oval(width: int, height: int) -> Any:
    """Return an elliptical mask in [0, 1] that fades to 0 at the border, float32 [height, width]."""
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    return np.clip(2 - 2 * np.sqrt(x * x + y * y), 0, 1).astype(np.float32)
