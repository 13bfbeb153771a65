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

_IMAGE = "FaceEdit.image is RGB uint8 [h, w, 3]."
_MASK = "FaceEdit.mask is float32 [h, w] in [0, 1], of the size of the image."
_MATRIX = "FaceEdit.matrix is float32 [2, 3]: pixels of the frame to pixels of the image."
_POSITION = (
    "An edit overlaps the mouth. FaceEdit.matrix maps pixels of the frame to pixels of the image: [[1, 0, -left], "
    "[0, 1, -top]] for a crop at column left and row top."
)
_CONFIDENCE = "FaceEdit.confidence is in [0, 1], and FaceEdit.reason is a short phrase for a low one."
_UNROUNDED = "FaceEdit.unrounded_image is float32 [h, w, 3] in [0, 1]: the image before rounding; or None."
_REASON = "PassedThrough.reason is a short phrase that the run record counts."
_CONFIDENT = 0.999


def check_edits(
    exam: Examination, check: str, call: str, result: object, numbers: Sequence[int], faces: FaceBatch, scheme: str
) -> list[FrameResult]:
    """Record problems and return the results, one per number. Raises StopCheckError if the results are unusable.

    ``faces`` contains the edited faces with landmarks of ``scheme``. The edit position is compared with the mouth
    position only in the check ``result``, because other clips contain cropped faces or no faces.
    """
    contract = f"{call} returns a list with one FaceEdit or PassedThrough per frame."
    if not isinstance(result, list):
        exam.problem(check, f"{call} returned {type(result).__name__}", contract)
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
            exam.problem(check, f"{call} returned {type(edit).__name__} for frame {number}", contract)
            raise StopCheckError
        elif not str(edit.reason).strip():
            exam.problem(check, f"frame {number} passed through without a reason", _REASON)
    return cast("list[FrameResult]", results)


def as_row(result: FrameResult) -> Row:
    """Return the result as a row of comparable values."""
    if isinstance(result, PassedThrough):
        return {"result": f"passed through: {result.reason}"}
    names = ("image", "mask", "matrix", "unrounded_image", "confidence", "reason")
    return copy_row({"result": "edit", **{name: getattr(result, name) for name in names}})


def _check_position(exam: Examination, check: str, edit: FaceEdit, number: int, corners: NDArray[np.float32]) -> None:
    """Check that the edit overlaps the mouth with the corners ``corners`` (float32 [2, 2]).

    The mouth height is assumed to equal the mouth width.
    """
    bounds = edited_bounds(edit)
    if bounds is None or not np.isfinite(corners).all():
        return
    middle, half = corners.mean(0), float(np.linalg.norm(corners[1] - corners[0])) / 2
    mouth = np.concatenate([middle - half, middle + half])
    if (bounds[2:] < mouth[:2]).any() or (bounds[:2] > mouth[2:]).any():
        words = f"the edit of frame {number} is at {_format_box(bounds)}; the mouth is at {_format_box(mouth)}"
        exam.problem(check, words, _POSITION)


def _format_box(box: NDArray[np.float32]) -> str:
    return f"x {box[0]:.0f} to {box[2]:.0f}, y {box[1]:.0f} to {box[3]:.0f}"


def _check_edit(exam: Examination, check: str, edit: FaceEdit, number: int, frame: NDArray[np.uint8]) -> bool:
    """Record the problems of an edit and return whether the edit can be composited into the frame."""
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
            wrong = f"is up to {apart:.1f} grey levels from the image"
        if wrong:
            exam.problem(check, f"unrounded_image {of_frame} {wrong}", _UNROUNDED)
    if wrong := range_error(np.asarray(edit.confidence, np.float64), 0.0, 1.0):
        exam.problem(check, f"confidence {of_frame} {wrong}", _CONFIDENCE)
    elif edit.confidence < _CONFIDENT and not edit.reason:
        exam.problem(check, f"confidence {of_frame} is {edit.confidence:.2f}, without a reason", _CONFIDENCE)
    if usable:
        try:
            composite(frame.copy(), edit)
        except Exception as error:  # any exception would end a run
            exam.problem(check, f"the edit {of_frame} cannot be pasted: {one_line(error, exam.module)}", _MATRIX)
            return False
    return usable


def _matrix_error(matrix: NDArray[Any]) -> str:
    if wrong := range_error(matrix, -1e9, 1e9):
        return wrong
    return "" if abs(float(np.linalg.det(matrix[:, :2]))) > 1e-12 else "cannot be inverted"


def _empty_error(image: object) -> str:
    return "has no pixels" if not cast("NDArray[Any]", image).size else ""
