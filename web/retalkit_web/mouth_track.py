"""Position of each person's mouth over time, for the mouth zoom of the page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import threading

    from retalkit.config.model import RunConfig
    from retalkit.plugins.registry import Registry
    from retalkit.stages import ObjectPool

_INTERVAL: Final = 0.12
"""Minimum interval in seconds between two positions."""
_MOST: Final = 4000
_LIPS: Final = slice(48, 68)

MouthTrack = list[tuple[float, float, float, float]]


def mouth_tracks(
    video: Path,
    config: RunConfig,
    registry: Registry,
    cache: Path,
    pool: ObjectPool,
    cancellation: threading.Event,
    seconds: float,
) -> dict[str, MouthTrack]:
    """Return the mouth of each person: time in seconds, and centre and width relative to the size of the frame.

    The faces are read from the cache, in which an inspection has stored them. ``seconds``: analysed part of the video.
    """
    import numpy as np
    from retalkit.geometry.schemes import IBUG68, convert, convertible
    from retalkit.media.sources import open_source
    from retalkit.observer import SilentObserver
    from retalkit.pipeline.analysis_store import LimitedSource
    from retalkit.pipeline.clip_persons import find_persons
    from retalkit.pipeline.plan import plan
    from retalkit.pipeline.steps import ClipSteps
    from retalkit.storage.cache import Cache, content_hash

    source = open_source(video)
    times = source.times(0, source.info.frame_count)
    count = max(int(np.searchsorted(times, seconds - 1e-3, side="left")), 1)
    limited = LimitedSource(source, min(count, source.info.frame_count))
    steps = ClipSteps(plan(config, registry), Cache(cache), SilentObserver(), pool, cancellation)
    found = find_persons(steps, limited, content_hash(video), required=False)
    scheme = found.tracked.detections.scheme
    if IBUG68 not in convertible(scheme):
        return {}
    owners = {track: person.name for person in found.persons.persons for track in person.tracklets}
    interval = max(_INTERVAL, seconds / _MOST)
    tracks: dict[str, MouthTrack] = {name: [] for name in owners.values()}
    for frame, numbers in found.tracked:
        for face, track in zip(frame.faces, numbers.tolist(), strict=True):
            rows = tracks.get(owners.get(track, ""))
            time = float(times[frame.index])
            if rows is None or (rows and time - rows[-1][0] < interval):
                continue
            lips = convert(face.landmarks, scheme, IBUG68)[_LIPS, :2]
            centre, width = lips.mean(axis=0), float(np.ptp(lips[:, 0]))
            across, down = source.info.width, source.info.height
            row = time, float(centre[0]) / across, float(centre[1]) / down, width / across
            rows.append(tuple(round(each, 4) for each in row))  # pyright: ignore[reportArgumentType]
    return tracks
