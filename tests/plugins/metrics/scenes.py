"""Scenes for metric tests: from a real clip, from edited frames, and synthetic ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from retalkit.config import RunConfig
from retalkit.geometry import mesh478
from retalkit.geometry.mesh_space import COUNT, FACE_HEIGHT, OPENING, WIDTH
from retalkit.media.sources import open_source
from retalkit.metrics import FRAMES, LANDMARKS, LIPS, ORIGINAL, TRUTH
from retalkit.metrics.scene import Scene, scored_frames
from retalkit.motion_eval.clips import measure_lips
from retalkit.observer import SilentObserver
from retalkit.pipeline.analysis_store import LimitedSource
from retalkit.pipeline.keys import analysis_keys
from retalkit.pipeline.plan import plan
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.discovery import discover
from retalkit.stages import Analysis, Source, SourceInfo
from retalkit.storage.cache import Cache

Image = NDArray[np.uint8]
Float = NDArray[np.float32]


class Frames:
    """In-memory ``Source``."""

    def __init__(self, images: list[Image], rate: float = 25.0) -> None:
        self.images = images
        self.rate = rate

    @property
    def info(self) -> SourceInfo:
        height, width = self.images[0].shape[:2]
        return SourceInfo(width, height, len(self.images), len(self.images) / self.rate)

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        return np.arange(start, stop) / self.rate

    def read(self, indexes: Iterable[int]) -> Iterator[tuple[int, Image]]:
        for index in indexes:
            yield index, self.images[index]


@dataclass
class SyntheticAnalysis:
    """``Analysis`` with given mouth openings and blank frames."""

    opening: NDArray[Any]
    """In distances between the outer eye corners."""
    rate: float = 25.0
    height: float = 2.0
    """Face height in the same unit."""
    shot: NDArray[Any] | None = None

    @property
    def source(self) -> Frames:
        return Frames([np.zeros((4, 4, 3), np.uint8)] * len(self.opening), self.rate)

    landmark_scheme = "mesh478"
    coefficient_space = "mesh"

    def landmarks(self, start: int, stop: int) -> Float:
        return np.zeros((stop - start, mesh478.COUNT, 3), np.float32)

    def coefficients(self, start: int, stop: int) -> Float:
        rows = np.zeros((len(self.opening), COUNT), np.float32)
        rows[:, OPENING] = self.opening
        rows[:, WIDTH] = 0.5
        rows[:, FACE_HEIGHT] = self.height
        return rows[start:stop]

    def boxes(self, start: int, stop: int) -> Float:
        return np.zeros((stop - start, 4), np.float32)

    def tracks(self, start: int, stop: int) -> NDArray[np.int32]:
        shot = np.zeros(len(self.opening)) if self.shot is None else self.shot
        return np.asarray(shot[start:stop], np.int32)


class Tracker:
    """Tracks faces like a run, with a cache in ``folder``."""

    def __init__(self, folder: Path) -> None:
        registry = discover()
        chosen = plan(RunConfig.from_preset("embedded", registry=registry), registry)
        self._steps = ClipSteps(chosen, Cache(folder), SilentObserver())
        self._count = 0

    def track(self, source: Source) -> Analysis:
        """Return landmarks, tracks and coefficients:mesh of every frame."""
        self._count += 1
        limited = LimitedSource(source, source.info.frame_count)
        keys = analysis_keys(self._steps.plan, f"clip {self._count}", limited.info.frame_count)
        return self._steps.fit(self._steps.track(limited, keys, Path("clip.mp4")), keys)

    def unedited(self, video: Path, first: int = 0, count: int | None = None) -> Scene:
        """Return a scene in which frames of a clip are compared with themselves."""
        source = open_source(video)
        stop = source.info.frame_count if count is None else first + count
        rate = source.info.frame_count / source.info.duration
        frames = Frames([image for _, image in source.read(range(first, stop))], rate)
        analysis = self.track(frames)
        return Scene(
            video=video,
            source=frames,
            output=analysis,
            original=frames,
            original_analysis=analysis,
            lips=measure_lips(analysis),
            ports=frozenset({FRAMES, LANDMARKS, ORIGINAL, TRUTH, LIPS}),
        )

    def rearranged(self, scene: Scene, order: Iterable[int]) -> Scene:
        """Return the scene with its frames reordered and tracked again, compared with the clip's lips."""
        assert isinstance(scene.source, Frames)
        frames = Frames([scene.source.images[index] for index in order], scene.source.rate)
        return replace(scene, source=frames, output=self.track(frames))


def edited(scene: Scene, change: Callable[[Image, Float, int], Image]) -> Scene:
    """Apply ``change(image, landmarks, index)`` to every frame; the tracked face stays the same."""
    assert isinstance(scene.source, Frames)
    changed = [change(frame.image, frame.landmarks, frame.index) for frame in scored_frames(scene)]
    return replace(scene, source=Frames(changed, scene.source.rate))


def score(metric: str, scene: Scene) -> Mapping[str, float]:
    """Run one installed metric on a scene and check the ranges of its measures."""
    spec = discover().metric(metric).spec
    session = spec.make().open(scene)
    if FRAMES in spec.needs:
        for frame in scored_frames(scene):
            session.add(frame)
    scores = session.result()
    assert set(scores) == {measure.name for measure in spec.measures}
    for measure in spec.measures:
        value = scores[measure.name]
        assert np.isnan(value) or measure.low - 1e-6 <= value <= measure.high + 1e-6, (measure.name, value)
    return scores
