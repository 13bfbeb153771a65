"""What a metric sees: one finished video, and all that it may be scored against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retalkit.media.prefetch import read_ahead
from retalkit.motion_eval.agreement import Lips
from retalkit.plugins.metric_specs import Scores
from retalkit.stages import Analysis, Source, StageCache

Float = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Scene:
    """A finished video with its surroundings. What is not there is None; a metric is only opened where all that its
    spec needs is there."""

    video: Path
    """The video that is scored."""
    source: Source
    """Its frames and times."""
    output: Analysis | None = None
    """The tracked face of the video: landmarks:mesh478 and coefficients:mesh. None where no face was found."""
    original: Source | None = None
    """The unedited clip."""
    original_analysis: Analysis | None = None
    """Its tracked face."""
    sources: NDArray[np.int64] | None = None
    """int64 [T]: the frame of ``original`` that each frame of the video was made of."""
    sound: NDArray[np.float32] | None = None
    """float32 [N], mono at 16 kHz in [-1, 1], decoded without loss: the sound that the lips should follow, its second 0
    at the video's second 0."""
    lips: Lips | None = None
    """The lips of somebody who really says it."""
    record: Mapping[str, Any] | None = None
    """The run record (``retalkit.pipeline.record.RunRecord`` as plain data)."""
    ports: frozenset[str] = frozenset()
    """What of ``retalkit.plugins.metric_specs.PORTS`` the scene offers."""
    cache: StageCache | None = None
    """A folder where a metric may keep files."""
    weights: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Checkpoint -> safetensors file, for those that the metric's spec names."""
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class ScoredFrame:
    """One frame of the video with what belongs to it."""

    index: int
    time: float
    """Seconds."""
    image: Image
    """RGB uint8 [H, W, 3]. Shared between metrics: do not write to it."""
    landmarks: Float
    """float32 [478, 3] pixels, tracked in the video itself; NaN where no face was found."""
    original: Image | None
    """The unedited frame, RGB uint8 [H, W, 3], shared as well; None without ``original``."""
    original_landmarks: Float
    """float32 [478, 3] pixels of the face in the unedited frame; NaN where there is none."""
    shot: int
    """Number of the shot that the frame belongs to; -1 where no face was found. A change is a cut."""


class MetricSession(Protocol):
    """Measures one scene."""

    def add(self, frame: ScoredFrame) -> None:
        """Takes the next frame; called for every frame in order, and only where the spec needs ``frames``."""
        ...

    def result(self) -> Scores:
        """The value of each measure that the spec names; NaN where one is not defined. Called once, at the end."""
        ...


class Metric(Protocol):
    """Gives sessions."""

    def open(self, scene: Scene) -> MetricSession: ...


def faces_kept(scene: Scene) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """bool [T] each, for the frames of the video: whether the unedited frame shows a face, and whether the video shows
    it, too. Without an unedited clip the first is False everywhere."""
    count = scene.source.info.frame_count
    at = np.arange(count) if scene.sources is None else scene.sources[:count]
    before, after = _has_face(scene.original_analysis), _has_face(scene.output)
    there = np.zeros(count, np.bool_)
    inside = at < len(before)
    there[: len(at)][inside] = before[at[inside]]
    kept = np.zeros(count, np.bool_)
    kept[: len(after)] = after[:count]
    return there, kept & there


def scored_frames(scene: Scene) -> Iterator[ScoredFrame]:
    """Every frame of the scene, decoded once, in order."""
    count = scene.source.info.frame_count
    times = scene.source.times(0, count)
    nothing = np.full((478, 3), np.nan, np.float32)
    originals = _originals(scene, count)
    frames = read_ahead(scene.source.read(range(count)), depth=4)
    try:
        for index, image in frames:
            original = next(originals)[1] if originals is not None else None
            at = int(scene.sources[index]) if scene.sources is not None else index
            yield ScoredFrame(
                index=index,
                time=float(times[index]),
                image=image,
                landmarks=_row(scene.output, index, nothing),
                original=original,
                original_landmarks=_row(scene.original_analysis, at, nothing),
                shot=-1 if scene.output is None else int(scene.output.tracks(index, index + 1)[0]),
            )
    finally:
        frames.close()
        if originals is not None:
            originals.close()


def _originals(scene: Scene, count: int) -> Any:
    if scene.original is None:
        return None
    wanted = range(count) if scene.sources is None else [int(index) for index in scene.sources]
    return read_ahead(scene.original.read(wanted), depth=4)


def _has_face(analysis: Analysis | None) -> NDArray[np.bool_]:
    if analysis is None:
        return np.zeros(0, np.bool_)
    return analysis.tracks(0, analysis.source.info.frame_count) >= 0


def _row(analysis: Analysis | None, index: int, nothing: Float) -> Float:
    if analysis is None or index >= analysis.source.info.frame_count:
        return nothing
    return analysis.landmarks(index, index + 1)[0]
