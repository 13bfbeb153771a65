"""Cached pipeline steps for runs and evaluations: speech processing, detection, tracking and fitting."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retalkit.errors import InputError, PlanError
from retalkit.geometry.face_tracklets import MIN_SCORE
from retalkit.media.sound import SoundSource
from retalkit.media.sources import open_source
from retalkit.observer import Observer
from retalkit.pipeline import detect, face_descriptors, fit, speech, track, tracklets
from retalkit.pipeline.analysis_store import LimitedSource, StoredAnalysis
from retalkit.pipeline.detection_parts import PartDetector, parts_of
from retalkit.pipeline.keys import AnalysisKeys, analysis_keys
from retalkit.pipeline.plan import Plan
from retalkit.pipeline.planned_stage import PlannedStage, StageT
from retalkit.pipeline.run_helpers import SharedWork
from retalkit.pipeline.stage_errors import check_cancelled
from retalkit.pipeline.timing import StepTimer
from retalkit.speech.speech_track import SpeechTrack
from retalkit.stages import (
    DenoiseClip,
    DetectionClip,
    FaceRecogniser,
    ObjectPool,
    ReconstructionClip,
    StageContext,
)
from retalkit.storage.cache import Cache, Folder, content_hash


class ClipSteps:
    """Executor of the pipeline steps for one clip. Each step is timed and reported to the observer."""

    def __init__(
        self,
        plan: Plan,
        cache: Cache,
        observer: Observer,
        pool: ObjectPool | None = None,
        cancellation: threading.Event | None = None,
    ) -> None:
        self.plan = plan
        self.cache = cache
        self.observer = observer
        self.pool = pool if pool is not None else ObjectPool()
        self.cancellation = cancellation if cancellation is not None else threading.Event()
        self.timer = StepTimer(observer)
        self.share_speech: Callable[[str], SharedWork] | None = None
        """Starts another process that denoises the speech of the run, given the cache key of the denoised speech. None
        if this process works alone."""
        self.share_detection: Callable[[int, str], SharedWork] | None = None
        """Starts other processes that detect parts of a clip, given the number of frames and the cache key of the
        detections. None if this process works alone."""

    def speech(
        self,
        sound: SoundSource,
        key: str,
        cancelled: Callable[[], bool] | None = None,
        shared: SharedWork | None = None,
    ) -> SpeechTrack:
        """Return the denoised speech with its voice activity. This method may be called in a separate thread.

        ``shared``: work of another process that denoises the speech, or None.

        Raises RunCancelledError if ``cancelled()`` returns True. By default, the run's cancellation event is checked.
        """
        stage, folder = self.plan.denoiser, self.cache.entry(key)
        with self.timer.step("speech", int(sound.duration), folder) as step:
            if speech.is_complete(folder):
                step.cached()
            elif shared is not None:
                self._wait_for_speech(shared, cancelled or self.cancellation.is_set)
            # A process that helps can have failed.
            if not speech.is_complete(folder):
                opened = self.make(stage).open(DenoiseClip(duration=sound.duration), self.context(stage, folder))
                with closing(opened) as session:
                    speech.prepare_speech(
                        sound,
                        session,
                        self.plan.config.voice_activity,
                        folder,
                        self.observer,
                        cancelled or self.cancellation.is_set,
                    )
        stored, note = speech.open_stored(folder)
        if note and not sound.warnings:
            self.observer.note(note)
        return stored

    def _wait_for_speech(self, shared: SharedWork, cancelled: Callable[[], bool]) -> None:
        def poll() -> None:
            check_cancelled(cancelled)
            self.observer.advanced("speech", shared.done())

        with closing(shared):
            shared.wait(poll)

    def analyse(self, video: Path) -> StoredAnalysis:
        """Return the analysis of all frames in a video. Raises InputError if the video is unreadable or contains no
        face."""
        source = open_source(video)
        limited = LimitedSource(source, source.info.frame_count)
        keys = analysis_keys(self.plan, content_hash(video), limited.info.frame_count)
        return self.fit(self.track(limited, keys, video), keys)

    def track(self, source: LimitedSource, keys: AnalysisKeys, video: Path) -> StoredAnalysis:
        """Return the tracked face without coefficients. Raises InputError if no face is detected."""
        detections = self.detect(source, keys)
        folder = self.cache.entry(keys.track)
        with self.timer.step("tracks", None, folder) as step:
            if track.is_complete(folder):
                step.cached()
            else:
                track.track_face(detections, self.plan.config.face, folder, self.cancellation.is_set)
        if track.face_count(folder) == 0:
            raise no_face_error(video, detections, self.plan.config.face)
        return StoredAnalysis(source, folder.folder)

    def detect(self, source: LimitedSource, keys: AnalysisKeys) -> detect.StoredDetections:
        """Return the face detections for every frame."""
        key = keys.detections
        stage, folder = self.plan.detector, self.cache.entry(key)
        with self.timer.step("faces", source.info.frame_count, folder) as step:
            if detect.is_complete(folder):
                step.cached()
            else:
                count = source.info.frame_count
                parts = parts_of(source, count) if stage.found.spec.parallel else [(0, count)]
                with ExitStack() as stack:
                    shared = None
                    if self.share_detection is not None and len(parts) > 1:
                        shared = stack.enter_context(closing(self.share_detection(count, key)))
                    detect.detect_faces(self.part_detector(source, folder), parts, folder, self.observer, shared)
        return detect.StoredDetections(folder.folder)

    def part_detector(self, source: LimitedSource, folder: Folder) -> PartDetector:
        """Return the detector of the parts of a clip. ``folder``: cache entry of the detections."""
        stage = self.plan.detector
        return PartDetector(
            source=source,
            open_session=lambda: self.make(stage).open(DetectionClip(source=source.info), self.context(stage, folder)),
            scheme=stage.landmark_scheme,
            cancelled=self.cancellation.is_set,
        )

    def tracklets(self, detections: detect.StoredDetections, key: str) -> tracklets.StoredTracklets:
        """Return the tracklets of all faces."""
        folder = self.cache.entry(key)
        with self.timer.step("tracks", None, folder) as step:
            if tracklets.is_complete(folder):
                step.cached()
            else:
                tracklets.track_all_faces(detections, folder, self.cancellation.is_set)
        return tracklets.StoredTracklets(detections, folder.folder)

    def descriptors(
        self, source: LimitedSource, tracked: tracklets.StoredTracklets, key: str
    ) -> dict[int, NDArray[np.float32]]:
        """Return the descriptors of all tracklets."""
        folder = self.cache.entry(key)
        with self.timer.step("persons", None, folder) as step:
            if face_descriptors.descriptors_complete(folder):
                step.cached()
            else:
                recogniser = self.recogniser()
                face_descriptors.store_descriptors(tracked, source, recogniser, folder, self.cancellation.is_set)
        return face_descriptors.load_descriptors(folder)

    def person(
        self, source: LimitedSource, tracked: tracklets.StoredTracklets, numbers: frozenset[int], keys: AnalysisKeys
    ) -> StoredAnalysis:
        """Return the analysis of the person with the tracklets ``numbers``, with coefficients."""
        folder = self.cache.entry(keys.track)
        with self.timer.step("tracks", None, folder) as step:
            if track.is_complete(folder):
                step.cached()
            else:
                track.track_person(tracked, numbers, folder, self.cancellation.is_set)
        return self.fit(StoredAnalysis(source, folder.folder), keys)

    def recogniser(self) -> FaceRecogniser:
        """Return the face recogniser from the process-wide pool. Raises PlanError if no recogniser can run."""
        if self.plan.recogniser is None:
            raise PlanError(
                "no face recogniser can run here, but cues require one; install retalkit[identity]",
                code="missing-package",
            )
        return self.plan.recogniser.make(self.plan.config, self.pool)

    def fit(self, analysis: StoredAnalysis, keys: AnalysisKeys) -> StoredAnalysis:
        """Return the analysis with coefficients."""
        stage, folder = self.plan.reconstructor, self.cache.entry(keys.coefficients)
        with self.timer.step("coefficients", analysis.source.info.frame_count, folder) as step:
            if fit.is_complete(folder):
                step.cached()
            else:
                opened = self.make(stage).open(ReconstructionClip(analysis=analysis), self.context(stage, folder))
                with closing(opened) as session:
                    fit.fit_face(
                        analysis,
                        session,
                        stage.reads_frames,
                        stage.coefficient_space,
                        folder,
                        self.observer,
                        self.cancellation.is_set,
                    )
        return StoredAnalysis(
            analysis.source, self.cache.entry(keys.track).folder, folder.folder, stage.coefficient_space
        )

    def make(self, stage: PlannedStage[StageT]) -> StageT:
        """Return the stage from the process-wide pool. The first call constructs the stage."""
        return stage.make(self.plan.config, self.pool)

    def context(self, stage: PlannedStage[Any], folder: Folder) -> StageContext:
        """Return the context for a session of the stage. The session's cache directory is ``folder``."""
        return StageContext(
            cache=folder,
            observer=self.observer,
            seed=self.plan.config.seed,
            requested_ports=stage.requested_ports,
            cancellation=self.cancellation,
        )


def no_face_error(video: Path, detections: detect.StoredDetections, choice: int | str) -> InputError:
    """Return the error for a video without a face that can be edited."""
    rejected = Counter(detections.rejected().values())
    most = max((sum(face.score >= MIN_SCORE for face in frame.faces) for frame in detections), default=0)
    if most and choice != "largest":
        verb = "is 1 face" if most == 1 else f"are at most {most} faces"
        numbers = "0" if most == 1 else f"0 to {most - 1}"
        return InputError(
            f"--face {choice}: there {verb} in {video}; use --face {numbers}, or omit the option", code="no-such-face"
        )
    if rejected:
        reason, count = rejected.most_common(1)[0]
        frames = "1 frame" if count == 1 else f"{count} frames"
        return InputError(
            f"no face can be edited in {video}: {reason} ({frames}); use a clip with an upright face and a visible "
            "mouth",
            code="no-face",
        )
    return InputError(
        f"no face was detected in {video}; use a clip with a frontal face that is at least about 80 pixels wide",
        code="no-face",
    )
