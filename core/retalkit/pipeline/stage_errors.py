"""Attribution of exceptions to stages and source lines, validation of stage results, and cancellation."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from retalkit.errors import RetalkitError, RunCancelledError, StageError
from retalkit.stages import FaceEdit, FrameResult, ReferenceBatch

_HINT: Final = "this indicates a bug in the stage; test the stage with retalkit.testing.check_stage"


_NO_IMAGES: Final = "; `references.images` is None because `reference:image` is missing from the stage's `needs`"


@contextmanager
def attribute_errors(label: str, stage: object, references: ReferenceBatch | None = None) -> Generator[None]:
    """Convert an exception raised in the block to a StageError whose one-line message contains ``label`` and the source
    line.

    User errors, cancellation, disk errors and memory errors are propagated unchanged. ``stage`` is the stage or its
    session. ``references`` is the reference batch that the stage received.
    """
    try:
        yield
    except (RetalkitError, RunCancelledError, StageError, OSError, MemoryError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        # An unexpected None usually means that the stage reads a port that is missing from the spec's ``needs``.
        asked = references is not None and references.images is None and "NoneType" in text
        where = error_location(error, type(stage).__module__)
        raise StageError(
            f"{label} failed: {type(error).__name__}: {text}{where}{_NO_IMAGES if asked else ''}; {_HINT}"
        ) from error


def validate_results(results: Sequence[FrameResult], count: int, label: str) -> list[FrameResult]:
    """Return the validated results as a list.

    Raises StageError if the number of results differs from the number of frames, or if an edit has an invalid dtype,
    shape or value range.
    """
    found = list(results)
    if len(found) != count:
        raise StageError(f"{label} returned {len(found)} results for {count} frames; {_HINT}")
    for result in found:
        if isinstance(result, FaceEdit) and (fault := _fault(result)):
            raise StageError(f"{label} returned an edit whose {fault}; {_HINT}")
    return found


def _fault(edit: FaceEdit) -> str:
    image: Any = edit.image
    mask: Any = edit.mask
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        return f"image is {image.dtype} {list(image.shape)}, expected uint8 [h, w, 3]"
    if mask.dtype != np.float32 or mask.shape != image.shape[:2]:
        return f"mask is {mask.dtype} {list(mask.shape)}, expected float32 {list(image.shape[:2])}"
    if mask.size and not (mask.min() >= 0 and mask.max() <= 1):
        return f"mask has values from {mask.min():.9g} to {mask.max():.9g}, expected values in [0, 1]"
    if np.shape(edit.matrix) != (2, 3):
        return f"matrix has shape {list(np.shape(edit.matrix))}, expected [2, 3]"
    return ""


def error_location(error: BaseException, module: str, *, only_own: bool = False) -> str:
    """Return `` (file, line n)`` for the innermost traceback frame in the package that contains ``module``.

    If the traceback contains no such frame, return the innermost frame of any package, or an empty string if
    ``only_own`` is True.
    """
    file = getattr(sys.modules.get(module), "__file__", None)
    frames = traceback.extract_tb(error.__traceback__)
    if file is not None:
        # A module outside a package may share its directory with unrelated files.
        packed = "." in module or Path(file).name == "__init__.py"
        home = f"{Path(file).parent}{os.sep}" if packed else file
        own = [frame for frame in frames if frame.filename.startswith(home)]
        frames = own if own or only_own else frames
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def check_cancelled(cancelled: Callable[[], bool]) -> None:
    """Raise RunCancelledError if the caller has requested cancellation."""
    if cancelled():
        raise RunCancelledError("the run was cancelled; repeat the call to resume the run")
