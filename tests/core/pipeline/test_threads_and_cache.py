"""Runs in two threads, and a run with a damaged cache, which computes the damaged results again."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from retalkit.pipeline.run import dub

from tests.packets import Packets, packets


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: tuple[Callable[[Path], None], ...] = (_truncate, _flip, _empty, _replace_by_directory)


def _process_state() -> tuple[Any, ...]:
    files = [Path(f"/proc/self/fd/{number}").readlink() for number in (1, 2)] if Path("/proc/self/fd").is_dir() else []
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    streams = (sys.stdout, sys.stderr)
    return (Path.cwd(), dict(os.environ), streams, files, handlers, list(warnings.filters), logging.getLogger().level)


@pytest.fixture(scope="module")
def finished(
    moving_head: Path, short_speech: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, Packets]:
    """Directory with the outputs and caches of two runs in two threads, one cache, and the packets of its output."""
    folder = tmp_path_factory.mktemp("finished")

    def run(name: str) -> None:
        dub(moving_head, short_speech, folder / f"{name}.mp4", cache=folder / name)

    before = _process_state()
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(run, ("first", "second")))
    assert _process_state() == before
    return folder, folder / "first", packets(folder / "first.mp4")


def test_two_threads_yield_the_same_output(finished: tuple[Path, Path, Packets]) -> None:
    folder, _, content = finished
    assert packets(folder / "second.mp4") == content


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, len(DAMAGES)))]
)
def test_every_damaged_file_is_computed_again(
    finished: tuple[Path, Path, Packets], moving_head: Path, short_speech: Path, tmp_path: Path, first: int
) -> None:
    _, whole, content = finished
    cache = tmp_path / "cache"
    shutil.copytree(whole, cache)
    files = sorted(path for path in cache.rglob("*") if path.is_file() and path.stat().st_size)
    assert len(files) > 20
    for number, path in enumerate(files, start=first):
        DAMAGES[number % len(DAMAGES)](path)
    entry = min(path for path in cache.iterdir() if path.is_dir())
    shutil.rmtree(entry)
    entry.write_text("a file instead of an entry", encoding="utf-8")
    record = dub(moving_head, short_speech, tmp_path / "out.mp4", cache=cache)
    assert record.cached_steps == []
    assert packets(tmp_path / "out.mp4") == content
