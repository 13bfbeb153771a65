"""Work on a run that another process has started: the speech, detection of some parts, rendering of some segments."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from retalkit.config.model import RunConfig
from retalkit.media.sound import SoundSource, open_sound
from retalkit.media.sources import MediaSource, VideoSource, open_source
from retalkit.media.timeline import build_timeline
from retalkit.observer import SilentObserver
from retalkit.pipeline.analysis_store import LimitedSource, analysed_part
from retalkit.pipeline.detection_parts import FrameDetections, parts_of, save_part
from retalkit.pipeline.output_plan import plan_output
from retalkit.pipeline.plan import plan
from retalkit.pipeline.preview import whole_output
from retalkit.pipeline.run_helpers import Claims, DetectionRequest, RenderRequest, SpeechRequest
from retalkit.pipeline.run_rendering import open_jobs, segment_renderer
from retalkit.pipeline.single_run import prepare_run
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.registry import Registry
from retalkit.stages import ObjectPool
from retalkit.storage.cache import Cache


class _SpeechProgress(SilentObserver):
    """Observer that forwards the progress of the step ``speech``."""

    def __init__(self, advanced: Callable[[int], None]) -> None:
        self._advanced = advanced

    def advanced(self, step: str, done: int) -> None:
        self._advanced(done)


def speech_share(
    request: SpeechRequest,
    registry: Registry,
    heard: Callable[[int], None],
    *,
    pool: ObjectPool | None = None,
    cancellation: threading.Event | None = None,
) -> None:
    """Denoise the speech, unless another process has claimed it. ``heard`` receives the number of processed seconds.

    Raises RunCancelledError if the run is cancelled.
    """
    config, observer = RunConfig.model_validate(request.configuration), _SpeechProgress(heard)
    steps = ClipSteps(plan(config, registry), Cache(Path(request.cache)), observer, pool, cancellation)
    for _ in Claims(Path(request.claims)).claimed([0]):
        steps.speech(_sound(Path(request.speech), config.speech_track, steps.pool), request.key)


def detect_share(
    request: DetectionRequest,
    registry: Registry,
    detected: Callable[[int], None],
    *,
    pool: ObjectPool | None = None,
    cancellation: threading.Event | None = None,
) -> None:
    """Detect parts of a clip, starting with the last part, until all parts are claimed.

    ``detected`` receives the number of processed frames. Raises RunCancelledError if the run is cancelled.
    """
    config = RunConfig.model_validate(request.configuration)
    steps = ClipSteps(plan(config, registry), Cache(Path(request.cache)), SilentObserver(), pool, cancellation)
    source = LimitedSource(_source(Path(request.video), request.frame_memory, steps.pool), request.frames)
    detector = steps.part_detector(source, steps.cache.entry(request.key))
    parts, folder = parts_of(source, request.frames), Path(request.claims)
    done = 0
    for number in Claims(folder).claimed(reversed(range(len(parts)))):
        frames: list[FrameDetections] = []
        for batch in detector.detect(*parts[number]):
            frames += batch
            detected(done + len(frames))
        done += len(frames)
        save_part(folder, number, frames)


def prepare_render_share(request: RenderRequest, registry: Registry, pool: ObjectPool) -> None:
    """Open the files and construct the stages of ``render_share``, which takes them from the pool."""
    config = RunConfig.model_validate(request.configuration)
    chosen = plan(config, registry)
    _source(Path(request.video), request.frame_memory, pool)
    _sound(Path(request.speech), config.speech_track, pool)
    steps = ClipSteps(chosen, Cache(Path(request.cache)), SilentObserver(), pool)
    for stage in chosen.pixel_stages:
        steps.make(stage)


def render_share(
    request: RenderRequest,
    registry: Registry,
    rendered: Callable[[int], None],
    *,
    pool: ObjectPool | None = None,
    cancellation: threading.Event | None = None,
) -> None:
    """Render segments until all segments are claimed, starting at ``request.begin``.

    Every process renders ascending segments, because the decoder of a video must start at a keyframe after each jump.
    The analysis and the speech are read from the cache. ``rendered`` receives the number of rendered frames.

    Raises RunCancelledError if the run is cancelled, and the errors of ``retalkit.pipeline.run.dub``.
    """
    config = RunConfig.model_validate(request.configuration)
    video, layer = Path(request.video), None if request.layer is None else Path(request.layer)
    steps = ClipSteps(plan(config, registry), Cache(Path(request.cache)), SilentObserver(), pool, cancellation)
    source = _source(video, request.frame_memory, steps.pool)
    sound = _sound(Path(request.speech), config.speech_track, steps.pool)
    timeline = build_timeline(source, sound.duration, config.length, config.extend)
    prepared = prepare_run(steps, analysed_part(source, timeline, config.analysis_seconds), sound, timeline, video)
    with ExitStack() as stack:
        jobs, animators = open_jobs(stack, steps, prepared, timeline, source)
        output = plan_output(config, source, Path(request.output), (), force=True, layer=layer)
        window = whole_output(timeline, source.size)
        renderer = segment_renderer(steps, source, jobs, animators, window, prepared.keys.pixels, output)
        stored = renderer.stored()
        missing = [number for number in range(len(renderer.segments)) if number not in stored]
        begin = int(request.begin * len(missing))
        renderer.render(Claims(Path(request.claims)).claimed(missing[begin:] + missing[:begin]), rendered)


def _source(video: Path, frame_memory: int, pool: ObjectPool) -> MediaSource:
    """Return the video of a run, which all tasks of the process share together with its decoded frames."""

    def opened() -> MediaSource:
        source = open_source(video)
        if isinstance(source, VideoSource):
            source.keep_frames(frame_memory)
        return source

    return pool.get(("source", video), opened)


def _sound(path: Path, track: int | None, pool: ObjectPool) -> SoundSource:
    return pool.get(("sound", path, track), lambda: open_sound(path, track))
