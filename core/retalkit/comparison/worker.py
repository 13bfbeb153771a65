"""Task of a worker: render a video of the comparison if the video does not exist, and score its cells."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retalkit.batch.worker import TaskContext
from retalkit.comparison.anchor_video import encode_anchor
from retalkit.comparison.cell_store import CellStore
from retalkit.comparison.tasks import skip_reason
from retalkit.config.model import RunConfig
from retalkit.media.sound import open_sound, pcm
from retalkit.metrics.open_scene import SceneOpener, source_frames
from retalkit.metrics.scoring import score
from retalkit.observer import SilentObserver
from retalkit.plugins.registry import Registry
from retalkit.storage.cache import Cache


def run(task: Mapping[str, Any], context: TaskContext) -> Mapping[str, Any]:
    """Run one task, as described by ``retalkit.comparison.tasks.task_payload``. All results are stored in files.

    Raises RetalkitError for user errors.
    """
    registry = context.state.registry(task["plugins"])
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
    return {}


def _render(
    task: Mapping[str, Any], registry: Registry, config: RunConfig, clip: Path, speech: Path, video: Path
) -> None:
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
