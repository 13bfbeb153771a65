"""Worker process for one task, which renders the task's video if it does not exist and scores the task's cells.

Each task runs in a separate process, so that peak memory is measured per task and a killed process does not affect
other tasks. The process is started as ``python -m retalkit.comparison.worker TASK.json``. For a user error, the process
prints one line to stderr and exits with code 2.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from retalkit.comparison.anchor_video import encode_anchor
from retalkit.comparison.cell_store import CellStore
from retalkit.comparison.tasks import skip_reason
from retalkit.config.model import RunConfig
from retalkit.errors import RetalkitError
from retalkit.media.sound import open_sound, pcm
from retalkit.metrics.open_scene import SceneOpener, source_frames
from retalkit.metrics.scoring import score
from retalkit.observer import SilentObserver
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import Registry
from retalkit.storage.cache import Cache

_WATCH_SECONDS: Final = 0.5
_ORPHANED: Final = 3


def main(arguments: list[str]) -> int:
    """Run the task file passed as the only argument. Return exit code 0 for success or 2 for a user error."""
    _end_with_parent()
    task = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    try:
        run(task)
    except RetalkitError as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return 2
    return 0


def _end_with_parent() -> None:
    """Exit when the parent process ends, so that a restarted comparison does not render a video that this process is
    still rendering.

    All files are written atomically, so the process leaves no partial files.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(_ORPHANED)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def run(task: dict[str, Any]) -> None:
    """Run one task. Raises RetalkitError for user errors."""
    registry = discover([Path(path) for path in task["plugins"]])
    store = CellStore(Path(task["out"]), task["measured_by"])
    config = RunConfig.model_validate(task["configuration"])
    clip, speech = Path(task["clip"]), Path(task["speech"])
    video = store.video(task["key"])
    # The run record contains the costs and is written last. A video without a run record is rendered again.
    finished = video.is_file() and (task["is_anchor"] or video.with_name(video.name + ".json").is_file())
    if not finished:
        video.parent.mkdir(parents=True, exist_ok=True)
        _render(task, registry, config, clip, speech, video)
    sources = source_frames(clip, open_sound(speech).duration, config.length, config.extend)
    opener = SceneOpener(registry, Cache(Path(task["cache"])), SilentObserver())
    metrics = [registry.metric(name) for name in task["metrics"]]
    for cell in task["cells"]:
        applicable = [found for found in metrics if not skip_reason(found, cell["arm"])]
        missing = [found for found in applicable if store.score(cell["key"], found) is None]
        if not missing:
            continue
        scene = opener.scene(
            video,
            frozenset(cell["ports"]),
            original=clip,
            sources=sources,
            sound=None if cell["sound"] is None else pcm(Path(cell["sound"])),
            reference=None if cell["reference"] is None else Path(cell["reference"]),
            record=None if task["is_anchor"] else video.with_name(video.name + ".json"),
            folder=store.cell(cell["key"]),
            device=config.device,
        )
        for name, given in score(scene, missing, SilentObserver()).items():
            store.put_score(cell["key"], registry.metric(name), given)


def _render(task: dict[str, Any], registry: Registry, config: RunConfig, clip: Path, speech: Path, video: Path) -> None:
    if task["is_anchor"]:
        encode_anchor(clip, speech, video, config)
        return
    # Lazy import, because scoring does not require the pipeline.
    from retalkit.pipeline.run import dub

    if not task["rerun"]:
        dub(clip, speech, video, config=config, registry=registry, cache=Path(task["cache"]), force=True)
        return
    # A rerun uses an empty temporary cache. A killed process may have left its temporary cache behind.
    temporary = video.parent / "cache"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        dub(clip, speech, video, config=config, registry=registry, cache=temporary, force=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
