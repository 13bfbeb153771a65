"""What a run and an evaluation both do first: listen to the speech, find the face, fit it. Each kept in the cache."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retalkit.errors import InputError
from retalkit.media.sound import SoundSource
from retalkit.observer import Observer
from retalkit.pipeline import detect as analysing
from retalkit.pipeline import speech as listening
from retalkit.pipeline.analysis_store import LimitedSource, StoredAnalysis
from retalkit.pipeline.plan import Plan, PlannedStage
from retalkit.pipeline.timing import kept_cost, kept_peak
from retalkit.speech.speech_track import SpeechTrack
from retalkit.stages import Session, StageContext, StageKind
from retalkit.storage.cache import Cache, Folder, make_key


class Preparation:
    """The first steps for one clip; times them and tells the observer."""

    def __init__(self, chosen: Plan, cache: Cache, observer: Observer) -> None:
        self.chosen = chosen
        self.cache = cache
        self.observer = observer
        self.seconds: dict[str, float] = {}
        """Step -> wall-clock seconds."""
        self.cached_steps: list[str] = []
        self.cost: dict[str, float] = {}
        """Step -> seconds that computing it takes, measured now or when it was computed."""
        self.peaks: dict[str, int | None] = {}
        """Step -> bytes that the process held at most until it was computed, now or then; None where nobody knows."""

    # ------------------------------------------------------------------ keys

    def identity(self, stage: PlannedStage) -> dict[str, Any]:
        """Plain data that changes whenever the stage may give another result in this run."""
        config = self.chosen.config
        return {
            **stage.identity(),
            "device": config.device,
            "precision": config.precision,
            "seed": config.seed,
        }

    def speech_key(self, content: str) -> str:
        """Cache key of the speech in a file with this hash."""
        denoiser = self.chosen.one(StageKind.DENOISER)
        quietest = self.chosen.config.quietest_speech
        return make_key("speech", listening.VERSION, content, quietest, self.identity(denoiser))

    def faces_key(self, content: str, frames: int) -> str:
        """Cache key of the followed face in the first ``frames`` frames of a video with this hash."""
        detector = self.chosen.one(StageKind.DETECTOR)
        face = self.chosen.config.face
        return make_key("faces", analysing.VERSION, content, frames, face, self.identity(detector))

    def coefficients_key(self, faces_key: str) -> str:
        return make_key("coefficients", faces_key, self.identity(self.chosen.one(StageKind.RECONSTRUCTOR)))

    # ------------------------------------------------------------------ steps

    def listen(self, sound: SoundSource, key: str, stopped: threading.Event | None = None) -> SpeechTrack:
        """The cleaned speech with its voice activity. May run in a thread; ``stopped`` ends it with StoppedError."""
        stage = self.chosen.one(StageKind.DENOISER)
        folder = self.cache.entry(key)
        quietest = self.chosen.config.quietest_speech
        with self.step("speech", int(sound.duration), folder) as mark:
            if listening.is_complete(folder):
                mark(cached=True)
            else:
                session: Any = stage.make().open(self.context(stage, folder))
                try:
                    listening.listen(sound, session, quietest, folder, self.observer, stopped or threading.Event())
                finally:
                    close(session)
        speech, note = listening.open_stored(folder)
        if note and not sound.warnings:
            self.observer.note(note)
        return speech

    def look(self, source: LimitedSource, key: str, video: Path) -> StoredAnalysis:
        """The followed face of every frame. Raises InputError where there is none."""
        stage = self.chosen.one(StageKind.DETECTOR)
        folder = self.cache.entry(key)
        with self.step("faces", source.info.frame_count, folder) as mark:
            if analysing.is_complete(folder):
                mark(cached=True)
            else:
                session: Any = stage.make().open(source.info, self.context(stage, folder))
                try:
                    face = self.chosen.config.face
                    analysing.find_faces(source, session, stage.landmark_scheme, face, folder, self.observer)
                finally:
                    close(session)
        analysis = StoredAnalysis(source, folder.folder)
        if analysing.faces_found(folder) == 0:
            raise InputError(
                f"no face was found in {video}: give a clip where a face is seen from the front, "
                "at least about 80 pixels wide"
            )
        return analysis

    def reconstruct(self, analysis: StoredAnalysis, source: LimitedSource, faces_key: str, key: str) -> StoredAnalysis:
        """The same analysis with coefficients."""
        stage = self.chosen.one(StageKind.RECONSTRUCTOR)
        faces = self.cache.entry(faces_key).folder
        folder = self.cache.entry(key)
        with self.step("coefficients", source.info.frame_count, folder) as mark:
            if analysing.is_complete(folder):
                mark(cached=True)
            else:
                session: Any = stage.make().open(analysis, self.context(stage, folder))
                try:
                    analysing.reconstruct(
                        analysis, session, stage.reads_frames, stage.coefficient_space, folder, self.observer
                    )
                finally:
                    close(session)
        return StoredAnalysis(source, faces, folder.folder, stage.coefficient_space)

    # ------------------------------------------------------------------ what belongs to every step

    def context(self, stage: PlannedStage, folder: Folder) -> StageContext:
        config = self.chosen.config
        return StageContext(
            cache=folder,
            observer=self.observer,
            seed=config.seed,
            device=config.device,
            precision=config.precision,
            weights=stage.weights,
            wanted=stage.wanted,
        )

    @contextmanager
    def step(
        self, name: str, total: int | None, folder: Folder | None = None, *, priced: bool = True
    ) -> Generator[Callable[..., None]]:
        """Times a step and tells the observer; ``mark(cached=True)`` says that nothing was computed.

        What the step costs is kept in ``folder``, where its result lies; its seconds are not where it is not
        ``priced``, because whoever asks knows them better."""
        was_cached = False

        def mark(*, cached: bool) -> None:
            nonlocal was_cached
            was_cached = cached

        self.observer.started(name, total)
        start = time.perf_counter()
        yield mark
        seconds = time.perf_counter() - start
        # Only the runner's own steps are recorded: a stage may report parts of one, which would count twice.
        self.seconds[name] = round(seconds, 4)
        if was_cached:
            self.cached_steps.append(name)
        if folder is not None:
            self.peaks[name] = kept_peak(folder, not was_cached)
        kept = folder if priced else None
        cost = seconds if kept is None else kept_cost(kept, "open", seconds, int(not was_cached), 1)
        if cost is not None:
            self.cost[name] = round(cost, 4)
        self.observer.finished(name, seconds, was_cached)


def close(session: Session) -> None:
    session.close()
