"""Faults of stages: which stage it was, whose, and where in its code; and what of its results would do harm later."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from retalkit.errors import RetalkitError, StageError
from retalkit.stages import FaceEdit, FrameResult, ReferenceBatch

_HINT: Final = "a fault of that stage: retalkit.testing.check_stage tells more"


_NO_IMAGES: Final = "; `references.images` is None, because its needs do not name `reference:image`"


@contextmanager
def blamed(label: str, stage: object, references: ReferenceBatch | None = None) -> Generator[None]:
    """Turns an error inside into StageError, one line with ``label`` and the line of the stage's own code.

    Errors that a user can mend, and those of disk and memory, pass as they are. ``stage``: the stage or its session;
    ``references``: what it was given.
    """
    try:
        yield
    except (RetalkitError, StageError, OSError, MemoryError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        # What is not named is not given: the commonest None of all.
        asked = references is not None and references.images is None and "NoneType" in text
        where = place(error, type(stage).__module__)
        raise StageError(
            f"{label} failed: {type(error).__name__}: {text}{where}{_NO_IMAGES if asked else ''}; {_HINT}"
        ) from error


def checked(results: Sequence[FrameResult], count: int, label: str) -> list[FrameResult]:
    """The results as a list. Raises StageError where they are not one for each of ``count`` frames, or an edit has
    another type, shape or range than its contract says."""
    found = list(results)
    if len(found) != count:
        raise StageError(f"{label} gave {len(found)} results for {count} frames; {_HINT}")
    for result in found:
        if isinstance(result, FaceEdit) and (fault := _fault(result)):
            raise StageError(f"{label} gave an edit whose {fault}; {_HINT}")
    return found


def _fault(edit: FaceEdit) -> str:
    image: Any = edit.image
    mask: Any = edit.mask
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        return f"image is {image.dtype} {list(image.shape)}, not uint8 [h, w, 3]"
    if mask.dtype != np.float32 or mask.shape != image.shape[:2]:
        return f"mask is {mask.dtype} {list(mask.shape)}, not float32 {list(image.shape[:2])}"
    if mask.size and not (mask.min() >= 0 and mask.max() <= 1):
        return f"mask goes from {mask.min():.9g} to {mask.max():.9g}, not within [0, 1]"
    if np.shape(edit.matrix) != (2, 3):
        return f"matrix has the shape {list(np.shape(edit.matrix))}, not [2, 3]"
    return ""


def place(error: BaseException, module: str, *, only_own: bool = False) -> str:
    """`` (file, line n)``: the innermost line of the package of ``module`` that the error came through; without one
    the innermost of all, or with ``only_own`` nothing."""
    file = getattr(sys.modules.get(module), "__file__", None)
    frames = traceback.extract_tb(error.__traceback__)
    if file is not None:
        # A module without a package lies among strangers.
        packed = "." in module or Path(file).name == "__init__.py"
        home = f"{Path(file).parent}{os.sep}" if packed else file
        own = [frame for frame in frames if frame.filename.startswith(home)]
        frames = own if own or only_own else frames
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
