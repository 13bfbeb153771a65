"""Rendering of a clip with the default preset's stages, driven by a motion file, without encoding the frames."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from retalkit.config.model import DEFAULT_PRESET, load
from retalkit.imaging.compositing import composite
from retalkit.media.sources import open_source
from retalkit.media.timeline import build_timeline
from retalkit.observer import SilentObserver
from retalkit.pipeline.analysis_store import StoredAnalysis
from retalkit.pipeline.detection_batches import frame_batches
from retalkit.pipeline.face_job import NO_FACE, FaceJob, SyncedFrames, open_face_job
from retalkit.pipeline.keys import run_keys
from retalkit.pipeline.plan import plan
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.discovery import discover
from retalkit.speech.readers import ArrayReader
from retalkit.speech.speech_track import SpeechTrack
from retalkit.stages import FaceEdit, FrameBatch, FrameResult, ObjectPool, PassedThrough
from retalkit.storage.cache import Cache, Folder, content_hash

Image = NDArray[np.uint8]

TALKING = ("talk_man", "talk_woman", "sitting_woman")
SILENCE = "silence"
DEFAULT_PAIRS = (
    "talk_man:talk_woman",
    "talk_woman:talk_man",
    "sitting_woman:talk_woman",
    "silent_woman:talk_woman",
    *(f"{name}:{SILENCE}" for name in TALKING),
)
"""Pairs SOURCE:DRIVER. Each name is the beginning of a clip's file name."""


@dataclass(frozen=True, slots=True)
class OpenedClip:
    """Initialised stages for one clip, and the cache entry of the lip syncer."""

    job: FaceJob
    lip_syncer_cache: Folder


@dataclass(frozen=True, slots=True)
class DubbedFrames:
    """Consecutive frames with their edits."""

    indexes: NDArray[np.int64]
    times: NDArray[np.float64]
    """Source timestamps in seconds."""
    images: Image
    """Source frames, RGB uint8 [T, H, W, 3]."""
    synced: SyncedFrames | None
    """Lip-synced frames, or None for frames that do not show the face."""
    edits: list[FrameResult]


class DefaultStages:
    """Analyses and dubs clips with the default preset's stages. Results are cached in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._registry = discover()
        self._cache = Cache(folder)
        self._pool = ObjectPool()

    def steps(self, **overrides: Any) -> ClipSteps:
        """Return the default preset's steps with ``overrides`` (mapping from config path to value)."""
        values = [(path, value, path) for path, value in overrides.items()]
        config = load(self._registry, preset=DEFAULT_PRESET, overrides=values)
        return ClipSteps(plan(config, self._registry), self._cache, SilentObserver(), self._pool)

    def analyse(self, clip: Path) -> StoredAnalysis:
        """Return the analysis of a clip, which contains the tracked and fitted face."""
        return self.steps().analyse(clip)

    @contextmanager
    def open(self, clip: Path, motion: Path, *, enhance: bool = True) -> Iterator[OpenedClip]:
        """Initialise the stages for a clip whose lips are driven by a motion file."""
        overrides: dict[str, Any] = {"lip_syncer.driver": {"use": "file", "path": str(motion)}}
        if not enhance:
            overrides["enhancers"] = []
        steps = self.steps(**overrides)
        source = open_source(clip)
        timeline = build_timeline(source, source.info.duration, "video", "cut")
        keys = run_keys(
            steps.plan,
            video=content_hash(clip),
            audio=SILENCE,
            frames=source.info.frame_count,
            timeline=timeline,
        )
        silence = np.zeros(round(timeline.duration * 16000) + 1, np.float32)
        speech = SpeechTrack(ArrayReader(silence), ArrayReader(silence[::160]))
        with open_face_job(steps.plan, steps, keys.jobs[0], steps.analyse(clip), timeline, speech) as job:
            yield OpenedClip(job, steps.cache.entry(keys.jobs[0].lips))


def dub(job: FaceJob, count: int) -> Iterator[DubbedFrames]:
    """Yield the first ``count`` frames of a clip with their edits."""
    for batch in frame_batches(job.analysis.source, 0, count):
        has_face_flags = [job.has_face(int(index)) for index in batch.indexes]
        for has_face, run in groupby(range(len(batch.indexes)), has_face_flags.__getitem__):
            rows = list(run)
            part = slice(rows[0], rows[-1] + 1)
            indexes, times, images = batch.indexes[part], batch.times[part], batch.images[part]
            synced = job.sync(FrameBatch(images, times, indexes), int(indexes[0])) if has_face else None
            edits = job.enhance(synced) if synced is not None else [PassedThrough(NO_FACE) for _ in rows]
            yield DubbedFrames(indexes, times, images, synced, edits)


def apply(images: Image, edits: list[FrameResult]) -> list[Image]:
    """Return copies of the frames with their edits."""
    frames = [image.copy() for image in images]
    for frame, edit in zip(frames, edits, strict=True):
        if isinstance(edit, FaceEdit):
            composite(frame, edit)
    return frames


def find_clip(media: Path, name: str) -> Path:
    """Return the clip whose file name begins with ``name``."""
    found = sorted(path for path in media.glob(f"{name}*") if path.suffix in {".mp4", ".mov", ".mkv", ".webm"})
    if not found:
        sys.exit(f"{media}: no clip begins with '{name}'")
    return found[0]
