"""Where the asked mouth motion comes from: a speech-to-mouth driver or a file."""

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


def asked_motion(
    config: ExemplarConfig, driver: SpeechToMouth | None, speech: Speech, timeline: Timeline
) -> tuple[MouthMotion, NDArray[np.float64]]:
    """The motion of all output frames, and their times. Asked in chunks fixed by position, so that memory stays small.

    Raises ConfigError when the motion file cannot be used.
    """
    if config.motion is not None:
        at = _from_file(config.motion)
    elif driver is not None:
        at = _from_speech(driver, speech)
    else:
        raise ValueError("exemplar was built without its driver: pass it in Runtime.drivers")
    columns: dict[str, list[Float]] = {name: [] for name in _NAMES}
    times: list[NDArray[np.float64]] = []
    for start in range(0, timeline.count, CHUNK):
        here = timeline.times(start, min(start + CHUNK, timeline.count))
        motion = at(here)
        times.append(np.asarray(here, np.float64))
        for name in _NAMES:
            columns[name].append(np.asarray(getattr(motion, name), np.float32))
    joined = {name: np.concatenate(parts) if parts else np.zeros(0, np.float32) for name, parts in columns.items()}
    return MouthMotion(**joined), np.concatenate(times) if times else np.zeros(0)


def _from_speech(driver: SpeechToMouth, speech: Speech) -> MotionAt:
    def at(times: NDArray[np.float64]) -> MouthMotion:
        return driver.motion(speech, times)

    return at


def _from_file(path: Path) -> MotionAt:
    arrays = read_motion_file(path)

    def at(times: NDArray[np.float64]) -> MouthMotion:
        rows = {name: np.interp(times, arrays["times"], arrays[name]).astype(np.float32) for name in _NAMES}
        return MouthMotion(**rows)

    return at


def read_motion_file(path: Path) -> dict[str, NDArray[np.float64]]:
    """Arrays times, opening, width, protrusion, closure and speech of an .npz file, float64 [N], times rising.

    Raises ConfigError that names the file and what is wrong with it.
    """
    wanted = ("times", *_NAMES)
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: np.asarray(stored[name], np.float64) for name in wanted if name in stored}
    except (OSError, ValueError) as error:
        raise ConfigError(f"motion file {path} cannot be read ({error}): give an .npz file") from error
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise ConfigError(f"motion file {path} lacks {', '.join(missing)}: it needs the arrays {', '.join(wanted)}")
    length = len(arrays["times"]) if arrays["times"].ndim == 1 else 0
    if not length or any(array.shape != (length,) for array in arrays.values()):
        raise ConfigError(f"motion file {path}: all arrays must have one dimension and the same length, at least 1")
    if not all(np.isfinite(array).all() for array in arrays.values()) or (np.diff(arrays["times"]) <= 0).any():
        raise ConfigError(f"motion file {path}: times must rise and all values be finite")
    return arrays
