"""Comparison workers forked from one process with the imports done, which take most of the time of short tasks."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import cast

from retalkit.comparison.cell_store import CellStore
from retalkit.comparison.tasks import Task

PRELOADED = [
    "retalkit.comparison.worker",
    "retalkit.pipeline.run",
    "retalkit_denoisers.rnnoise",
    "retalkit_detectors.mediapipe_mesh",
    "retalkit_enhancers.detail",
    "retalkit_metrics.lips",
    "retalkit_metrics.sharpness",
    "retalkit_reconstructors.shallow",
    "retalkit_renderers.exemplar.syncer",
    "scipy.ndimage",
    "skimage.transform",
]
"""Modules of the default stages and metrics."""


class ForkedWorker:
    """The part of the interface of ``subprocess.Popen`` that ``retalkit.comparison.scheduling`` uses."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def terminate(self) -> None:
        self._process.terminate()

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode


def start_forked(task: Task, text: Callable[[Task], str], store: CellStore, folder: Path) -> ForkedWorker:
    """Replacement of ``retalkit.comparison.scheduling._start``."""
    file = folder / f"{task.key}.json"
    file.write_text(text(task), encoding="utf-8")
    log = store.log(task.key)
    log.parent.mkdir(parents=True, exist_ok=True)
    context = cast(ForkServerContext, multiprocessing.get_context("forkserver"))
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_work, args=(str(file), str(log), dict(os.environ)))
    process.start()
    return ForkedWorker(process)


def _work(file: str, log: str, environment: dict[str, str]) -> None:
    with open(log, "wb") as output:  # noqa: PTH123
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    from retalkit.comparison.worker import main

    sys.exit(main([file]))
