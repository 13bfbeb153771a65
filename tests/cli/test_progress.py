"""Progress output during a run and the summary after it."""

from __future__ import annotations

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from retalkit.cli import progress as progress_module
from retalkit.cli.progress import WHOLE_RUN, BarProgress, make_bars, progress
from retalkit.cli.summary import summary
from retalkit.observer import Observer, SilentObserver
from retalkit.pipeline.record import RunRecord
from rich.console import Console
from rich.progress import TaskID


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(observer: Observer) -> None:
    observer.started("speech", 5)
    observer.finished("speech", 0.1, cached=True)
    observer.started("speech", 5)
    observer.finished("speech", 0.5, cached=False)
    observer.started("render", 100)
    observer.advanced("render", 40)
    observer.note("the video is shorter")
    observer.finished("render", 2.0, cached=False)
    observer.started("join", None)
    observer.advanced("join", 1)
    observer.finished("join", 0.5, cached=False)
    observer.finished("never started", 0.0, cached=False)


def test_lines_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "LINE_SECONDS", 0.0)
    stream = io.StringIO()
    with progress(stream=stream) as observer:
        run(observer)
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "speech: from the cache\n" in text
    assert "speech: 5 s of audio in 0.5 s, 10.0 x real time\n" in text
    assert "render: 40 of 100 frames, " in text
    assert "frames/s" in text
    assert "render: 100 frames in 2.0 s, 50.0 frames/s\n" in text
    assert "note: the video is shorter\n" in text
    assert "join: done in 0.5 s\n" in text


def test_time_left_of_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "LINE_SECONDS", 0.0)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    for stream, expected in ((io.StringIO(), ", 1 min 20 s left in total\n"), (Terminal(), "1 min 20 s left")):
        with progress(stream=stream, verbose=True) as observer:
            observer.time_left(80.0, 0.2)
            observer.started("render", 100)
            observer.advanced("render", 40)
            observer.detail("output: h264")
            observer.time_left(79.6, 0.25)
        text = stream.getvalue()
        assert expected in text and "output: h264" in text


def test_lines_are_rate_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    with progress(stream=stream) as observer:
        observer.started("render", 1000)
        for done in range(1000):
            observer.advanced("render", done)
    assert stream.getvalue() == ""


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    with progress(stream=stream) as observer:
        run(observer)
    text = stream.getvalue()
    assert "render" in text
    assert "100 frames in 2.0 s, 50.0 frames/s" in text
    assert "from the cache" in text
    assert "note: the video is shorter" in text


def test_quiet_prints_nothing() -> None:
    stream = io.StringIO()
    with progress(quiet=True, stream=stream) as observer:
        assert isinstance(observer, SilentObserver)
        run(observer)
    assert stream.getvalue() == ""


def test_summary_has_paths_frame_counts_and_cost() -> None:
    record = RunRecord(
        output=Path("out.mp4"),
        record=Path("out.mp4.json"),
        frames_edited=90,
        frames_passed={"no face": 3, "large yaw": 7},
        frames_faded={"occluded": 2},
        preview={"from": 0.5, "to": 3.5, "size": [640, 360]},
        seconds={"speech": 0.5, "render": 3.0},
        cached_steps=["speech"],
        wall_seconds=4.0,
        output_seconds=5.0,
        realtime_factor=1.25,
        peak_memory_bytes=300 * 2**20,
    )
    text = summary(record)
    for part in (
        "out.mp4 (5.00 s)",
        "out.mp4.json",
        "preview  0.50 to 3.50 s, 640x360",
        "90 edited, 10 unedited (large yaw: 7, no face: 3); faded edits (occluded: 2)",
        "speech cached, render 3.0",
        "1.25 x real time (4.0 s in total), peak memory 300 MiB",
    ):
        assert part in text


@pytest.mark.parametrize("width", [20, 40, 100])
def test_bars_fit_the_terminal(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    bars = make_bars(console)
    observer = BarProgress(bars)
    observer.started("faces", 1500)
    observer.advanced("faces", 750)
    console.print(bars.get_renderable())
    words = console.file.getvalue().split()  # type: ignore[attr-defined]
    assert [word for word in words if "\u2501" not in word] == ["faces", "750/1500", "frames"]


def test_steps_that_start_at_the_same_time_share_the_display(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    bars = make_bars(console)
    observer = BarProgress(bars)
    observer.time_left(5.0, 0.5)
    remove, removed = bars.remove_task, threading.Event()

    def slowly(task: TaskID) -> None:
        remove(task)
        removed.set()
        time.sleep(0.1)

    monkeypatch.setattr(bars, "remove_task", slowly)
    with ThreadPoolExecutor(1) as executor:
        first = executor.submit(observer.started, "faces", 10)
        assert removed.wait(60)
        observer.started("speech", 10)
        first.result()
    assert [task.description for task in bars.tasks] == ["faces", "speech", WHOLE_RUN]
    observer.finished("faces", 0.1, False)
    observer.finished("speech", 0.0, True)
    observer.time_left(0.0, 1.0)
    assert bars.finished
