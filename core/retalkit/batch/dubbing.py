"""Tasks of a batch, which workers execute: analysis of a clip, preparation of a speech, and one job."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from retalkit.batch.check import fingerprint
from retalkit.batch.gates import evaluate_gates
from retalkit.batch.worker import TaskContext
from retalkit.config.model import RunConfig
from retalkit.cues.sheet_file import read_sheet
from retalkit.errors import OutputError, RetalkitError, RunCancelledError, StageError
from retalkit.media.sound import open_sound
from retalkit.media.sources import open_source
from retalkit.pipeline.analysis_store import LimitedSource
from retalkit.pipeline.clip_persons import find_persons
from retalkit.pipeline.keys import analysis_keys, speech_key
from retalkit.pipeline.plan import plan
from retalkit.pipeline.record import RunRecord
from retalkit.pipeline.run import dub
from retalkit.pipeline.steps import ClipSteps
from retalkit.storage.cache import Cache, content_hash

ANALYSE: Final = "retalkit.batch.dubbing:analyse_clip"
SPEECH: Final = "retalkit.batch.dubbing:prepare_speech"
JOB: Final = "retalkit.batch.dubbing:run_job"
_WAIT_SECONDS: Final = 120.0
"""Time in seconds that a job waits while another run writes its output."""
_WAIT_INTERVAL: Final = 1.0


def analyse_clip(payload: Mapping[str, Any], context: TaskContext) -> Mapping[str, Any]:
    """Detect, track and fit the face of a video, or find all persons for a job with cues.

    ``payload``: ``configuration``, ``plugins``, ``cache``, ``folder`` (working directory), ``video``, ``frames``
    (number of frames to analyse), and ``cues`` with ``speech`` (paths or None).
    """
    steps = _steps(payload, context)
    video = Path(payload["video"])
    source = open_source(video)
    limited = LimitedSource(source, int(payload["frames"]))
    if payload["cues"] is None:
        keys = analysis_keys(steps.plan, content_hash(video), limited.info.frame_count)
        steps.fit(steps.track(limited, keys, video), keys)
    else:
        speech = payload["speech"]
        sheet = read_sheet(Path(payload["cues"]), None if speech is None else Path(speech))
        images = any(sheet.persons[name].image is not None for name in sheet.names)
        find_persons(steps, limited, content_hash(video), always_describe=images)
    source.close()
    return {"cost": steps.timer.cost, "cached_steps": steps.timer.cached_steps}


def prepare_speech(payload: Mapping[str, Any], context: TaskContext) -> Mapping[str, Any]:
    """Denoise a speech and detect its voice activity. ``payload``: as of ``analyse_clip``, with ``speech``."""
    steps = _steps(payload, context)
    path = Path(payload["speech"])
    steps.speech(open_sound(path), speech_key(steps.plan, content_hash(path)))
    return {"cost": steps.timer.cost, "cached_steps": steps.timer.cached_steps}


def run_job(payload: Mapping[str, Any], context: TaskContext) -> Mapping[str, Any]:
    """Dub a video and evaluate the quality gates.

    ``payload``: as of ``analyse_clip``, with ``output``, ``force``, ``render`` (False if only the gates are missing),
    ``gates`` (limits), ``reference`` and ``transcript``.
    """
    _enter(payload)
    registry = context.state.registry(payload["plugins"])
    config = RunConfig.model_validate(payload["configuration"])
    output, cache = Path(payload["output"]), Path(payload["cache"])
    result: dict[str, Any] = {}
    if payload["render"]:

        def render() -> RunRecord:
            return dub(
                Path(payload["video"]),
                _path(payload["speech"]),
                output,
                cues=_path(payload["cues"]),
                config=config,
                registry=registry,
                observer=context.observer,
                cache=cache,
                force=bool(payload["force"]),
                pool=context.state.pool,
                cancellation=context.state.cancellation,
                # Other workers may be reading the entries that are least recently used.
                prune_cache=False,
                other_inputs=[Path(path) for path in payload["plugins"]],
            )

        record = _when_free(render, context)
        result = {
            "frames_edited": record.frames_edited,
            "frames_passed": record.frames_passed,
            "output_seconds": record.output_seconds,
            "wall_seconds": record.wall_seconds,
            "cost": record.cost,
            "cached_steps": record.cached_steps,
            "peak_memory_bytes": record.peak_memory_bytes,
            "notes": record.notes,
            "hashes": {
                str(Path(path).absolute()): record.inputs[f"{name}_sha256"]
                for name, path in record.inputs.items()
                if f"{name}_sha256" in record.inputs
            },
        }
    try:
        gates = evaluate_gates(payload["gates"], output, _steps(payload, context), registry, payload)
    except (RetalkitError, StageError) as error:
        # The output is complete, so that the job has not failed.
        gates = [{"gate": "gates", "verdict": "review", "text": " ".join(str(error).split()), "frames": []}]
    return {**result, "gates": gates, "output_stat": fingerprint(output)}


def _when_free(render: Callable[[], RunRecord], context: TaskContext) -> RunRecord:
    """Call ``render``, and wait while another run writes the output.

    A worker of which the driver believes that it died, because its node cannot be reached, may still run the job.
    """
    limit = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            return render()
        except OutputError as error:
            if error.code != "output-in-use" or time.monotonic() > limit:
                raise
        if context.state.cancellation.wait(_WAIT_INTERVAL):
            raise RunCancelledError("the run was cancelled")


def _steps(payload: Mapping[str, Any], context: TaskContext) -> ClipSteps:
    _enter(payload)
    config = RunConfig.model_validate(payload["configuration"])
    chosen = plan(config, context.state.registry(payload["plugins"]))
    cache = Cache(Path(payload["cache"]))
    return ClipSteps(chosen, cache, context.observer, context.state.pool, context.state.cancellation)


def _enter(payload: Mapping[str, Any]) -> None:
    """Change to the driver's working directory, to which paths in the configuration are relative."""
    folder = payload["folder"]
    if Path(folder).is_dir():
        os.chdir(folder)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
