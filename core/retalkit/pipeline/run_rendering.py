"""Sessions and segments of a run, which several processes may open at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from retalkit.media.colour import Colour
from retalkit.media.encoding import SegmentWriter, output_time_base
from retalkit.media.layer import LAYER_ENCODING
from retalkit.media.sources import MediaSource
from retalkit.media.timeline import OutputTimeline
from retalkit.photo_motion.animator import PhotoAnimator
from retalkit.pipeline.analysis_store import LimitedSource
from retalkit.pipeline.cue_run import PreparedRun
from retalkit.pipeline.face_job import FaceJob, open_face_job
from retalkit.pipeline.output_plan import OutputPlan
from retalkit.pipeline.photo import photo_animators
from retalkit.pipeline.preview import OutputWindow
from retalkit.pipeline.render import SegmentRenderer
from retalkit.pipeline.steps import ClipSteps


def open_jobs(
    stack: ExitStack, steps: ClipSteps, prepared: PreparedRun, timeline: OutputTimeline, source: MediaSource
) -> tuple[list[FaceJob], list[PhotoAnimator]]:
    """Open the sessions of all faces, which ``stack`` closes, and return them with the animators of a photo.

    The faces that the detection has kept are released, because only the opening of sessions reads them.
    """
    jobs = [
        stack.enter_context(
            open_face_job(
                steps.plan,
                steps,
                each.keys,
                each.analysis,
                timeline,
                each.speech,
                name=each.name,
                strength=each.strength,
                unknown=each.unknown,
            )
        )
        for each in prepared.jobs
    ]
    for each in prepared.jobs:
        if isinstance(each.analysis.source, LimitedSource):
            each.analysis.source.release_faces()
    faces = [(each.analysis, each.speech) for each in prepared.jobs]
    return jobs, photo_animators(source, faces, timeline, steps)


def segment_renderer(
    steps: ClipSteps,
    source: MediaSource,
    jobs: Sequence[FaceJob],
    animators: Sequence[PhotoAnimator],
    window: OutputWindow,
    key: str,
    output: OutputPlan,
) -> SegmentRenderer:
    """Return the renderer of the window's segments. ``key``: cache key of the segments."""
    time_base = output_time_base(window.timeline.time_base)

    def open_writer(path: Path) -> SegmentWriter:
        return SegmentWriter(
            path,
            window.size,
            source.colour,
            source.rate,
            time_base,
            output.encoding,
            sample_aspect=source.sample_aspect,
        )

    def open_layer(path: Path) -> SegmentWriter:
        return SegmentWriter(path, source.size, Colour(), source.rate, time_base, LAYER_ENCODING)

    return SegmentRenderer(
        source=source,
        jobs=jobs,
        window=window,
        open_writer=open_writer,
        folder=steps.cache.entry(key),
        cancelled=steps.cancellation.is_set,
        pixel_format=output.encoding.pixel_format,
        animators=animators,
        open_layer=None if output.layer is None else open_layer,
        overlaps=not steps.plan.is_parallel,
    )
