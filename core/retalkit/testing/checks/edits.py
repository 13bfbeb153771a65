"""Checks of the new pixels that lip syncers and enhancers give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from retalkit.geometry.schemes import POINTS5, convert
from retalkit.imaging.compositing import composite, edited_bounds
from retalkit.stages import FaceBatch, FaceEdit, FrameResult, PassedThrough
from retalkit.testing.checks.values import Row, misfit, out_of_range, taken
from retalkit.testing.examination import Examination, StopCheckError, one_line

_IMAGE = "FaceEdit.image is RGB uint8 [h, w, 3]."
_MASK = "FaceEdit.mask is float32 [h, w] in [0, 1], as large as the image."
_MATRIX = "FaceEdit.matrix is float32 [2, 3]: pixels of the frame to pixels of the image."
_PLACE = (
    "An edit meets the mouth. FaceEdit.matrix maps pixels of the frame to pixels of the image: [[1, 0, -left], "
    "[0, 1, -top]] for one that was cut out at column left and row top."
)
_CONFIDENCE = "FaceEdit.confidence is in [0, 1], and FaceEdit.reason says in a short phrase why it is low."
_EXACT = "FaceEdit.unrounded_image is float32 [h, w, 3] in [0, 1]: the image before it was rounded; or None."
_REASON = "PassedThrough.reason is a short phrase that the run record counts."
_SURE = 0.999


def looked_at(
    exam: Examination, check: str, call: str, given: object, numbers: Sequence[int], faces: FaceBatch, scheme: str
) -> list[FrameResult]:
    """The results, one for each number; notes what is wrong. Raises StopCheckError where they are of no use.

    ``faces``: what was edited, in landmarks of that ``scheme``. Where edits lie is looked at in ``result`` alone: the
    faces of other checks are cut off or nobody's.
    """
    contract = f"{call} gives a list with one FaceEdit or PassedThrough for each frame."
    if not isinstance(given, list):
        exam.problem(check, f"{call} gave {type(given).__name__}", contract)
        raise StopCheckError
    results = cast("list[object]", given)
    if len(results) != len(numbers):
        exam.problem(check, f"{call} gave {len(results)} results for {len(numbers)} frames", contract)
        raise StopCheckError
    corners = convert(faces.landmarks, scheme, POINTS5)[:, 3:, :2]
    for result, number, image, mouth in zip(results, numbers, faces.frames.images, corners, strict=True):
        if isinstance(result, FaceEdit):
            if _look_at_edit(exam, check, result, number, image) and check == "result":
                _look_at_place(exam, check, result, number, mouth)
        elif not isinstance(result, PassedThrough):
            exam.problem(check, f"{call} gave {type(result).__name__} for frame {number}", contract)
            raise StopCheckError
        elif not str(result.reason).strip():
            exam.problem(check, f"frame {number} passed through without a reason", _REASON)
    return cast("list[FrameResult]", results)


def as_row(result: FrameResult) -> Row:
    """The result as plain values of its own that can be compared."""
    if isinstance(result, PassedThrough):
        return {"result": f"passed through: {result.reason}"}
    names = ("image", "mask", "matrix", "unrounded_image", "confidence", "reason")
    return taken({"result": "edit", **{name: getattr(result, name) for name in names}})


def _look_at_place(exam: Examination, check: str, edit: FaceEdit, number: int, corners: NDArray[np.float32]) -> None:
    """``corners`` float32 [2, 2]: those of the mouth. The mouth is taken to be as high as it is wide."""
    there = edited_bounds(edit)
    if there is None or not np.isfinite(corners).all():
        return
    middle, half = corners.mean(0), float(np.linalg.norm(corners[1] - corners[0])) / 2
    mouth = np.concatenate([middle - half, middle + half])
    if (there[2:] < mouth[:2]).any() or (there[:2] > mouth[2:]).any():
        words = f"the edit of frame {number} lies at {_place(there)}; the mouth is at {_place(mouth)}"
        exam.problem(check, words, _PLACE)


def _place(box: NDArray[np.float32]) -> str:
    return f"x {box[0]:.0f} to {box[2]:.0f}, y {box[1]:.0f} to {box[3]:.0f}"


def _look_at_edit(exam: Examination, check: str, edit: FaceEdit, number: int, frame: NDArray[np.uint8]) -> bool:
    """Notes what is wrong with an edit; returns whether it can be pasted."""
    of_frame = f"of frame {number}"
    image: object = edit.image
    if wrong := misfit(image, np.uint8, (None, None, 3), "[h, w, 3]") or _empty(image):
        exam.problem(check, f"image {of_frame} {wrong}", _IMAGE)
        return False
    size = edit.image.shape[:2]
    sound = True
    for name, value, shape, axes, contract in (
        ("mask", edit.mask, size, "[h, w]", _MASK),
        ("matrix", edit.matrix, (2, 3), "[2, 3]", _MATRIX),
    ):
        wrong = misfit(value, np.float32, shape, axes)
        if not wrong:
            wrong = out_of_range(value, 0.0, 1.0) if name == "mask" else _useless(value)
        if wrong:
            exam.problem(check, f"{name} {of_frame} {wrong}", contract)
            sound = False
    if edit.unrounded_image is not None:
        wrong = misfit(edit.unrounded_image, np.float32, (*size, 3), "[h, w, 3]") or out_of_range(
            edit.unrounded_image, 0.0, 1.0
        )
        if not wrong and (apart := float(np.abs(edit.unrounded_image * 255 - edit.image).max())) > 1.01:
            wrong = f"is up to {apart:.1f} grey levels away from the image"
        if wrong:
            exam.problem(check, f"exact {of_frame} {wrong}", _EXACT)
    if wrong := out_of_range(np.asarray(edit.confidence, np.float64), 0.0, 1.0):
        exam.problem(check, f"confidence {of_frame} {wrong}", _CONFIDENCE)
    elif edit.confidence < _SURE and not edit.reason:
        exam.problem(check, f"confidence {of_frame} is {edit.confidence:.2f}, without a reason", _CONFIDENCE)
    if sound:
        try:
            composite(frame.copy(), edit)
        except Exception as error:  # whatever it is, the run would end with it
            exam.problem(check, f"the edit {of_frame} cannot be pasted: {one_line(error, exam.module)}", _MATRIX)
            return False
    return sound


def _useless(matrix: NDArray[Any]) -> str:
    if wrong := out_of_range(matrix, -1e9, 1e9):
        return wrong
    return "" if abs(float(np.linalg.det(matrix[:, :2]))) > 1e-12 else "cannot be inverted"


def _empty(image: object) -> str:
    return "has no pixels" if not cast("NDArray[Any]", image).size else ""
