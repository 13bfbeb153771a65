"""Scores one finished video of any origin."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retalkit.errors import InputError
from retalkit.media.sound import pcm
from retalkit.media.sources import open_source
from retalkit.metrics.open_scene import SceneOpener, shown_sources
from retalkit.metrics.scoring import MetricScore, score
from retalkit.observer import Observer
from retalkit.plugins.metric_specs import FRAMES, LANDMARKS, LIPS, ORIGINAL, QUIET, RECORD, SPEECH, TRUTH
from retalkit.plugins.registry import FoundMetric, Registry
from retalkit.storage.cache import Cache, Folder, content_hash


@dataclass(frozen=True, slots=True)
class VideoScores:
    """What the metrics gave."""

    video: Path
    metrics: tuple[FoundMetric, ...]
    given: Mapping[str, MetricScore]
    ports: frozenset[str]
    """What of ``retalkit.plugins.metric_specs.PORTS`` there was."""

    def plain(self) -> dict[str, Any]:
        """Plain data for JSON; what is not defined is None."""
        measured = {
            name: {key: round(value, 6) if math.isfinite(value) else None for key, value in each.scores.items()}
            for name, each in self.given.items()
            if not each.absent and not each.error
        }
        left_out = {name: each.absent or each.error for name, each in self.given.items() if each.absent or each.error}
        return {"video": str(self.video), "scores": measured, "not_measured": left_out}


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
    """Scores ``video`` with every metric that has what it needs.

    ``original`` is the unedited clip, and ``speech`` the sound before it was encoded; where they are not given, those
    that the record beside a video of ours names, if they are still there and the same. The original's frames are the
    truth where ``reference`` is the same file. ``silent``: nobody speaks in the sound. Raises InputError for files that
    cannot be read.
    """
    if open_source(video).info.is_photo:
        raise InputError(f"{video} is a photo: give a finished video")
    record = video.with_name(video.name + ".json")
    known = _read(record)
    if original is None and known is not None:
        original = _input_of(known, "video")
    if speech is None and known is not None:
        # The sound in the video went through AAC, which shifts what hears it.
        speech = _input_of(known, "speech")
    heard = _sound(speech if speech is not None else video, must=speech is not None)
    ports = {FRAMES, LANDMARKS, ORIGINAL}
    ports |= {QUIET} if silent else {LIPS, SPEECH}
    ports |= {RECORD} if known is not None else set[str]()
    if reference is not None and original is not None and reference.resolve() == original.resolve():
        ports.add(TRUTH)
    sources = None
    if known is not None and original is not None:
        options = known["configuration"]
        sources = shown_sources(original, float(known["output_seconds"]), options["length"], options["extend"])
        sources = sources if len(sources) == open_source(video).info.frame_count else None
    with TemporaryDirectory(prefix="retalkit-evaluate-") as folder:
        scene = SceneOpener(registry, cache, observer).scene(
            video,
            frozenset(ports),
            original=original,
            sources=sources,
            sound=heard,
            reference=reference,
            record=record,
            folder=Folder(Path(folder)),
        )
        chosen = tuple(registry.metrics if metrics is None else metrics)
        observer.started("metrics", scene.source.info.frame_count)
        began = time.perf_counter()
        given = score(scene, chosen, observer)
        observer.finished("metrics", time.perf_counter() - began, False)
    return VideoScores(video, chosen, given, scene.ports)


def _input_of(record: Mapping[str, Any], name: str) -> Path | None:
    """A file that a run read, where it is still there with the same content."""
    inputs = record["inputs"]
    path = Path(str(inputs.get(name, "")))
    return path if path.is_file() and content_hash(path) == inputs.get(f"{name}_sha256") else None


def _read(record: Path) -> dict[str, Any] | None:
    """A run record, or None where there is none or the file is somebody else's."""
    try:
        data = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) and {"inputs", "configuration", "output_seconds"} <= set(data) else None  # pyright: ignore[reportUnknownVariableType]


def _sound(path: Path, must: bool) -> NDArray[np.float32] | None:
    """float32 [N] at 16 kHz; None where a video has none."""
    try:
        return pcm(path)
    except InputError:
        if must:
            raise
        return None
