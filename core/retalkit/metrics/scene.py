"""The input of a metric: one finished video and the data it can be compared with."""

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
    """A finished video and its reference data. Missing data is None.

    A metric is only opened for scenes that offer all ports that its spec needs.
    """

    video: Path
    """The video to score."""
    source: Source
    """Frames and timestamps of the video."""
    output: Analysis | None = None
    """The tracked face in the video: landmarks:mesh478 and coefficients:mesh. None if no face was found."""
    original: Source | None = None
    """The unedited clip."""
    original_analysis: Analysis | None = None
    """The tracked face in the unedited clip."""
    sources: NDArray[np.int64] | None = None
    """int64 [T]: the frame of ``original`` that each frame of the video was made from."""
    sound: NDArray[np.float32] | None = None
    """The audio that the lips should follow: float32 [N], mono at 16 kHz in [-1, 1], decoded losslessly. Starts with
    the video."""
    lips: Lips | None = None
    """Tracked lips of a person who speaks this audio."""
    record: Mapping[str, Any] | None = None
    """The run record (``retalkit.pipeline.record.RunRecord`` as plain data)."""
    ports: frozenset[str] = frozenset()
    """Ports (``retalkit.plugins.metric_specs.PORTS``) that the scene offers."""
    cache: StageCache | None = None
    """Directory in which a metric may store files."""
    weights: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Checkpoint name -> safetensors file, for the checkpoints in the metric's spec."""
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class ScoredFrame:
    """One frame of the video with its landmarks and its unedited frame."""

    index: int
    time: float
    """Seconds."""
    image: Image
    """RGB uint8 [H, W, 3]. Shared between metrics: read-only."""
    landmarks: Float
    """float32 [478, 3] in pixels, tracked in the video itself; NaN if no face was found."""
    original: Image | None
    """The unedited frame, RGB uint8 [H, W, 3], also read-only; None if the scene has no unedited clip."""
    original_landmarks: Float
    """float32 [478, 3] in pixels, of the face in the unedited frame; NaN if no face was found."""
    shot: int
    """Track number of the face; -1 if no face was found. It changes at a cut."""


class MetricSession(Protocol):
    """Measures one scene."""

    def add(self, frame: ScoredFrame) -> None:
        """Process the next frame. Called for every frame in order, but only if the spec needs ``frames``."""
        ...

    def result(self) -> Scores:
        """Return the value of each measure in the spec; NaN if undefined. Called once, at the end."""
        ...


class Metric(Protocol):
    """Opens one session per scene."""

    def open(self, scene: Scene) -> MetricSession: ...


def faces_kept(scene: Scene) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return for each frame whether the unedited frame shows a face, and whether the video still shows it.

    Both are bool [T]. Without an unedited clip both are False everywhere.
    """
    count = scene.source.info.frame_count
    at = np.arange(count) if scene.sources is None else scene.sources[:count]
    before, after = _has_face(scene.original_analysis), _has_face(scene.output)
    expected = np.zeros(count, np.bool_)
    inside = at < len(before)
    expected[: len(at)][inside] = before[at[inside]]
    kept = np.zeros(count, np.bool_)
    kept[: len(after)] = after[:count]
    return expected, kept & expected


def scored_frames(scene: Scene) -> Iterator[ScoredFrame]:
    """Yield every frame of the scene in order, each decoded once."""
    count = scene.source.info.frame_count
    times = scene.source.times(0, count)
    no_face = np.full((478, 3), np.nan, np.float32)
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
                landmarks=_landmarks(scene.output, index, no_face),
                original=original,
                original_landmarks=_landmarks(scene.original_analysis, at, no_face),
                shot=-1 if scene.output is None else int(scene.output.tracks(index, index + 1)[0]),
            )
    finally:
        frames.close()
        if originals is not None:
            originals.close()


def nearest_times(times: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for each time the index of the nearest of ``others`` (ascending), int64 [T]."""
    after = np.clip(np.searchsorted(others, times), 1, max(len(others) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(others) - 1)
    return np.where(times - others[before] <= others[after] - times, before, after).astype(np.int64)


def _originals(scene: Scene, count: int) -> Any:
    if scene.original is None:
        return None
    wanted = range(count) if scene.sources is None else [int(index) for index in scene.sources]
    return read_ahead(scene.original.read(wanted), depth=4)


def _has_face(analysis: Analysis | None) -> NDArray[np.bool_]:
    if analysis is None:
        return np.zeros(0, np.bool_)
    return analysis.tracks(0, analysis.source.info.frame_count) >= 0


def _landmarks(analysis: Analysis | None, index: int, default: Float) -> Float:
    if analysis is None or index >= analysis.source.info.frame_count:
        return default
    return analysis.landmarks(index, index + 1)[0]
