"""Loading of the requested mouth motion from a speech-to-mouth driver or from a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from retalkit.errors import ConfigError
from retalkit.stages import MouthMotion, Speech, SpeechToMouth, Timeline

from retalkit_renderers.exemplar.config import ExemplarConfig

Float = NDArray[np.float32]
MotionAt = Callable[[NDArray[np.float64]], MouthMotion]

CHUNK = 250
_NAMES = tuple(each.name for each in fields(MouthMotion))


def requested_motion(
    config: ExemplarConfig, driver: SpeechToMouth | None, speech: Speech, timeline: Timeline
) -> tuple[MouthMotion, NDArray[np.float64]]:
    """Return the motion and the times of all output frames.

    The driver is called in chunks to limit memory use. Raises ConfigError if the motion file cannot be used.
    """
    if config.motion is not None:
        motion_at = _from_file(config.motion)
    elif driver is not None:
        motion_at = _from_speech(driver, speech)
    else:
        raise ValueError("exemplar was built without its driver: pass it in Runtime.drivers")
    columns: dict[str, list[Float]] = {name: [] for name in _NAMES}
    times: list[NDArray[np.float64]] = []
    for start in range(0, timeline.count, CHUNK):
        chunk_times = timeline.times(start, min(start + CHUNK, timeline.count))
        motion = motion_at(chunk_times)
        times.append(np.asarray(chunk_times, np.float64))
        for name in _NAMES:
            columns[name].append(np.asarray(getattr(motion, name), np.float32))
    joined = {name: np.concatenate(parts) if parts else np.zeros(0, np.float32) for name, parts in columns.items()}
    return MouthMotion(**joined), np.concatenate(times) if times else np.zeros(0)


def _from_speech(driver: SpeechToMouth, speech: Speech) -> MotionAt:
    def motion_at(times: NDArray[np.float64]) -> MouthMotion:
        return driver.motion(speech, times)

    return motion_at


def _from_file(path: Path) -> MotionAt:
    arrays = read_motion_file(path)

    def motion_at(times: NDArray[np.float64]) -> MouthMotion:
        rows = {name: np.interp(times, arrays["times"], arrays[name]).astype(np.float32) for name in _NAMES}
        return MouthMotion(**rows)

    return motion_at


def read_motion_file(path: Path) -> dict[str, NDArray[np.float64]]:
    """Return the arrays times (ascending), opening, width, protrusion, closure and speech of an .npz file, float64 [N].

    Raises ConfigError if the file is invalid. The error message contains the path and the defect.
    """
    required = ("times", *_NAMES)
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: np.asarray(stored[name], np.float64) for name in required if name in stored}
    except (OSError, ValueError) as error:
        message = f"cannot read the motion file {path} ({error}): it must be an .npz file"
        raise ConfigError(message, code="unreadable-file") from error
    missing = [name for name in required if name not in arrays]
    if missing:
        message = f"motion file {path} lacks {', '.join(missing)}: it needs the arrays {', '.join(required)}"
        raise ConfigError(message, code="invalid-motion-file")
    length = len(arrays["times"]) if arrays["times"].ndim == 1 else 0
    if not length or any(array.shape != (length,) for array in arrays.values()):
        message = f"motion file {path}: all arrays must have one dimension and the same length, at least 1"
        raise ConfigError(message, code="invalid-motion-file")
    if not all(np.isfinite(array).all() for array in arrays.values()) or (np.diff(arrays["times"]) <= 0).any():
        message = f"motion file {path}: times must ascend and all values be finite"
        raise ConfigError(message, code="invalid-motion-file")
    return arrays
