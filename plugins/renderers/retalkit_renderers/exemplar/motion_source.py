"""Mouth motion that the driver predicts for the output frames."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray
from retalkit.errors import RunCancelledError
from retalkit.speech.displayed_motion import displayed_motion
from retalkit.stages import MouthMotion, Speech, SpeechToMouth, StageContext, Timeline

Float = NDArray[np.float32]

CHUNK = 250
_NAMES = tuple(each.name for each in fields(MouthMotion))


@contextmanager
def motion_ahead(
    driver: SpeechToMouth | None, speech: Speech, timeline: Timeline, context: StageContext
) -> Generator[Callable[[], tuple[MouthMotion, NDArray[np.float64]]]]:
    """Call the driver in a thread during the block. Provides a function that waits for the ``requested_motion``."""
    ended = threading.Event()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="mouth motion") as executor:
        try:
            yield executor.submit(
                requested_motion, driver, speech, timeline, lambda: ended.is_set() or context.cancelled
            ).result
        finally:
            ended.set()


def requested_motion(
    driver: SpeechToMouth | None, speech: Speech, timeline: Timeline, cancelled: Callable[[], bool] = lambda: False
) -> tuple[MouthMotion, NDArray[np.float64]]:
    """Return the motion and the times of all output frames.

    The driver is called in chunks to limit memory use. Raises RunCancelledError between chunks if ``cancelled()``
    returns True.
    """
    if driver is None:
        raise ValueError("exemplar was built without a driver; pass the driver in Runtime.drivers")
    columns: dict[str, list[Float]] = {name: [] for name in _NAMES}
    times: list[NDArray[np.float64]] = []
    for start in range(0, timeline.count, CHUNK):
        if cancelled():
            raise RunCancelledError("the run was cancelled; repeat the call to resume the run")
        chunk_times = timeline.times(start, min(start + CHUNK, timeline.count))
        motion = displayed_motion(driver, speech, chunk_times)
        times.append(np.asarray(chunk_times, np.float64))
        for name in _NAMES:
            columns[name].append(np.asarray(getattr(motion, name), np.float32))
    joined = {name: np.concatenate(parts) if parts else np.zeros(0, np.float32) for name, parts in columns.items()}
    return MouthMotion(**joined), np.concatenate(times) if times else np.zeros(0)
