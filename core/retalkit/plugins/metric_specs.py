"""Specs of the metrics that a plugin offers. Imports nothing heavy.

A metric is opened for one scene (``retalkit.metrics.scene``: a finished video and everything that it can be scored
against) and returns one number for each of its measures. ``retalkit compare`` and ``retalkit evaluate`` run every
metric whose needs the scene meets, and report why the others were skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from retalkit.plugins.specs import resolve

FRAMES: Final = "frames"
"""The metric reads every frame: ``add`` of its session is called."""
LANDMARKS: Final = "landmarks"
"""A face was tracked in the video: ``Scene.output`` has landmarks:mesh478 and coefficients:mesh."""
ORIGINAL: Final = "original"
"""The unedited clip: every frame is paired with the frame that it was made from."""
TRUTH: Final = "truth"
"""The unedited clip shows the same words, so that its frames are the ideal result."""
LIPS: Final = "lips"
"""Tracked lips of a real person who says the same words: ``Scene.lips``."""
SPEECH: Final = "speech"
"""Audio with speech: ``Scene.sound``."""
QUIET: Final = "quiet"
"""Audio without speech: the mouth should be at rest."""
RECORD: Final = "record"
"""The record of the run that made the video."""

PORTS: Final = {
    FRAMES: "frames",
    LANDMARKS: "a face that is tracked in the video",
    ORIGINAL: "the unedited clip",
    TRUTH: "a clip that shows the same words, frame for frame",
    LIPS: "lips of a person who says the words (a reference video)",
    SPEECH: "audio with speech",
    QUIET: "audio without speech",
    RECORD: "the record of the run",
}
"""Port -> name of the port in messages."""

Direction = Literal["higher", "lower", "nearer"]


@dataclass(frozen=True, slots=True)
class Measure:
    """One number that a metric returns."""

    name: str
    """Column name, unique among all installed metrics; lower case with underscores."""
    title: str
    """Name in tables, such as ``opening r``."""
    direction: Direction
    """``higher`` or ``lower`` is better, or ``nearer`` to ``ideal``."""
    ideal: float | None = None
    """The best value, if there is one; required for ``nearer``."""
    low: float = float("-inf")
    high: float = float("inf")
    """Range of possible values."""
    unit: str = ""
    """Unit, such as ``s``, ``dB``, ``% of face height``; empty for ratios and correlations."""
    digits: int = 3
    """Decimal places in tables."""
    summary: str = ""
    """One sentence: what the number measures, and what it does not."""

    def goodness(self, value: float) -> float:
        """Return the number converted so that higher is always better. NaN is unchanged."""
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
    """Name in comparison files; lower case with underscores."""
    summary: str
    """One line."""
    measures: tuple[Measure, ...]
    build: str | Callable[[], Any]
    """``package.module:Class`` (imported when it is first used) or a callable; called without arguments, returns a
    ``retalkit.metrics.scene.Metric``."""
    source: str
    """Paper, equation or definition of the metric."""
    licence: str = "Apache-2.0"
    needs: frozenset[str] = frozenset()
    """Ports (the constants of this module) that the metric requires."""
    uses: frozenset[str] = frozenset()
    """Ports that the metric reads if they are available."""
    requires: tuple[str, ...] = ()
    """Modules that must be importable, such as ``torch``."""
    install: str = ""
    """Argument of ``pip install`` that provides them."""
    checkpoints: tuple[str, ...] = ()
    """Names of the checkpoints that it requires."""
    default: bool = True
    """Whether it is measured if a comparison file names no metrics."""
    version: str = "1"
    """Change it whenever a number changes: it is part of the key of stored scores."""
    api: int = 1
    """Version of the contracts that it was made for (``retalkit.stages.CONTRACT_VERSIONS``)."""

    def make(self) -> Any:
        """Import and build the metric."""
        return resolve(self.build)()


Scores = Mapping[str, float]
"""Name of a measure -> its value; NaN if it is undefined for the scene."""
