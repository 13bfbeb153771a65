"""Preparation of a run in which one speech moves the mouth of one face."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from retalkit.media.sound import SoundSource
from retalkit.media.timeline import OutputTimeline
from retalkit.pipeline import speech
from retalkit.pipeline.analysis_store import LimitedSource
from retalkit.pipeline.cue_run import JobInput, PreparedRun
from retalkit.pipeline.keys import run_keys
from retalkit.pipeline.output_sound import PlacedSpeech
from retalkit.pipeline.run_helpers import SharedWork
from retalkit.pipeline.steps import ClipSteps
from retalkit.storage.cache import content_hash


def prepare_run(
    steps: ClipSteps, limited: LimitedSource, sound: SoundSource, timeline: OutputTimeline, path: Path
) -> PreparedRun:
    """Detect, track and fit the face, and process the speech concurrently in a thread or in another process, because
    neither task requires the other's result.

    ``limited``: part of the video to analyse. ``path``: file of the video.
    """
    frames = limited.info.frame_count
    video, audio = content_hash(path), content_hash(sound.path)
    keys = run_keys(
        steps.plan, video=video, audio=audio, frames=frames, timeline=timeline, is_photo=limited.info.is_photo
    )
    (job,) = keys.jobs
    stopped, heard = threading.Event(), job.speech[0]
    shared: SharedWork | None = None
    if steps.share_speech is not None and steps.plan.denoiser.found.spec.parallel:
        shared = None if speech.is_complete(steps.cache.entry(heard)) else steps.share_speech(heard)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="speech") as executor:
        prepared = executor.submit(
            steps.speech, sound, heard, lambda: stopped.is_set() or steps.cancellation.is_set(), shared
        )
        try:
            analysis = steps.track(limited, job.analysis, path)
            analysis = steps.fit(analysis, job.analysis)
            face = JobInput(name=str(steps.plan.config.face), keys=job, analysis=analysis, speech=prepared.result())
            placed = PlacedSpeech(source=sound, speech=face.speech)
            return PreparedRun(jobs=(face,), keys=keys, speeches=(placed,))
        finally:
            stopped.set()
