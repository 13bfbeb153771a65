"""Execution of a complete run. The pipeline executes its steps in order and caches each step's result."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from retalkit.config import RunConfig
from retalkit.media.encoding import SegmentWriter, output_time_base
from retalkit.media.muxing import check_output
from retalkit.media.sound import SoundSource, open_sound
from retalkit.media.sources import MediaSource, open_source
from retalkit.media.timeline import OutputTimeline, build_timeline
from retalkit.observer import Observer, SilentObserver
from retalkit.photo_motion.animator import PhotoAnimator
from retalkit.pipeline.analysis_store import LimitedSource, StoredAnalysis, analysed_part
from retalkit.pipeline.face_job import FaceJob, open_face_job
from retalkit.pipeline.finish import finish, make_finishers
from retalkit.pipeline.keys import RunKeys, run_keys
from retalkit.pipeline.output_plan import OutputPlan, plan_output
from retalkit.pipeline.output_sound import PlacedSpeech
from retalkit.pipeline.photo import photo_animators
from retalkit.pipeline.plan import Plan, plan
from retalkit.pipeline.record import RecordingObserver, RunRecord, complete_record, record_cost
from retalkit.pipeline.render import Rendering, edited_times, render
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import Registry
from retalkit.provenance.sidecars import UNSIGNED, check_sidecar, remove_stale_sidecar
from retalkit.speech.speech_track import SpeechTrack
from retalkit.stages import ObjectPool
from retalkit.storage.cache import Cache, content_hash, default_folder


def dub(
    video: Path | str,
    speech: Path | str,
    output: Path | str,
    *,
    config: RunConfig | None = None,
    registry: Registry | None = None,
    observer: Observer | None = None,
    cache: Path | None = None,
    force: bool = False,
    pool: ObjectPool | None = None,
    cancellation: threading.Event | None = None,
) -> RunRecord:
    """Lip-sync a video or still image to ``speech`` and write the result to ``output`` with the speech as the audio
    track.

    All inputs are validated before processing starts. The output is written atomically together with a run record
    (JSON). An interrupted or cancelled run is resumed by calling ``dub`` again with identical inputs.

    ``pool`` keeps stages and networks loaded between runs in one process. Setting ``cancellation`` stops the run
    between batches.

    Raises ConfigError, PluginError, PlanError, InputError or OutputError with a one-line message that explains how to
    fix the error. Raises StageError if a stage has a bug, and RunCancelledError if the run is cancelled.
    """
    registry = registry if registry is not None else discover()
    config = config if config is not None else RunConfig.from_preset("embedded", registry=registry)
    run = _Run(Path(video), Path(speech), Path(output), config, registry, observer or SilentObserver(), cache, force)
    return run.execute(pool, cancellation)


class _Run:
    """State of one run. ``execute`` contains the pipeline steps in order."""

    def __init__(
        self,
        video: Path,
        speech: Path,
        output: Path,
        config: RunConfig,
        registry: Registry,
        observer: Observer,
        cache: Path | None,
        force: bool,
    ) -> None:
        self.started = time.perf_counter()
        self.video, self.audio, self.output = video, speech, output
        self.config = config
        self.registry = registry
        self.force = force
        self.record = RunRecord(output=output, record=output.with_name(output.name + ".json"), seed=config.seed)
        self.observer: Observer = RecordingObserver(observer, self.record)
        self.cache_folder = cache if cache is not None else default_folder()

    def execute(self, pool: ObjectPool | None, cancellation: threading.Event | None) -> RunRecord:
        """Run all steps and return the record."""
        chosen = plan(self.config, self.registry)
        check_output(self.output, force=self.force, inputs=(self.video, self.audio))
        check_sidecar(self.output, self.config.provenance, force=self.force)
        source, sound = open_source(self.video), open_sound(self.audio)
        output = plan_output(self.config, source, self.output, (self.video, self.audio), force=self.force)
        finishers = make_finishers(chosen.finishers, self.observer)
        self.note([] if self.config.provenance.sign else [UNSIGNED])
        steps = ClipSteps(chosen, Cache(self.cache_folder), self.observer, pool, cancellation)
        # These stages are constructed first so that a stage with invalid files fails before other work starts. The
        # analysis stages are constructed on demand, because their results are often cached.
        for stage in chosen.pixel_stages:
            steps.make(stage)
        self.note((*source.warnings, *sound.warnings, *output.notes))
        timeline = build_timeline(source, sound.duration, self.config.length, self.config.extend)
        self.note([timeline.note] if timeline.note else [])
        limited = analysed_part(source, timeline, self.config.analysis_seconds)
        video_hash, audio_hash = content_hash(self.video), content_hash(self.audio)
        frames = limited.info.frame_count
        keys = run_keys(
            chosen, video=video_hash, audio=audio_hash, frames=frames, timeline=timeline, is_photo=source.info.is_photo
        )

        analysis, speech = self.analyse(steps, limited, sound, keys)
        with open_face_job(chosen, steps, keys, analysis, timeline, speech) as job:
            animators = photo_animators(source, [(analysis, speech)], timeline, steps)
            rendering = self.render(steps, source, [job], animators, timeline, keys, output)
            record_cost(self.record, chosen, keys, steps, job.watch, rendering.rendered, timeline.count)
        self.note(source.warnings)
        self.complete(chosen, steps, rendering, timeline, {"video": video_hash, "speech": audio_hash})
        with steps.timer.step("join", None):
            placed = PlacedSpeech(source=sound, speech=speech)
            track = output.sound.track([placed], timeline.duration, output.audio, steps.cancellation.is_set)
            self.note(output.sound.notes)
            finish(
                rendering.segments,
                track,
                self.record,
                finishers,
                video=self.video,
                speech=self.audio,
                duration=timeline.duration,
                time_base=output_time_base(timeline.time_base),
                frames=timeline.count,
                colour=source.colour,
                kept=output.kept,
            )
        remove_stale_sidecar(self.output, self.config.provenance)
        self.complete(chosen, steps, rendering, timeline, {"video": video_hash, "speech": audio_hash})
        self.record.save()
        steps.cache.prune(self.config.cache_limit_bytes, keep=keys.all())
        return self.record

    def analyse(
        self, steps: ClipSteps, limited: LimitedSource, sound: SoundSource, keys: RunKeys
    ) -> tuple[StoredAnalysis, SpeechTrack]:
        """Detect, track and fit the face. The speech is processed concurrently in a thread, because neither task
        requires the other's result."""
        stopped = threading.Event()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="speech") as executor:
            prepared = executor.submit(
                steps.speech, sound, keys.speech, lambda: stopped.is_set() or steps.cancellation.is_set()
            )
            try:
                analysis = steps.track(limited, keys.analysis, self.video)
                analysis = steps.fit(analysis, keys.analysis)
                return analysis, prepared.result()
            finally:
                stopped.set()

    def render(
        self,
        steps: ClipSteps,
        source: MediaSource,
        jobs: list[FaceJob],
        animators: list[PhotoAnimator],
        timeline: OutputTimeline,
        keys: RunKeys,
        output: OutputPlan,
    ) -> Rendering:
        """Edit and encode all frames."""
        time_base = output_time_base(timeline.time_base)

        def open_writer(path: Path) -> SegmentWriter:
            return SegmentWriter(
                path,
                source.size,
                source.colour,
                source.rate,
                time_base,
                output.encoding,
                sample_aspect=source.sample_aspect,
            )

        folder = steps.cache.entry(keys.pixels)
        with steps.timer.step("render", timeline.count, folder, store_cost=False) as step:
            rendering = render(
                source,
                jobs,
                timeline,
                open_writer,
                folder,
                self.observer,
                steps.cancellation.is_set,
                output.encoding.pixel_format,
                animators,
            )
            if not rendering.rendered:
                step.cached()
        return rendering

    def note(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.observer.note(text)

    def complete(
        self, chosen: Plan, steps: ClipSteps, rendering: Rendering, timeline: OutputTimeline, hashes: dict[str, str]
    ) -> None:
        """Add the results of the run to the record."""
        self.record.frames_edited = rendering.counts.edited
        self.record.frames_faded = dict(rendering.counts.faded)
        self.record.frames_passed = dict(rendering.counts.passed)
        self.record.edits = edited_times(rendering.counts, timeline, [str(self.config.face)])
        self.record.inputs = {
            "video": str(self.video),
            "video_sha256": hashes["video"],
            "speech": str(self.audio),
            "speech_sha256": hashes["speech"],
        }
        wall_seconds = time.perf_counter() - self.started
        complete_record(self.record, chosen, steps.timer, timeline.duration, wall_seconds)
