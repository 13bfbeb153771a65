"""Workers forked from one process with the imports done, which take most of the time of short tasks."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any, cast

PRELOADED = [
    "retalkit.batch.dubbing",
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


class ForkedContext:
    """The part of the interface of a multiprocessing context that ``retalkit.batch.local`` uses."""

    def __init__(self) -> None:
        self._context = cast(ForkServerContext, multiprocessing.get_context("forkserver"))
        self._context.set_forkserver_preload(PRELOADED)

    def Pipe(self) -> tuple[Connection, Connection]:  # noqa: N802
        return self._context.Pipe()

    def Process(  # noqa: N802
        self, *, target: Callable[..., None], args: tuple[Any, ...], name: str, daemon: bool
    ) -> ForkServerProcess:
        return self._context.Process(
            target=_with_environment, args=(dict(os.environ), target, args), name=name, daemon=daemon
        )


def _with_environment(environment: Mapping[str, str], target: Callable[..., None], args: tuple[Any, ...]) -> None:
    """Call ``target`` with the environment of the test instead of the environment of the fork server."""
    os.environ.clear()
    os.environ.update(environment)
    target(*args)
