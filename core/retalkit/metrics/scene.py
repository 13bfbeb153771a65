"""Input data for metrics: one finished video and its reference data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retalkit.media.prefetch import ReadAhead
from retalkit.motion_eval.agreement import Lips
from retalkit.plugins.metric_specs import Scores
from retalkit.stages import Analysis, Source, StageCache

Float = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Scene:
    """Finished video with its reference data. Attributes without data are None.

    A metric is opened only for scenes that provide all ports required by the metric's spec.
    """

    video: Path
    """Path of the video to score."""
    source: Source
    """Frames and timestamps of the video."""
    output: Analysis | None = None
    """Face tracked in the video (landmarks:mesh478, coefficients:mesh), or None if no face was found."""
    original: Source | None = None
    """Frames and timestamps of the unedited clip."""
    original_analysis: Analysis | None = None
    """Face tracked in the unedited clip."""
    sources: NDArray[np.int64] | None = None
    """Frame index in ``original`` from which each video frame was rendered, int64 [T]."""
    sound: NDArray[np.float32] | None = None
    """Target audio of the lip motion, float32 [N], mono at 16 kHz in [-1, 1], decoded from the file before encoding.

    The audio starts at the video's start time.
    """
    lips: Lips | None = None
    """Lip features of a person who speaks the audio in ``sound``."""
    record: Mapping[str, Any] | None = None
    """Run record (``retalkit.pipeline.record.RunRecord``) as JSON-compatible data."""
    ports: frozenset[str] = frozenset()
    """Ports that the scene provides, a subset of ``retalkit.plugins.metric_specs.PORTS``."""
    cache: StageCache | None = None
    """Directory in which a metric can store files."""
    weights: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Mapping from checkpoint name to safetensors file for the checkpoints declared in the metric's spec."""
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class ScoredFrame:
    """Video frame with its landmarks and the unedited frame from which it was rendered."""

    index: int
    time: float
    """Timestamp in seconds."""
    image: Image
    """RGB image, uint8 [H, W, 3]. The array is read-only because it is shared between metrics."""
    landmarks: Float
    """Landmarks tracked in the video, float32 [478, 3] in pixels, or NaN if no face was found."""
    original: Image | None
    """Unedited frame, RGB uint8 [H, W, 3], read-only. None if the scene has no unedited clip."""
    original_landmarks: Float
    """Landmarks of the face in the unedited frame, float32 [478, 3] in pixels, or NaN if no face was found."""
    shot: int
    """Track number of the face, which changes at a cut, or -1 if no face was found."""


class MetricSession(Protocol):
    """Computation of one metric for one scene."""

    def add(self, frame: ScoredFrame) -> None:
        """Process the next frame.

        This method is called for all frames in order, but only if the metric's spec requires the port ``frames``.
        """
        ...

    def result(self) -> Scores:
        """Return the value of each measure in the metric's spec. An undefined value is NaN.

        This method is called once, after the last frame.
        """
        ...


class Metric(Protocol):
    """Factory for metric sessions, one per scene."""

    def open(self, scene: Scene) -> MetricSession: ...


def faces_kept(scene: Scene) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return masks of the frames with a face in the unedited clip, and of the frames with a face in both videos.

    The masks are bool [T]. Without an unedited clip, all values are False.
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
    """Yield all frames of the scene in order. Each frame is decoded only once."""
    count = scene.source.info.frame_count
    times = scene.source.times(0, count)
    no_face = np.full((478, 3), np.nan, np.float32)
    originals = _originals(scene, count)
    frames = ReadAhead(scene.source.read(range(count)), depth=4)
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
    """Return, for each timestamp in ``times``, the index of the nearest value in ``others`` (ascending), int64 [T]."""
    after = np.clip(np.searchsorted(others, times), 1, max(len(others) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(others) - 1)
    return np.where(times - others[before] <= others[after] - times, before, after).astype(np.int64)


def _originals(scene: Scene, count: int) -> Any:
    if scene.original is None:
        return None
    wanted = range(count) if scene.sources is None else [int(index) for index in scene.sources]
    return ReadAhead(scene.original.read(wanted), depth=4)


def _has_face(analysis: Analysis | None) -> NDArray[np.bool_]:
    if analysis is None:
        return np.zeros(0, np.bool_)
    return analysis.tracks(0, analysis.source.info.frame_count) >= 0


def _landmarks(analysis: Analysis | None, index: int, default: Float) -> Float:
    if analysis is None or index >= analysis.source.info.frame_count:
        return default
    return analysis.landmarks(index, index + 1)[0]
