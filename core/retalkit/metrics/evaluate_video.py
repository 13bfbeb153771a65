"""Scoring of a single finished video from any source."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from retalkit.errors import InputError
from retalkit.media.sound import pcm
from retalkit.media.sources import open_source
from retalkit.metrics.open_scene import SceneOpener, source_frames
from retalkit.metrics.scoring import MetricScore, score
from retalkit.observer import Observer
from retalkit.plugins.metric_specs import FRAMES, LANDMARKS, LIPS, ORIGINAL, QUIET, RECORD, SPEECH, TRUTH
from retalkit.plugins.registry import FoundMetric, Registry
from retalkit.storage.cache import Cache, Folder, content_hash


@dataclass(frozen=True, slots=True)
class VideoScores:
    """Metric results for one video."""

    video: Path
    metrics: tuple[FoundMetric, ...]
    results: Mapping[str, MetricScore]
    """Mapping from metric name to the metric's result."""
    ports: frozenset[str]
    """Ports for which data is available, a subset of ``retalkit.plugins.metric_specs.PORTS``."""

    def plain(self) -> dict[str, Any]:
        """Return JSON-compatible data, in which undefined values are None."""
        measured: dict[str, dict[str, float | None]] = {}
        skipped: dict[str, str] = {}
        for name, result in self.results.items():
            if reason := result.skip_reason or result.error:
                skipped[name] = reason
            else:
                measured[name] = {
                    key: round(value, 6) if math.isfinite(value) else None for key, value in result.scores.items()
                }
        return {"video": str(self.video), "scores": measured, "not_measured": skipped}


def evaluate_video(
    video: Path,
    registry: Registry,
    cache: Cache,
    observer: Observer,
    *,
    metrics: Sequence[FoundMetric] | None = None,
    reference: Path | None = None,
    original: Path | None = None,
    speech: Path | None = None,
    silent: bool = False,
) -> VideoScores:
    """Score ``video`` with every metric whose required inputs are available.

    Args:
        video: the finished video.
        registry: registry of the installed stages and metrics.
        cache: cache for face tracks.
        observer: observer that is notified of the progress.
        metrics: metrics to compute (default: all installed metrics).
        reference: video of a person who speaks the audio. If ``reference`` and ``original`` are the same file, the
            frames of ``original`` are the ground truth.
        original: the unedited clip. The default is the input path in the run record next to a Retalkit video, if the
            input file exists and is unchanged.
        speech: the audio before encoding. The default is the path in the run record, as for ``original``.
        silent: whether the audio contains no speech.

    Raises:
        InputError: a file cannot be read.
    """
    if open_source(video).info.is_photo:
        raise InputError(
            f"{video}: expected a video, got a still image: pass a finished video", code="photo-not-supported"
        )
    record_path = video.with_name(video.name + ".json")
    record = _read_record(record_path)
    if original is None and record is not None:
        original = _unchanged_input(record, "video")
    if speech is None and record is not None:
        # The video's audio track is not used by default, because its AAC encoding delays the audio.
        speech = _unchanged_input(record, "speech")
    sound = _read_sound(speech if speech is not None else video, required=speech is not None)
    ports = {FRAMES, LANDMARKS, ORIGINAL}
    ports |= {QUIET} if silent else {LIPS, SPEECH}
    ports |= {RECORD} if record is not None else set[str]()
    if reference is not None and original is not None and reference.resolve() == original.resolve():
        ports.add(TRUTH)
    sources = None
    if record is not None and original is not None:
        options = record["configuration"]
        sources = source_frames(original, float(record["output_seconds"]), options["length"], options["extend"])
        sources = sources if len(sources) == open_source(video).info.frame_count else None
    with TemporaryDirectory(prefix="retalkit-evaluate-") as folder:
        scene = SceneOpener(registry, cache, observer).scene(
            video,
            frozenset(ports),
            original=original,
            sources=sources,
            sound=sound,
            reference=reference,
            record=record_path,
            folder=Folder(Path(folder)),
        )
        chosen = tuple(registry.metrics if metrics is None else metrics)
        observer.started("metrics", scene.source.info.frame_count)
        began = time.perf_counter()
        results = score(scene, chosen, observer)
        observer.finished("metrics", time.perf_counter() - began, False)
    return VideoScores(video, chosen, results, scene.ports)


def _unchanged_input(record: Mapping[str, Any], name: str) -> Path | None:
    """Return the path of a run's input file if the file exists and has the recorded SHA-256 hash, otherwise None."""
    inputs = record["inputs"]
    path = Path(str(inputs.get(name, "")))
    return path if path.is_file() and content_hash(path) == inputs.get(f"{name}_sha256") else None


def _read_record(path: Path) -> dict[str, Any] | None:
    """Read a run record. Return None if the file does not exist or does not contain a run record."""
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(data, dict):
        return None
    record = cast("dict[str, Any]", data)
    return record if {"inputs", "configuration", "output_seconds"} <= record.keys() else None


def _read_sound(path: Path, *, required: bool) -> NDArray[np.float32] | None:
    """Decode mono audio at 16 kHz, float32 [N]. Return None if the file has no audio and ``required`` is not set."""
    try:
        return pcm(path)
    except InputError:
        if required:
            raise
        return None
