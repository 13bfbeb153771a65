"""Kinds of jobs: inspection, preview, rendering, mouth motion and blind comparison. Runs in the worker process."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from retalkit_web.mouth_track import mouth_tracks
from retalkit_web.run_request import PreparedRun, RunRequest, driver_overrides, parse_request, prepare_run
from retalkit_web.scrub import scrub_all, scrub_session
from retalkit_web.sessions import Session
from retalkit_web.settings import WebError

if TYPE_CHECKING:
    from retalkit.pipeline.preview import Preview
    from retalkit.plugins.registry import Registry
    from retalkit.stages import ObjectPool

    from retalkit_web.worker import JobEvents

_PREVIEW_PIXELS: Final = 640
PLAYABLE: Final = ".playable"
"""Directory of a converted copy. Names of uploaded files do not begin with a dot."""
_MOTION_RATE: Final = 100.0


@dataclass(frozen=True, slots=True)
class RunningJob:
    """Job with everything that it needs in the worker process."""

    request: RunRequest
    session: Session
    folder: Path
    """Directory of the job's files."""
    registry: Registry
    pool: ObjectPool
    """Stages and networks that stay loaded between jobs."""
    cancellation: threading.Event
    events: JobEvents


JobFunction = Callable[[RunningJob], dict[str, Any]]


def _prepare(job: RunningJob) -> PreparedRun:
    prepared = prepare_run(job.request, job.session, job.folder, job.registry)
    (job.folder / "run-file.yaml").write_text(prepared.run_file, encoding="utf-8")
    return prepared


def inspect(job: RunningJob) -> dict[str, Any]:
    """Return the inspection as plain data. The images are written to the directory ``images``."""
    from retalkit.inspection.inspect import inspect as run
    from retalkit.inspection.model import to_json

    prepared = _prepare(job)
    found = run(
        prepared.video,
        prepared.speech,
        cues=prepared.sheet,
        config=prepared.config,
        registry=job.registry,
        observer=job.events,
        cache=job.session.cache,
        pool=job.pool,
        cancellation=job.cancellation,
    )
    images = job.folder / "images"
    images.mkdir(exist_ok=True)
    for picture in found.pictures():
        (images / f"{picture.name}.jpg").write_bytes(picture.data)
    data = to_json(found)
    data.pop("configuration")
    data["mouths"] = mouth_tracks(
        prepared.video,
        prepared.config,
        job.registry,
        job.session.cache,
        job.pool,
        job.cancellation,
        found.video.inspected,
    )
    data["playable"] = _playable_copy(prepared.video, job)
    return data


def _playable_copy(video: Path, job: RunningJob) -> bool:
    """Convert a video that browsers cannot play, once per file. Return whether there is a converted copy."""
    from retalkit_web.playable import convert

    if job.session.file(job.request.video).playable:
        return False
    copy = video.parent / PLAYABLE
    target = copy / ("photo.jpg" if job.session.file(job.request.video).kind == "photo" else "video.mp4")
    if not target.exists():
        copy.mkdir(exist_ok=True)
        convert(video, target, job.cancellation)
    return True


def preview(job: RunningJob) -> dict[str, Any]:
    """Render a few seconds at a reduced size."""
    from retalkit.pipeline.preview import Preview

    prepared = _prepare(job)
    _require_speech(prepared)
    # The preview must be playable in every browser, whatever the codec of the output.
    output = prepared.config.output.model_copy(
        update={"codec": "h264", "pixel_format": "yuv420p", "bit_depth": "auto", "audio": "aac", "keep": "none"}
    )
    # Times after the end of the output select its last seconds.
    duration = _duration(prepared, job)
    part = Preview(seconds=job.request.seconds, at=min(job.request.at, duration), longest=_PREVIEW_PIXELS)
    config = prepared.config.model_copy(update={"output": output})
    return _dub(replace(prepared, config=config), job, "mp4", part)


def _duration(prepared: PreparedRun, job: RunningJob) -> float:
    """Return a time in seconds that is not after the end of the output."""
    video = job.session.file(job.request.video)
    speeches = [job.session.file(each.speech).seconds for each in job.request.people]
    if prepared.sheet is not None and video.kind == "video":
        return video.seconds
    if prepared.config.length == "video" and video.kind == "video":
        return video.seconds
    longest = max(speeches, default=0.0)
    if video.kind == "video" and prepared.config.extend == "cut":
        return min(longest, video.seconds)
    return longest


def render(job: RunningJob) -> dict[str, Any]:
    """Render the whole output."""
    prepared = _prepare(job)
    _require_speech(prepared)
    suffix = {"prores": "mov", "ffv1": "mkv"}.get(prepared.config.output.codec, "mp4")
    result = _dub(prepared, job, suffix, None)
    from retalkit.provenance.verification import verify

    from retalkit_web.playable import browsers_play, convert

    output = job.folder / f"output.{suffix}"
    verified = scrub_all(verify(output).as_dict(), job.session.folder)
    (job.folder / "credentials.json").write_text(json.dumps(verified, indent=2, default=str), encoding="utf-8")
    if not browsers_play(output):
        convert(output, job.folder / "playable.mp4", job.cancellation)
        result["playable"] = "playable.mp4"
    return result


def _require_speech(prepared: PreparedRun) -> None:
    if prepared.speech is None and prepared.sheet is None:
        raise WebError("no person has a speech; add a speech first", code="missing-speech")


def _dub(prepared: PreparedRun, job: RunningJob, suffix: str, part: Preview | None) -> dict[str, Any]:
    from retalkit.pipeline.run import dub

    output = job.folder / f"output.{suffix}"
    record = dub(
        prepared.video,
        prepared.speech,
        output,
        cues=prepared.sheet,
        config=prepared.config,
        registry=job.registry,
        observer=job.events,
        cache=job.session.cache,
        force=True,
        pool=job.pool,
        cancellation=job.cancellation,
        preview=part,
    )
    return {
        "output": output.name,
        "playable": output.name,
        "seconds": record.output_seconds,
        "wall_seconds": record.wall_seconds,
        "edited": record.frames_edited,
        "passed": record.frames_passed,
        "faded": record.frames_faded,
        "notes": record.notes,
        "part": record.preview,
        "bytes": output.stat().st_size,
    }


def motion(job: RunningJob) -> dict[str, Any]:
    """Predict the mouth motion of the first speech, and write the motion file ``motion.csv``."""
    from retalkit.media.motion_files import write_motion
    from retalkit.pipeline.motion import motion as predict

    if not job.request.people:
        raise WebError("no person has a speech; add a speech first", code="missing-speech")
    prepared = _prepare(job)
    speech = job.session.path(job.session.file(job.request.people[0].speech))
    table = predict(
        speech,
        config=prepared.config,
        rate=_MOTION_RATE,
        registry=job.registry,
        observer=job.events,
        cache=job.session.cache,
    )
    write_motion(job.folder / "motion.csv", table)
    curves = {
        name: [round(float(value), 4) for value in getattr(table.motion, name)]
        for name in ("opening", "closure", "speech")
    }
    return {"rate": _MOTION_RATE, "count": len(table.times), **curves}


def compare(job: RunningJob) -> dict[str, Any]:
    """Compare finished variants with ``retalkit compare``, which writes the blind voting page."""
    from retalkit.comparison.publish import publish
    from retalkit.comparison.run import compare as run
    from retalkit.config.yaml_io import write
    from retalkit.errors import RunCancelledError

    variants: dict[str, dict[str, Any]] = {}
    for number, other in enumerate(job.request.others):
        folder = job.session.jobs / other
        stored = json.loads((folder / "job.json").read_text(encoding="utf-8"))["request"]
        request = parse_request(stored)
        if request.has_cues:
            raise WebError(
                "the comparison supports neither a range nor the selection of one of several persons; select variants "
                "of the whole video with one person",
                code="invalid-request",
            )
        variants[stored.get("name") or f"variant {number + 1}"] = _configuration_of(request, folder, job)
    if len(variants) < 2:
        raise WebError("select at least two variants with different names", code="invalid-request")
    seeds = {data.pop("seed", 0) for data in variants.values()}
    if len(seeds) > 1:
        raise WebError("the variants have different seeds; select variants with the same seed", code="invalid-request")
    (base_name, base), *others = variants.items()
    spec = {
        "title": "Blind comparison",
        "clips": {"clip": str(job.session.path(job.session.file(job.request.video)))},
        "speeches": {"speech": str(job.session.path(job.session.file(job.request.people[0].speech)))},
        "arms": ["speech"],
        "base": base,
        "base_name": base_name,
        "seeds": [*seeds],
        "variants": {name: _differences(base, data) for name, data in others},
        # The votes are what counts here. A comparison requires at least one metric.
        "metrics": ["face"],
        "reruns": 0,
    }
    file = job.folder / "comparison.yaml"
    file.write_text(write(spec), encoding="utf-8")
    if job.cancellation.is_set():
        raise RunCancelledError("the comparison was cancelled")
    output = job.folder / "comparison"
    outcome = run(file, output, job.registry, job.events, plugins=[], cache=job.session.cache, force=True)
    publish(outcome.results, output, outcome.faces, job.events)
    for page in output.glob("*.html"):
        page.write_text(scrub_session(page.read_text(encoding="utf-8"), job.session.folder), encoding="utf-8")
    return {"page": "comparison/blind.html", "failed": outcome.failed}


def _configuration_of(request: RunRequest, folder: Path, job: RunningJob) -> dict[str, Any]:
    """Return the run file of a finished variant with its motion file or transcript. ``folder``: the variant's job."""
    from retalkit.config.model import load
    from retalkit.config.yaml_io import read_file

    data, _ = read_file(folder / "run.yaml")
    data.pop("cache_limit_gb", None)
    for override in driver_overrides(request, job.session, folder, job.registry):
        place, value = override[0], override[1]
        syncer = data.get("lip_syncer", load(job.registry, file=folder / "run.yaml").lip_syncer.use)
        syncer = {"use": syncer} if isinstance(syncer, str) else syncer
        data["lip_syncer"] = {**syncer, place.removeprefix("lip_syncer."): value}
    return data


def _differences(base: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if base.get(key) != value}


KINDS: Final[dict[str, JobFunction]] = {
    "inspect": inspect,
    "preview": preview,
    "render": render,
    "motion": motion,
    "compare": compare,
}
