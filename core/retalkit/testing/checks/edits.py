"""Checks for the edits that lip syncers and enhancers return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from retalkit.geometry.schemes import POINTS5, convert
from retalkit.imaging.compositing import composite, edited_bounds
from retalkit.stages import FaceBatch, FaceEdit, FrameResult, PassedThrough
from retalkit.testing.checks.values import Row, array_error, copy_row, range_error
from retalkit.testing.examination import Examination, StopCheckError, one_line

_IMAGE = "FaceEdit.image must be an RGB array, uint8 [h, w, 3]."
_MASK = "FaceEdit.mask must be float32 [h, w] with values in [0, 1] and the image's height and width."
_MATRIX = "FaceEdit.matrix must be an invertible float32 [2, 3] that maps frame pixels to image pixels."
_POSITION = (
    "An edit must overlap the mouth. FaceEdit.matrix maps frame pixels to image pixels. For a crop at column `left` "
    "and row `top`, the matrix is [[1, 0, -left], [0, 1, -top]]."
)
_CONFIDENCE = "FaceEdit.confidence must be in [0, 1]. FaceEdit.reason must explain a low confidence in a short phrase."
_UNROUNDED = "FaceEdit.unrounded_image must be None or the image before rounding, float32 [h, w, 3] in [0, 1]."
_REASON = "PassedThrough.reason must be a short phrase. The run record counts frames by reason."
_CONFIDENT = 0.999


def check_edits(
    exam: Examination, check: str, call: str, result: object, numbers: Sequence[int], faces: FaceBatch, scheme: str
) -> list[FrameResult]:
    """Validate the results of ``call`` and return them, one per frame in ``numbers``.

    Problems are recorded in ``exam``. ``faces`` contains the edited faces with landmarks in the scheme ``scheme``. The
    edit position is compared with the mouth position only in the check ``result``, because the clips of other checks
    contain cropped faces or no faces. Raises StopCheckError if the results are unusable.
    """
    contract = f"{call} must return a list with one FaceEdit or PassedThrough per frame."
    if not isinstance(result, list):
        exam.problem(check, f"{call} returned {type(result).__name__}, expected a list", contract)
        raise StopCheckError
    results = cast("list[object]", result)
    if len(results) != len(numbers):
        exam.problem(check, f"{call} returned {len(results)} results for {len(numbers)} frames", contract)
        raise StopCheckError
    corners = convert(faces.landmarks, scheme, POINTS5)[:, 3:, :2]
    for edit, number, image, mouth in zip(results, numbers, faces.frames.images, corners, strict=True):
        if isinstance(edit, FaceEdit):
            if _check_edit(exam, check, edit, number, image) and check == "result":
                _check_position(exam, check, edit, number, mouth)
        elif not isinstance(edit, PassedThrough):
            exam.problem(
                check,
                f"{call} returned {type(edit).__name__} for frame {number}, expected FaceEdit or PassedThrough",
                contract,
            )
            raise StopCheckError
        elif not str(edit.reason).strip():
            exam.problem(check, f"frame {number} was passed through without a reason", _REASON)
    return cast("list[FrameResult]", results)


def as_row(result: FrameResult) -> Row:
    """Return a result as a mapping of comparable values."""
    if isinstance(result, PassedThrough):
        return {"result": f"passed through: {result.reason}"}
    names = ("image", "mask", "matrix", "unrounded_image", "confidence", "reason")
    return copy_row({"result": "edit", **{name: getattr(result, name) for name in names}})


def _check_position(exam: Examination, check: str, edit: FaceEdit, number: int, corners: NDArray[np.float32]) -> None:
    """Check that the edit overlaps the mouth, whose corners are ``corners`` (float32 [2, 2], in frame pixels).

    The mouth height is assumed to equal the mouth width.
    """
    bounds = edited_bounds(edit)
    if bounds is None or not np.isfinite(corners).all():
        return
    middle, half = corners.mean(0), float(np.linalg.norm(corners[1] - corners[0])) / 2
    mouth = np.concatenate([middle - half, middle + half])
    if (bounds[2:] < mouth[:2]).any() or (bounds[:2] > mouth[2:]).any():
        words = f"the edit of frame {number} covers {_format_box(bounds)}, but the mouth covers {_format_box(mouth)}"
        exam.problem(check, words, _POSITION)


def _format_box(box: NDArray[np.float32]) -> str:
    return f"x {box[0]:.0f} to {box[2]:.0f}, y {box[1]:.0f} to {box[3]:.0f}"


def _check_edit(exam: Examination, check: str, edit: FaceEdit, number: int, frame: NDArray[np.uint8]) -> bool:
    """Record the problems of an edit and return whether the edit can be pasted into the frame."""
    of_frame = f"of frame {number}"
    image: object = edit.image
    if wrong := array_error(image, np.uint8, (None, None, 3), "[h, w, 3]") or _empty_error(image):
        exam.problem(check, f"image {of_frame} {wrong}", _IMAGE)
        return False
    size = edit.image.shape[:2]
    usable = True
    for name, value, shape, axes, contract in (
        ("mask", edit.mask, size, "[h, w]", _MASK),
        ("matrix", edit.matrix, (2, 3), "[2, 3]", _MATRIX),
    ):
        wrong = array_error(value, np.float32, shape, axes)
        if not wrong:
            wrong = range_error(value, 0.0, 1.0) if name == "mask" else _matrix_error(value)
        if wrong:
            exam.problem(check, f"{name} {of_frame} {wrong}", contract)
            usable = False
    if edit.unrounded_image is not None:
        wrong = array_error(edit.unrounded_image, np.float32, (*size, 3), "[h, w, 3]") or range_error(
            edit.unrounded_image, 0.0, 1.0
        )
        if not wrong and (apart := float(np.abs(edit.unrounded_image * 255 - edit.image).max())) > 1.01:
            wrong = f"differs from the image by up to {apart:.1f} grey levels"
        if wrong:
            exam.problem(check, f"unrounded_image {of_frame} {wrong}", _UNROUNDED)
    if wrong := range_error(np.asarray(edit.confidence, np.float64), 0.0, 1.0):
        exam.problem(check, f"confidence {of_frame} {wrong}", _CONFIDENCE)
    elif edit.confidence < _CONFIDENT and not edit.reason:
        exam.problem(check, f"confidence {of_frame} is {edit.confidence:.2f}, but reason is empty", _CONFIDENCE)
    if usable:
        try:
            composite(frame.copy(), edit)
        except Exception as error:  # any exception would abort a run
            exam.problem(check, f"the edit {of_frame} cannot be pasted: {one_line(error, exam.module)}", _MATRIX)
            return False
    return usable


def _matrix_error(matrix: NDArray[Any]) -> str:
    if wrong := range_error(matrix, -1e9, 1e9):
        return wrong
    return "" if abs(float(np.linalg.det(matrix[:, :2]))) > 1e-12 else "cannot be inverted"


def _empty_error(image: object) -> str:
    return "has no pixels" if not cast("NDArray[Any]", image).size else ""
