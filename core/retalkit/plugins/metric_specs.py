"""Metric specs that plugins provide. The module does not import large packages.

A metric is opened for one scene, which contains a finished video and all available reference data (see
``retalkit.metrics.scene``). The metric returns one value for each of its measures. ``retalkit compare`` and ``retalkit
evaluate`` compute every metric whose required ports the scene provides, and report why the other metrics were skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from retalkit.plugins.specs import resolve

FRAMES: Final = "frames"
"""Port for video frames. The runner passes every frame to the method ``add`` of the metric's session."""
LANDMARKS: Final = "landmarks"
"""Port for the tracked face. ``Scene.output`` provides ``landmarks:mesh478`` and ``coefficients:mesh``."""
ORIGINAL: Final = "original"
"""Port for the unedited clip. Every video frame is paired with its source frame."""
TRUTH: Final = "truth"
"""Port for the ground truth, which is an unedited clip in which the person speaks the same words. The frames of this
clip are the ideal result."""
LIPS: Final = "lips"
"""Port for the tracked lips of a real person who speaks the same words (``Scene.lips``)."""
SPEECH: Final = "speech"
"""Port for audio with speech (``Scene.sound``)."""
QUIET: Final = "quiet"
"""Port for audio without speech. The mouth should be in its rest position."""
RECORD: Final = "record"
"""Port for the record of the run that generated the video."""

PORTS: Final = {
    FRAMES: "frames",
    LANDMARKS: "a tracked face in the video",
    ORIGINAL: "the unedited clip",
    TRUTH: "a frame-aligned unedited clip in which the same words are spoken",
    LIPS: "a reference video of a person who speaks the same words",
    SPEECH: "audio with speech",
    QUIET: "audio without speech",
    RECORD: "a run record",
}
"""Mapping from port to the port's description in messages."""

Direction = Literal["higher", "lower", "nearer"]


@dataclass(frozen=True, slots=True)
class Measure:
    """Definition of one value that a metric returns."""

    name: str
    """Column name in lower case with underscores. Names must be unique among all installed metrics."""
    title: str
    """Display name in tables, such as ``opening r``."""
    direction: Direction
    """Direction of improvement: ``higher``, ``lower``, or ``nearer`` (closer to ``ideal``)."""
    ideal: float | None = None
    """Best possible value, or None if no such value exists. The direction ``nearer`` requires an ideal value."""
    low: float = float("-inf")
    high: float = float("inf")
    """Upper bound of the value. ``low`` is the lower bound."""
    unit: str = ""
    """Unit such as ``s``, ``dB`` or ``% of face height``, or an empty string for ratios and correlations."""
    digits: int = 3
    """Number of decimal places in tables."""
    summary: str = ""
    """One-sentence description of what the measure quantifies and what it does not quantify."""

    def goodness(self, value: float) -> float:
        """Return ``value`` converted so that higher is always better. NaN remains NaN."""
        if self.direction == "higher":
            return value
        if self.direction == "lower":
            return -value
        assert self.ideal is not None
        return -abs(value - self.ideal)


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """Static description of a metric."""

    name: str
    """Metric name in comparison files, in lower case with underscores."""
    summary: str
    """One-line summary."""
    measures: tuple[Measure, ...]
    build: str | Callable[[], Any]
    """Import path ``package.module:Class``, which is imported on first use, or a callable without arguments. The result
    must be a ``retalkit.metrics.scene.Metric``."""
    source: str
    """Reference that defines the metric, such as a paper or an equation."""
    licence: str = "Apache-2.0"
    needs: frozenset[str] = frozenset()
    """Ports (constants of this module) that the metric requires."""
    uses: frozenset[str] = frozenset()
    """Optional ports that the metric uses if they are available."""
    requires: tuple[str, ...] = ()
    """Modules that must be importable, such as ``torch``."""
    install: str = ""
    """Argument for ``pip install`` that installs the required modules."""
    checkpoints: tuple[str, ...] = ()
    """Names of the checkpoints that the metric requires."""
    default: bool = True
    """Whether the metric is computed if a comparison file does not list any metrics."""
    version: str = "1"
    """Metric version, which is part of the cache key of stored scores. The version must be changed whenever a code
    change affects the metric's values."""
    api: int = 1
    """Contract version that the metric implements (``retalkit.stages.CONTRACT_VERSIONS``)."""

    def make(self) -> Any:
        """Import and instantiate the metric."""
        return resolve(self.build)()


Scores = Mapping[str, float]
"""Mapping from measure name to value, which is NaN if the measure is undefined for the scene."""
