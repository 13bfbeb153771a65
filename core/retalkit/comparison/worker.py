"""One task in a process of its own: makes the video if it is not there, then scores its cells.

A process of its own has its own peak of memory, and one that is killed takes nothing else with it. Started as
``python -m retalkit.comparison.worker TASK.json``; exit code 2 and one line for what a user can mend.
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

from retalkit.comparison.cell_store import CellStore
from retalkit.comparison.tasks import not_asked
from retalkit.comparison.unedited import encode_unedited
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
    """Exit code: 0 done, 2 something that the user can mend, with one line on stderr."""
    _end_with_parent()
    task = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    try:
        run(task)
    except RetalkitError as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return 2
    return 0


def _end_with_parent() -> None:
    """A comparison that was killed is started again, and must not find somebody at the same video. What this process
    leaves is whole or not there."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(_ORPHANED)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def run(task: dict[str, Any]) -> None:
    """Raises RetalkitError for what a user can mend."""
    registry = discover([Path(path) for path in task["plugins"]])
    store = CellStore(Path(task["out"]), task["measured_by"])
    config = RunConfig.model_validate(task["configuration"])
    clip, speech = Path(task["clip"]), Path(task["speech"])
    video = store.video(task["key"])
    # The record comes last: a run that was killed between the two is made again, for what it costs.
    finished = video.is_file() and (task["unedited"] or video.with_name(video.name + ".json").is_file())
    if not finished:
        video.parent.mkdir(parents=True, exist_ok=True)
        _make(task, registry, config, clip, speech, video)
    sources = source_frames(clip, open_sound(speech).duration, config.length, config.extend)
    opener = SceneOpener(registry, Cache(Path(task["cache"])), SilentObserver())
    metrics = [registry.metric(name) for name in task["metrics"]]
    for cell in task["cells"]:
        asked = [found for found in metrics if not not_asked(found, cell["arm"])]
        wanted = [found for found in asked if store.score(cell["key"], found) is None]
        if not wanted:
            continue
        scene = opener.scene(
            video,
            frozenset(cell["ports"]),
            original=clip,
            sources=sources,
            sound=None if cell["sound"] is None else pcm(Path(cell["sound"])),
            reference=None if cell["reference"] is None else Path(cell["reference"]),
            record=None if task["unedited"] else video.with_name(video.name + ".json"),
            folder=store.cell(cell["key"]),
            device=config.device,
        )
        for name, given in score(scene, wanted, SilentObserver()).items():
            store.put_score(cell["key"], registry.metric(name), given)


def _make(task: dict[str, Any], registry: Registry, config: RunConfig, clip: Path, speech: Path, video: Path) -> None:
    if task["unedited"]:
        encode_unedited(clip, speech, video, config)
        return
    # Imported here: scoring alone needs none of it.
    from retalkit.pipeline.run import dub

    if not task["rerun"]:
        dub(clip, speech, video, config=config, registry=registry, cache=Path(task["cache"]), force=True)
        return
    # From nothing: a cache of its own, empty also where an earlier call was killed, and which nobody needs afterwards.
    own = video.parent / "cache"
    shutil.rmtree(own, ignore_errors=True)
    try:
        dub(clip, speech, video, config=config, registry=registry, cache=own, force=True)
    finally:
        shutil.rmtree(own, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
