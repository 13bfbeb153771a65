"""A caller can stop a run between batches; the same call resumes it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import retalkit
from retalkit.errors import RunCancelledError
from retalkit.observer import SilentObserver


class CancelAt(SilentObserver):
    """Sets the event when a step has advanced to a unit."""

    def __init__(self, step: str, unit: int) -> None:
        self.step, self.unit = step, unit
        self.cancellation = threading.Event()

    def advanced(self, step: str, done: int) -> None:
        if step == self.step and done >= self.unit:
            self.cancellation.set()


@pytest.mark.parametrize(("step", "unit"), [("faces", 10), ("render", 10)])
def test_cancelled_run_leaves_no_output_and_resumes(
    moving_head: Path, short_speech: Path, tmp_path: Path, step: str, unit: int
) -> None:
    observer = CancelAt(step, unit)
    output, cache = tmp_path / "out.mp4", tmp_path / "cache"
    with pytest.raises(RunCancelledError):
        retalkit.dub(
            moving_head, short_speech, output, cache=cache, observer=observer, cancellation=observer.cancellation
        )
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    record = retalkit.dub(moving_head, short_speech, output, cache=cache)
    assert record.frames_edited == 50
    assert ("faces" in record.cached_steps) == (step == "render")


def test_cancellation_before_the_run_does_no_work(moving_head: Path, short_speech: Path, tmp_path: Path) -> None:
    cancellation = threading.Event()
    cancellation.set()
    with pytest.raises(RunCancelledError) as error:
        retalkit.dub(
            moving_head, short_speech, tmp_path / "out.mp4", cache=tmp_path / "cache", cancellation=cancellation
        )
    assert error.value.code == "cancelled"
    assert not (tmp_path / "out.mp4").exists()
