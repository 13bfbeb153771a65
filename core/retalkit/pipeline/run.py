"""Execution of a complete run. The pipeline executes its steps in order and caches each step's result."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import partial
from pathlib import Path

from retalkit.config import RunConfig
from retalkit.cues.model import CueSheet
from retalkit.cues.sheet_file import read_sheet
from retalkit.cues.validation import check_cues
from retalkit.errors import CueError, OutputError
from retalkit.media.containers import check_file
from retalkit.media.encoding import output_time_base
from retalkit.media.frame_memory import frame_memory
from retalkit.media.layer import write_layer
from retalkit.media.muxing import check_output
from retalkit.media.sound import SoundSource, open_sound
from retalkit.media.sound_encoding import SoundTrack
from retalkit.media.sources import MediaSource, VideoSource, open_source
from retalkit.media.timeline import OutputTimeline, build_timeline
from retalkit.observer import Observer, SilentObserver, report_detail
from retalkit.paths import check_encoding, reserved
from retalkit.pipeline.analysis_store import LimitedSource, analysed_part
from retalkit.pipeline.background_sound import BackgroundSound
from retalkit.pipeline.cue_run import PreparedRun, check_options, prepare_cues
from retalkit.pipeline.cue_sound import cue_entries
from retalkit.pipeline.devices import device_note
from retalkit.pipeline.finish import ReadyFinisher, finish, make_finishers, sign_layer
from retalkit.pipeline.frame_counts import edited_times, unedited_times
from retalkit.pipeline.keys import RunKeys
from retalkit.pipeline.output_plan import OutputPlan, plan_output
from retalkit.pipeline.plan import Plan, plan
from retalkit.pipeline.preview import OutputWindow, Preview, preview_window, whole_output
from retalkit.pipeline.record import (
    RecordingObserver,
    RunRecord,
    check_record,
    complete_record,
    record_cost,
    record_path,
)
from retalkit.pipeline.render import Rendering, SegmentRenderer, render
from retalkit.pipeline.run_helpers import DetectionRequest, RenderRequest, RunHelpers, SharedWork, SpeechRequest
from retalkit.pipeline.run_rendering import open_jobs, segment_renderer
from retalkit.pipeline.single_run import prepare_run
from retalkit.pipeline.stage_errors import check_cancelled
from retalkit.pipeline.steps import ClipSteps
from retalkit.pipeline.time_left import HISTORY, StepHistory, TimeLeftObserver, expected_steps
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import Registry
from retalkit.plugins.specs import FinishedRun
from retalkit.provenance.sidecars import UNSIGNED, check_sidecar, remove_stale_sidecar
from retalkit.stages import ObjectPool
from retalkit.storage.cache import Cache, content_hash, default_folder, make_key


def dub(
    video: Path | str,
    speech: Path | str | None,
    output: Path | str,
    *,
    cues: CueSheet | Path | str | None = None,
    config: RunConfig | None = None,
    registry: Registry | None = None,
    observer: Observer | None = None,
    cache: Path | None = None,
    force: bool = False,
    pool: ObjectPool | None = None,
    cancellation: threading.Event | None = None,
    layer: Path | str | None = None,
    preview: Preview | None = None,
    prune_cache: bool = True,
    other_inputs: Iterable[Path] = (),
    helpers: RunHelpers | None = None,
) -> RunRecord:
    """Lip-sync a video or still image to ``speech`` and write the result to ``output`` with the speech as the audio
    track.

    ``cues``: cue sheet, or path of a sheet (.yaml, .csv, .srt, .vtt or .rttm), for several people or parts of a video.
    Outside the cues, the frames and the original sound are unchanged, and the output has the duration of the video.
    ``speech`` is then the audio of cues without a speech file, and may be None.

    All inputs are validated before processing starts. The output is written atomically together with a run record
    (JSON). An interrupted or cancelled run is resumed by calling ``dub`` again with identical inputs.

    ``layer``: also write the edit alone with transparency, as a .mov file (ProRes 4444) or a directory of PNG images.

    ``preview``: render only a few seconds of the output at a reduced size. The preview and the run share all cached
    results except the encoded frames.

    ``pool`` keeps stages and networks loaded between runs in one process. Setting ``cancellation`` stops the run
    between batches. ``prune_cache``: remove the least recently used results if the cache exceeds its size limit.
    Concurrent runs that share a small cache should prune it when all of them have ended. ``other_inputs``: further
    files that the run must not replace, such as the run file. ``helpers``: processes that render parts of a long
    output. The output does not depend on them. The function changes no state of the process, so several threads may
    call it at the same time with different outputs.

    Raises ConfigError, CueError, PluginError, PlanError, InputError or OutputError with a one-line message that
    explains how to fix the error. Raises StageError if a stage has a bug, and RunCancelledError if the run is
    cancelled.
    """
    registry = registry if registry is not None else discover()
    config = config if config is not None else RunConfig.from_preset("embedded", registry=registry)
    sheet = read_sheet(Path(cues), None if speech is None else Path(speech)) if isinstance(cues, str | Path) else cues
    if speech is None and sheet is None:
        raise CueError("there is no speech; pass SPEECH, or cues with speech files", code="missing-speech")
    if sheet is not None:
        check_options(config)
    given = None if speech is None else Path(speech)
    shown = observer or SilentObserver()
    edit = None if layer is None else Path(layer)
    others = tuple(other_inputs) + ((Path(cues),) if isinstance(cues, str | Path) else ())
    run = _Run(Path(video), given, sheet, Path(output), config, registry, shown, cache, force, edit, preview, others)
    return run.execute(pool, cancellation, prune_cache, helpers)


class _Run:
    """State of one run. ``execute`` contains the pipeline steps in order."""

    def __init__(
        self,
        video: Path,
        speech: Path | None,
        cues: CueSheet | None,
        output: Path,
        config: RunConfig,
        registry: Registry,
        observer: Observer,
        cache: Path | None,
        force: bool,
        layer: Path | None,
        preview: Preview | None,
        others: tuple[Path, ...] = (),
    ) -> None:
        if preview is not None and layer is not None:
            raise OutputError(
                "--preview and --layer exclude each other; remove one of the options", code="exclusive-options"
            )
        self.started = time.perf_counter()
        self.video, self.audio, self.cues, self.output = video, speech, cues, output
        self.config = config
        self.registry = registry
        self.force = force
        self.layer = layer
        self.preview = preview
        self.others = others
        self.record = RunRecord(output=output, record=record_path(output), seed=config.seed)
        self.frame_memory = 0
        """Size in bytes of the decoded frames that each process of the run may keep. Short videos are always kept."""
        self.cache_folder = cache if cache is not None else default_folder()
        self.time_left = TimeLeftObserver(observer, StepHistory(self.cache_folder / HISTORY))
        self.observer: Observer = RecordingObserver(self.time_left, self.record)

    @property
    def speeches(self) -> tuple[Path, ...]:
        """Speech files of the run without duplicates."""
        if self.cues is not None:
            return tuple(dict.fromkeys(cue.speech for cue in self.cues.cues))
        assert self.audio is not None
        return (self.audio,)

    def inputs(self, chosen: Plan) -> tuple[Path, ...]:
        """Return all files that the run reads, except those of its sound."""
        persons = () if self.cues is None else self.cues.persons.values()
        images = (person.image for person in persons if person.image is not None)
        files = (path for stage in chosen.stages for path in stage.files().values())
        return (self.video, *self.speeches, *images, *files, *self.others)

    def execute(
        self,
        pool: ObjectPool | None,
        cancellation: threading.Event | None,
        prune_cache: bool,
        helpers: RunHelpers | None,
    ) -> RunRecord:
        """Run all steps and return the record."""
        chosen = plan(self.config, self.registry)
        inputs = self.inputs(chosen)
        for path in (self.video, *self.speeches):
            check_file(path)
        check_encoding(self.cache_folder.absolute(), OutputError)
        check_output(self.output, force=self.force, inputs=inputs)
        with ExitStack() as stack:
            for path in (self.output, self.layer):
                if path is not None:
                    stack.enter_context(reserved(path))
            return self._execute(chosen, inputs, pool, cancellation, prune_cache, helpers)

    def _execute(
        self,
        chosen: Plan,
        inputs: tuple[Path, ...],
        pool: ObjectPool | None,
        cancellation: threading.Event | None,
        prune_cache: bool,
        helpers: RunHelpers | None,
    ) -> RunRecord:
        source = open_source(self.video)
        photo, cued = source.info.is_photo, self.cues is not None
        checked, track = None, self.config.speech_track
        if self.cues is not None:
            checked = check_cues(self.cues, None if photo else source.info.duration, track)
        sounds = (
            [open_sound(path, track) for path in self.speeches] if checked is None else list(checked.sounds.values())
        )
        output = plan_output(self.config, source, self.output, inputs, force=self.force, cued=cued, layer=self.layer)
        inputs = (*inputs, *output.sound.files)
        check_record(self.output, force=self.force, inputs=inputs)
        check_sidecar(self.output, force=self.force, inputs=inputs)
        finishers = make_finishers(chosen.finishers, self.observer)
        self.note([] if self.config.provenance.sign else [UNSIGNED])
        self.note([note] if (note := device_note(chosen.config, chosen.stages)) else [])
        steps = ClipSteps(chosen, Cache(self.cache_folder), self.observer, pool, cancellation)
        # These stages are constructed first so that a stage with invalid files fails before other work starts. The
        # analysis stages are constructed on demand, because their results are often cached.
        for stage in chosen.pixel_stages:
            steps.make(stage)
        warnings = (warning for sound in sounds for warning in sound.warnings)
        self.note((*source.warnings, *warnings, *output.notes))
        uses_machine = helpers is not None
        if cued or self.preview is not None or not chosen.is_parallel:
            helpers = None
        if checked is None:
            timeline = build_timeline(source, sounds[0].duration, self.config.length, self.config.extend)
            self.note([timeline.note] if timeline.note else [])
            if helpers is not None:
                cheap = photo or (isinstance(source, VideoSource) and source.is_short)
                started = helpers.prepare(timeline.count, source.size, cheap, self.registry)
                self.record.processes += started
                helpers = helpers if started else None
            if uses_machine and self.preview is None and isinstance(source, VideoSource):
                # Runs without helpers share the memory with other runs, such as those of a batch.
                self.frame_memory = frame_memory(self.record.processes)
                source.keep_frames(self.frame_memory)
            if helpers is not None:
                steps.share_speech = partial(self.share_speech, helpers)
                steps.share_detection = partial(self.share_detection, helpers)
            limited = analysed_part(source, timeline, self.config.analysis_seconds)
            self.expect(chosen, output, source, timeline, limited, sounds)
            prepared = prepare_run(steps, limited, sounds[0], timeline, self.video)
        else:
            self.note(checked.notes)
            timeline = build_timeline(source, checked.last, "speech" if photo else "video")
            limited = analysed_part(source, timeline.until(checked.last), self.config.analysis_seconds)
            persons = len({cue.person for cue in checked.sheet.cues})
            self.expect(chosen, output, source, timeline, limited, sounds, persons)
            prepared = prepare_cues(steps, source, limited, checked, timeline, self.video)
            self.record.cues = cue_entries(checked)
        self.note(prepared.notes)
        self.record.persons = prepared.persons
        self._produce(chosen, steps, source, timeline, output, prepared, finishers, helpers)
        if prune_cache:
            steps.cache.prune(self.config.cache_limit_bytes, keep=prepared.keys.all())
        return self.record

    def _produce(
        self,
        chosen: Plan,
        steps: ClipSteps,
        source: MediaSource,
        timeline: OutputTimeline,
        output: OutputPlan,
        prepared: PreparedRun,
        finishers: Sequence[ReadyFinisher],
        helpers: RunHelpers | None,
    ) -> None:
        """Render the frames, encode the sound beside, and write the output and the record."""
        window, names = self.window(timeline, source), [each.name for each in prepared.jobs]
        if helpers is not None:
            helpers.prepare_rendering(self.request())

        def track() -> SoundTrack | None:
            cancelled = steps.cancellation.is_set
            return window.part_of(
                output.sound.track(prepared.speeches, timeline.duration, output.audio, cancelled, prepared.replaced)
            )

        with closing(BackgroundSound(track)) as sound:
            with ExitStack() as stack:
                jobs, animators = open_jobs(stack, steps, prepared, timeline, source)
                renderer = segment_renderer(
                    steps, source, jobs, animators, window, self.pixels_key(prepared.keys, window), output
                )
                rendering = self.render(steps, renderer, helpers)
                watches = [job.watch for job in jobs]
                record_cost(self.record, chosen, prepared.keys, steps, watches, rendering.rendered, window.count)
            self.note(source.warnings)
            failures = () if helpers is None else dict.fromkeys(helpers.failures)
            self.note(
                f"another process of the run failed ({reason}); the run did its work itself" for reason in failures
            )
            self.note(_unedited_note(rendering))
            self.complete(chosen, steps, rendering, window, names)
            if output.layer is not None:
                self.write_layer(steps, rendering, source, timeline, output.layer, finishers)
            with steps.timer.step("join", None):
                encoded = sound.result()
                self.note(output.sound.notes)
                finish(
                    rendering.segments,
                    encoded,
                    self.record,
                    finishers,
                    video=self.video,
                    speech=self.speeches[0],
                    duration=window.duration,
                    time_base=output_time_base(timeline.time_base),
                    frames=window.count,
                    colour=source.colour,
                    kept=None if self.preview is not None else output.kept,
                )
        remove_stale_sidecar(self.output, self.config.provenance)
        self.complete(chosen, steps, rendering, window, names)
        self.record.save()
        self.time_left.complete()

    def window(self, timeline: OutputTimeline, source: MediaSource) -> OutputWindow:
        """Return the frames to render."""
        if self.preview is None:
            return whole_output(timeline, source.size)
        return preview_window(self.preview, timeline, source.size)

    def pixels_key(self, keys: RunKeys, window: OutputWindow) -> str:
        """Return the cache key of the encoded segments."""
        if self.preview is None:
            return keys.pixels
        return make_key("preview", keys.pixels, window.start, window.stop, window.size)

    def render(self, steps: ClipSteps, renderer: SegmentRenderer, helpers: RunHelpers | None) -> Rendering:
        """Edit and encode the frames of the window."""
        with steps.timer.step("render", renderer.window.count, renderer.folder, store_cost=False) as step:
            with ExitStack() as stack:
                shared = None if helpers is None else stack.enter_context(closing(helpers.render(self.request())))
                rendering = render(renderer, self.observer, shared)
            if not rendering.rendered:
                step.cached()
        return rendering

    def share_speech(self, helpers: RunHelpers, key: str) -> SharedWork:
        """Let another process denoise the speech. ``key``: cache key of the denoised speech."""
        assert self.audio is not None
        return helpers.speech(
            SpeechRequest(
                configuration=self.config.model_dump(mode="json"),
                speech=str(self.audio.absolute()),
                cache=str(self.cache_folder.absolute()),
                key=key,
            )
        )

    def share_detection(self, helpers: RunHelpers, frames: int, key: str) -> SharedWork:
        """Let other processes detect parts of the video. ``key``: cache key of the detections."""
        return helpers.detect(
            DetectionRequest(
                configuration=self.config.model_dump(mode="json"),
                video=str(self.video.absolute()),
                frames=frames,
                cache=str(self.cache_folder.absolute()),
                key=key,
                frame_memory=self.frame_memory,
            )
        )

    def request(self) -> RenderRequest:
        """Return the description of this run for other processes."""
        assert self.audio is not None
        return RenderRequest(
            configuration=self.config.model_dump(mode="json"),
            video=str(self.video.absolute()),
            speech=str(self.audio.absolute()),
            output=str(self.output.absolute()),
            cache=str(self.cache_folder.absolute()),
            layer=None if self.layer is None else str(self.layer.absolute()),
            frame_memory=self.frame_memory,
        )

    def expect(
        self,
        chosen: Plan,
        output: OutputPlan,
        source: MediaSource,
        timeline: OutputTimeline,
        limited: LimitedSource,
        sounds: Sequence[SoundSource],
        persons: int = 1,
    ) -> None:
        """Start the estimate of the time left, and report details. ``limited``: analysed part of the source."""
        encoding, size, frames = output.encoding, source.size, limited.info.frame_count
        expected = expected_steps(
            chosen,
            codec=encoding.codec,
            source_frames=frames,
            output_frames=timeline.count if self.preview is None else self.window(timeline, source).count,
            speech_seconds=[sound.duration for sound in sounds],
            size=size,
            persons=persons,
            layer=output.layer is not None,
        )
        self.time_left.expect(expected, parallel=["speech"])
        for text in (
            f"video: {size[0]}x{size[1]}, {float(source.rate):.3f} frames/s, {source.pixel_format.name}, "
            f"{source.info.frame_count} frames, {frames} analysed",
            f"output: {encoding.codec} {encoding.pixel_format.name} and {output.audio}, {timeline.count} frames, "
            f"{timeline.duration:.2f} s",
            f"stages: {', '.join(stage.label for stage in chosen.stages)}",
            f"processes: {self.record.processes}",
            f"cache: {self.cache_folder}",
            *([f"kept: {output.kept.kept}"] if output.kept is not None and output.kept.kept else []),
        ):
            report_detail(self.observer, text)

    def write_layer(
        self,
        steps: ClipSteps,
        rendering: Rendering,
        source: MediaSource,
        timeline: OutputTimeline,
        path: Path,
        finishers: Sequence[ReadyFinisher],
    ) -> None:
        """Convert the layer segments to the requested format and sign the result."""
        run = FinishedRun(output=path, video=self.video, speech=self.speeches[0], record=asdict(self.record))

        def advanced(done: int) -> None:
            check_cancelled(steps.cancellation.is_set)
            self.observer.advanced("layer", done)

        with steps.timer.step("layer", timeline.count):
            time_base = output_time_base(timeline.time_base)
            write_layer(
                rendering.layers,
                path,
                source.colour,
                time_base,
                source.rate,
                advanced,
                lambda partial: sign_layer(partial, finishers, run),
            )
        self.observer.artefact("layer", path)

    def note(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.observer.note(text)

    def complete(
        self,
        chosen: Plan,
        steps: ClipSteps,
        rendering: Rendering,
        window: OutputWindow,
        names: Sequence[str],
    ) -> None:
        """Add the results of the run to the record."""
        counts = rendering.counts
        self.record.frames_edited = counts.edited
        self.record.frames_faded = dict(counts.faded)
        self.record.frames_passed = dict(counts.passed)
        self.record.edits = edited_times(counts, window, names)
        self.record.unedited = unedited_times(counts, window, names)
        for person, runs in zip(self.record.persons, counts.runs, strict=False):
            person["frames_edited"] = sum(run.stop - run.start for run in runs if not run.reason)
        self.record.inputs = {"video": str(self.video), "video_sha256": content_hash(self.video)}
        for number, path in enumerate(self.speeches, start=1):
            name = "speech" if number == 1 else f"speech_{number}"
            self.record.inputs |= {name: str(path), f"{name}_sha256": content_hash(path)}
        wall_seconds = time.perf_counter() - self.started
        if self.preview is not None:
            end = window.origin + window.duration
            self.record.preview = {"from": round(window.origin, 6), "to": round(end, 6), "size": list(window.size)}
        complete_record(self.record, chosen, steps.timer, window.duration, wall_seconds)


def _unedited_note(rendering: Rendering) -> list[str]:
    """Return a note if no frame was edited."""
    counts = rendering.counts
    if counts.edited:
        return []
    reasons = ", ".join(f"{reason}: {count}" for reason, count in counts.passed.most_common())
    return [f"no frame was edited ({reasons}); the output shows the video without changes"]
