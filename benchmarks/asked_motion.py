"""What stands in for speech in a benchmark: lips measured in another clip, or silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh_space
from retalkit.pipeline.analysis_store import StoredAnalysis

Float = NDArray[np.float32]


class WholeClip:
    """Implements ``retalkit.stages.Timeline``: the output shows the source frame by frame."""

    def __init__(self, analysis: StoredAnalysis) -> None:
        self._source = analysis.source
        self.count = analysis.source.info.frame_count
        self.duration = analysis.source.info.duration

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        return self._source.times(start, stop)

    def sources(self, start: int, stop: int) -> NDArray[np.int64]:
        return np.arange(start, stop, dtype=np.int64)


class NoSpeech:
    """Implements ``retalkit.stages.Speech`` with silence; the lips are driven by a file instead."""

    duration = 0.0

    def waveform(self, start: float, stop: float) -> Float:
        return np.zeros(round((stop - start) * 16000), np.float32)

    def mel_windows(self, times: NDArray[np.float64]) -> Float:
        return np.full((len(times), 80, 16), -4, np.float32)

    def activity(self, times: NDArray[np.float64]) -> Float:
        return np.zeros(len(times), np.float32)


def measured_motion(analysis: StoredAnalysis) -> dict[str, NDArray[np.floating]]:
    """The mouth motion of a clip in the units of ``MouthMotion``, from its landmarks."""
    count = analysis.source.info.frame_count
    rows, times = analysis.coefficients(0, count), analysis.source.times(0, count)
    seen = np.isfinite(rows[:, 0])
    rows, times = rows[seen], times[seen]
    opening, width = rows[:, mesh_space.OPENING], rows[:, mesh_space.WIDTH]
    protrusion = rows[:, mesh_space.PROTRUSION]
    shut = opening <= max(float(np.percentile(opening, 10)), 0.008)
    spread = width - np.median(width[shut])
    forward = np.maximum(protrusion - np.median(protrusion[shut]), 0)
    most, least = max(float(np.percentile(spread, 95)), 1e-3), max(float(-np.percentile(spread, 5)), 1e-3)
    return {
        "times": times - times[0],
        "opening": np.clip(opening / np.percentile(opening, 95), 0, 1.5),
        "width": np.clip(np.where(spread > 0, spread / most, spread / least), -1.5, 1.5),
        "protrusion": np.clip(forward / max(float(np.percentile(forward, 95)), 1e-3), 0, 1.5),
        "closure": (opening < 0.012).astype(np.float32),
        "speech": np.ones(len(times), np.float32),
    }


def motion_file(driver: StoredAnalysis | None, duration: float, path: Path) -> Path:
    """Writes the motion that is asked for, back and forth until ``duration``; no driver: silence."""
    if driver is None:
        flat = np.zeros(2)
        names = ("opening", "width", "protrusion", "closure", "speech")
        np.savez(path, times=np.array([0.0, duration + 1]), **dict.fromkeys(names, flat))
        return path
    motion = measured_motion(driver)
    own = motion.pop("times")
    times = np.arange(0, duration + 0.2, 0.02)
    length = float(own[-1])
    folded = np.abs((times + length) % (2 * length) - length)
    np.savez(path, times=times, **{name: np.interp(folded, own, values) for name, values in motion.items()})
    return path
