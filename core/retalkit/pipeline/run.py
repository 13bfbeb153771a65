"""A run from files to file: listen, look, plan, render, join. The steps of the design, each kept in the cache."""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from retalkit._version import __version__
from retalkit.config.model import RunConfig
from retalkit.media.encoding import SegmentWriter, output_time_base
from retalkit.media.muxing import SoundTrack, assemble, check_output
from retalkit.media.sound import open_sound
from retalkit.media.sources import MediaSource, open_source
from retalkit.media.timeline import OutputTimeline, build_timeline
from retalkit.observer import Observer, SilentObserver
from retalkit.pipeline.analysis_store import LimitedSource
from retalkit.pipeline.plan import Plan, plan
from retalkit.pipeline.record import RunRecord
from retalkit.pipeline.reference_chain import SharperReferences
from retalkit.pipeline.render import RENDERED, FaceStages, render
from retalkit.pipeline.stage_errors import blamed
from retalkit.pipeline.steps import Preparation, close
from retalkit.pipeline.timing import Stopwatch, kept_cost, peak_memory_bytes
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import Registry
from retalkit.stages import StageKind
from retalkit.storage.cache import Cache, content_hash, default_folder, make_key

_ROWS = 65536
_PICTURE_STAGES = frozenset({StageKind.EXPRESSION_EDITOR, StageKind.LIP_SYNCER, StageKind.ENHANCER})
_WATCHED_LIBRARIES = ("av", "mediapipe", "numpy", "opencv-contrib-python", "scipy", "torch")


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
) -> RunRecord:
    """Makes ``output``: the video (or photo) with its lips following the speech, and the speech as its sound.

    Everything is checked before work starts; the output appears whole or not at all, with a run record (JSON) beside
    it. A killed run called again with the same inputs goes on where it stopped.

    Raises ConfigError, PluginError, PlanError, InputError or OutputError, each with one line that says what to do.
    """
    registry = registry if registry is not None else discover()
    config = config if config is not None else RunConfig.from_preset("embedded", registry=registry)
    run = _Run(Path(video), Path(speech), Path(output), config, registry, observer or SilentObserver(), cache, force)
    with ExitStack() as stack:
        return run.execute(stack)


class _RecordingObserver:
    """Passes everything on and keeps what belongs into the record."""

    def __init__(self, outer: Observer, record: RunRecord) -> None:
        self._outer = outer
        self._record = record

    def started(self, step: str, total: int | None) -> None:
        self._outer.started(step, total)

    def advanced(self, step: str, done: int) -> None:
        self._outer.advanced(step, done)

    def finished(self, step: str, seconds: float, cached: bool) -> None:
        self._outer.finished(step, seconds, cached)

    def note(self, text: str) -> None:
        if text not in self._record.notes:
            self._record.notes.append(text)
            self._outer.note(text)

    def artefact(self, name: str, path: Path) -> None:
        self._record.artefacts[name] = path
        self._outer.artefact(name, path)


@dataclass(slots=True)
class _Keys:
    """The chain of cache keys; each is made of what its step read."""

    speech: str = ""
    faces: str = ""
    coefficients: str = ""
    references: str = ""
    sharper: list[str] = field(default_factory=list[str])
    """One for each enhancer of references."""
    lips: str = ""
    enhancers: list[str] = field(default_factory=list[str])
    """One for each enhancer: what it read is everything before it."""
    pixels: str = ""

    def all(self) -> set[str]:
        single = {self.speech, self.faces, self.coefficients, self.references, self.lips, self.pixels}
        return single | set(self.sharper) | set(self.enhancers)


class _Run:
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
        self.video, self.speech, self.output = video, speech, output
        self.config = config
        self.registry = registry
        self.force = force
        self.record = RunRecord(output=output, record=output.with_name(output.name + ".json"), seed=config.seed)
        self.observer: Observer = _RecordingObserver(observer, self.record)
        self.cache_folder = cache if cache is not None else default_folder()
        self.keys = _Keys()

    # ------------------------------------------------------------------ the whole road

    def execute(self, stack: ExitStack) -> RunRecord:
        chosen = plan(self.config, self.registry)
        check_output(self.output, force=self.force, inputs=(self.video, self.speech))
        # Built before any work: a stage may find its own files wrong. The analysis is often in the cache, and its
        # stages are built when they are needed.
        made = {stage.place: stage.make() for stage in chosen.stages if stage.kind in _PICTURE_STAGES}
        source = open_source(self.video)
        sound = open_sound(self.speech)
        cache = Cache(self.cache_folder)
        for warning in (*source.warnings, *sound.warnings):
            self.observer.note(warning)
        timeline = build_timeline(source, sound.duration, self.config.length, self.config.extend)
        if timeline.note:
            self.observer.note(timeline.note)
        hashes = {"video": content_hash(self.video), "speech": content_hash(self.speech)}
        limited = self.limited(source, timeline)
        preparation = Preparation(chosen, cache, self.observer)
        self.record.seconds, self.record.cached_steps = preparation.seconds, preparation.cached_steps
        self.record.cost = preparation.cost
        self.make_keys(preparation, limited, timeline, hashes)
        keys, step, context = self.keys, preparation.step, preparation.context

        # Sound and picture do not need each other before the lips are planned; both work outside Python mostly.
        stopped = threading.Event()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="speech") as pool:
            listening_ahead = pool.submit(preparation.listen, sound, keys.speech, stopped)
            try:
                analysis = preparation.look(limited, keys.faces, self.video)
                analysis = preparation.reconstruct(analysis, limited, keys.faces, keys.coefficients)
                speech = listening_ahead.result()
            finally:
                stopped.set()

        editor_stage = chosen.one(StageKind.EXPRESSION_EDITOR)
        with step("references", None, cache.entry(keys.references)):
            with blamed(editor_stage.owner, made[editor_stage.place]):
                editor: Any = made[editor_stage.place].open(
                    analysis, context(editor_stage, cache.entry(keys.references))
                )
            stack.callback(close, editor)
            sharper: list[Any] = []
            for stage, key in zip(chosen.reference_enhancers(), keys.sharper, strict=True):
                with blamed(stage.owner, made[stage.place]):
                    sharper.append(made[stage.place].open(analysis, context(stage, cache.entry(key))))
                stack.callback(close, sharper[-1])
            references = SharperReferences(editor, sharper)
        lips_stage = chosen.one(StageKind.LIP_SYNCER)
        with step("lips", None, cache.entry(keys.lips)):
            with blamed(lips_stage.owner, made[lips_stage.place]):
                lips: Any = made[lips_stage.place].open(
                    analysis, references, timeline, speech, context(lips_stage, cache.entry(keys.lips))
                )
            stack.callback(close, lips)
        enhancers: list[Any] = []
        pixels = cache.entry(keys.pixels)
        for stage, key in zip(chosen.result_enhancers(), keys.enhancers, strict=True):
            with blamed(stage.owner, made[stage.place]):
                enhancers.append(made[stage.place].open(analysis, context(stage, cache.entry(key))))
            stack.callback(close, enhancers[-1])

        time_base = output_time_base(timeline.time_base)

        def open_writer(path: Path) -> SegmentWriter:
            options = self.config.output
            return SegmentWriter(
                path,
                source.size,
                source.colour,
                source.rate,
                time_base,
                options.crf,
                options.preset,
                sample_aspect=source.sample_aspect,
            )

        labels = [editor_stage.owner, lips_stage.owner, *(stage.owner for stage in chosen.result_enhancers())]
        stages = FaceStages(references, lips, enhancers, labels)
        with step("render", timeline.count, pixels, priced=False) as mark:
            segments, counts, all_there = render(source, analysis, timeline, stages, open_writer, pixels, self.observer)
            mark(cached=all_there)
        self.note_cost(chosen, cache, stages.watch, timeline.count)
        with step("join", None):
            track = SoundTrack(sound, timeline.duration)
            assemble(
                segments,
                track,
                self.output,
                duration=timeline.duration,
                time_base=time_base,
                frames=timeline.count,
            )
        for warning in source.warnings:
            self.observer.note(warning)

        self.record.frames_edited = counts.edited
        self.record.frames_faded = dict(counts.faded)
        self.record.frames_passed = dict(counts.passed)
        self.finish_record(chosen, timeline, hashes, preparation.peaks)
        cache.prune(self.config.cache_limit_bytes, keep=keys.all())
        return self.record

    # ------------------------------------------------------------------ what the steps need

    def limited(self, source: MediaSource, timeline: OutputTimeline) -> LimitedSource:
        """The source as far as the output shows it, and some more to find mouth shapes in."""
        count = source.info.frame_count
        shown = max(int(timeline.sources(start, start + _ROWS).max()) + 1 for start in range(0, timeline.count, _ROWS))
        times = source.times(0, count)
        enough = int(np.searchsorted(times, times[0] + self.config.analysis_seconds, side="right"))
        return LimitedSource(source, min(count, max(shown, enough)))

    def make_keys(
        self, preparation: Preparation, limited: LimitedSource, timeline: OutputTimeline, hashes: dict[str, str]
    ) -> None:
        keys, config = self.keys, self.config
        chosen, identity = preparation.chosen, preparation.identity
        keys.speech = preparation.speech_key(hashes["speech"])
        keys.faces = preparation.faces_key(hashes["video"], limited.info.frame_count)
        keys.coefficients = preparation.coefficients_key(keys.faces)
        keys.references = make_key("references", keys.coefficients, identity(chosen.one(StageKind.EXPRESSION_EDITOR)))
        shown = [config.length, config.extend, timeline.count, round(timeline.duration, 6)]
        seen = keys.references
        for stage in chosen.reference_enhancers():
            seen = make_key("sharper", seen, identity(stage))
            keys.sharper.append(seen)
        keys.lips = make_key("lips", seen, keys.speech, shown, identity(chosen.one(StageKind.LIP_SYNCER)))
        last = keys.lips
        for stage in chosen.result_enhancers():
            last = make_key("enhancer", last, identity(stage))
            keys.enhancers.append(last)
        keys.pixels = make_key("pixels", last, config.output.model_dump())

    def note_cost(self, chosen: Plan, cache: Cache, watch: Stopwatch, total: int) -> None:
        """Puts into the record what each stage and the rendering cost, with what earlier runs paid."""
        rendered, cost = watch.units[RENDERED], self.record.cost
        watched = [("editor", StageKind.EXPRESSION_EDITOR.value, self.keys.references)]
        watched += [("lip_syncer", StageKind.LIP_SYNCER.value, self.keys.lips)]
        places = [stage.place for stage in chosen.result_enhancers()]
        watched += [(str(n), *pair) for n, pair in enumerate(zip(places, self.keys.enhancers, strict=True))]
        opened = {StageKind.EXPRESSION_EDITOR.value: "references", StageKind.LIP_SYNCER.value: "lips"}
        saved = 0.0
        for name, place, key in watched:
            known = kept_cost(cache.entry(key), "frames", watch.seconds[name], rendered, total)
            if known is not None:
                # A stage that kept its frames from an earlier run takes far less than it costs; what takes a little
                # less had the machine to itself.
                now = watch.seconds[name] * total / max(rendered, 1)
                saved += known - now if rendered and now < known / 2 else 0.0
                self.record.stage_cost[place] = round(known + cost.get(opened.get(place, ""), 0.0), 4)
        seconds = self.record.seconds["render"] + saved * rendered / total
        known = kept_cost(cache.entry(self.keys.pixels), "render", seconds, rendered, total)
        cost.pop("render", None)
        if known is not None:
            cost["render"] = round(known, 4)

    def finish_record(
        self, chosen: Plan, timeline: OutputTimeline, hashes: dict[str, str], peaks: dict[str, int | None]
    ) -> None:
        record = self.record
        record.wall_seconds = round(time.perf_counter() - self.started, 3)
        record.output_seconds = round(timeline.duration, 6)
        record.realtime_factor = round(record.output_seconds / max(record.wall_seconds, 1e-9), 3)
        record.peak_memory_bytes = peak_memory_bytes()
        # A step whose memory nobody knows would make the run look small.
        known = [peak for peak in peaks.values() if peak is not None]
        record.peak_memory_cost = max([record.peak_memory_bytes, *known]) if len(known) == len(peaks) else 0
        record.inputs = {
            "video": str(self.video),
            "video_sha256": hashes["video"],
            "speech": str(self.speech),
            "speech_sha256": hashes["speech"],
        }
        record.configuration = json.loads(self.config.model_dump_json())
        record.weights = {
            f"{stage.place}.{name}": digest
            for stage in chosen.stages
            for name, digest in (*stage.file_hashes().items(), *stage.weight_hashes.items())
        }
        files = {
            f"{stage.place}.{name}": path
            for stage in chosen.stages
            for name, path in (*stage.config.files().items(), *stage.weights.items())
        }
        record.weight_bytes = {name: path.stat().st_size for name, path in files.items()}
        record.versions = {"retalkit": __version__, "python": sys.version.split()[0], **chosen.package_versions()}
        for library in _WATCHED_LIBRARIES:
            try:
                record.versions[library] = metadata.version(library)
            except metadata.PackageNotFoundError:
                continue
        record.save()
