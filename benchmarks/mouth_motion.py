"""Mouth motion for benchmarks that do not use speech: lip motion tracked in a different clip, or a closed mouth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh_space
from retalkit.stages import Analysis


def measured_motion(analysis: Analysis) -> dict[str, NDArray[np.floating]]:
    """Return the clip's mouth motion, computed from its landmarks, in the units of ``MouthMotion``."""
    count = analysis.source.info.frame_count
    rows, times = analysis.coefficients(0, count), analysis.source.times(0, count)
    tracked = np.isfinite(rows[:, 0])
    rows, times = rows[tracked], times[tracked]
    opening, width = rows[:, mesh_space.OPENING], rows[:, mesh_space.WIDTH]
    protrusion = rows[:, mesh_space.PROTRUSION]
    closed = opening <= max(float(np.percentile(opening, 10)), 0.008)
    spread = width - np.median(width[closed])
    forward = np.maximum(protrusion - np.median(protrusion[closed]), 0)
    most, least = max(float(np.percentile(spread, 95)), 1e-3), max(float(-np.percentile(spread, 5)), 1e-3)
    return {
        "times": times - times[0],
        "opening": np.clip(opening / np.percentile(opening, 95), 0, 1.5),
        "width": np.clip(np.where(spread > 0, spread / most, spread / least), -1.5, 1.5),
        "protrusion": np.clip(forward / max(float(np.percentile(forward, 95)), 1e-3), 0, 1.5),
        "closure": (opening < 0.012).astype(np.float32),
        "speech": np.ones(len(times), np.float32),
    }


def write_motion(driver: Analysis | None, duration: float, path: Path) -> Path:
    """Write the mouth motion of ``driver``, played alternately forwards and backwards for ``duration`` seconds.

    If ``driver`` is None, the function writes the motion of a closed mouth.
    """
    if driver is None:
        closed = np.zeros(2)
        names = ("opening", "width", "protrusion", "closure", "speech")
        np.savez(path, times=np.array([0.0, duration + 1]), **dict.fromkeys(names, closed))
        return path
    motion = measured_motion(driver)
    measured_times = motion.pop("times")
    times = np.arange(0, duration + 0.2, 0.02)
    length = float(measured_times[-1])
    folded = np.abs((times + length) % (2 * length) - length)
    np.savez(path, times=times, **{name: np.interp(folded, measured_times, values) for name, values in motion.items()})
    return path
