"""What a plugin says of its metrics: the numbers that they give, where each comes from and what it needs. Light.

A metric is opened for one scene (``retalkit.metrics.scene``: a finished video and all that it may be scored
against) and gives one number for each of its measures. ``retalkit compare`` and ``retalkit evaluate`` run every metric
whose needs the scene meets, and say of the others why not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Literal

FRAMES: Final = "frames"
"""The metric wants to see every frame: its session's ``add`` is called."""
LANDMARKS: Final = "landmarks"
"""A face was tracked in the video: ``Scene.output`` has landmarks:mesh478 and coefficients:mesh."""
ORIGINAL: Final = "original"
"""The unedited clip: every frame comes with the frame that it was made of."""
TRUTH: Final = "truth"
"""The unedited clip shows the same words, so that its frames are what a perfect method gives."""
LIPS: Final = "lips"
"""The tracked lips of somebody who really says it: ``Scene.lips``."""
SPEECH: Final = "speech"
"""The sound with speech in it: ``Scene.sound``."""
QUIET: Final = "quiet"
"""Nobody speaks in the sound: the mouth should rest."""
RECORD: Final = "record"
"""The record of the run that made the video."""

PORTS: Final = {
    FRAMES: "frames",
    LANDMARKS: "a face that is tracked in the video",
    ORIGINAL: "the unedited clip",
    TRUTH: "a clip that shows the same words, frame for frame",
    LIPS: "lips of somebody who says the words (a reference video)",
    SPEECH: "a sound with speech",
    QUIET: "a sound without speech",
    RECORD: "the record of the run",
}
"""Port -> what messages call it."""

Direction = Literal["higher", "lower", "nearer"]


@dataclass(frozen=True, slots=True)
class Measure:
    """One number that a metric gives."""

    name: str
    """Column name, unique among all installed metrics; lower case with underscores."""
    title: str
    """What tables call it, for instance ``opening r``."""
    direction: Direction
    """``higher`` or ``lower`` is better, or ``nearer`` to ``ideal``."""
    ideal: float | None = None
    """The best value, where there is one; must be given for ``nearer``."""
    low: float = float("-inf")
    high: float = float("inf")
    """Range of possible values."""
    unit: str = ""
    """For instance ``s``, ``dB``, ``% of face height``; empty for ratios and correlations."""
    digits: int = 3
    """Digits behind the point in tables."""
    summary: str = ""
    """One sentence: what it tells, and what it does not."""

    def goodness(self, value: float) -> float:
        """The same number turned so that higher is always better. NaN stays."""
        if self.direction == "higher":
            return value
        if self.direction == "lower":
            return -value
        assert self.ideal is not None
        return -abs(value - self.ideal)


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """Says all about a metric without importing it."""

    name: str
    """Lower case with underscores; what a comparison file names."""
    summary: str
    """One line."""
    measures: tuple[Measure, ...]
    build: str | Callable[[], Any]
    """``package.module:Class`` (imported when it is first used) or a callable; called without arguments, gives a
    ``retalkit.metrics.scene.Metric``."""
    source: str
    """Paper, equation or definition that it follows."""
    licence: str = "Apache-2.0"
    needs: frozenset[str] = frozenset()
    """Ports (the constants of this module) without which it cannot be measured."""
    uses: frozenset[str] = frozenset()
    """Ports that it reads where they are there."""
    requires: tuple[str, ...] = ()
    """Modules that must be importable, such as ``torch``."""
    install: str = ""
    """What pip installs to have them."""
    checkpoints: tuple[str, ...] = ()
    """Names of the checkpoints without which it cannot run."""
    default: bool = True
    """Whether it is measured where a comparison file names no metrics."""
    version: str = "1"
    """Raise it whenever a number changes: stored scores are looked up by it."""
    api: int = 1
    """Version of the contracts that it was made for (``retalkit.stages.CONTRACT_VERSIONS``)."""

    def make(self) -> Any:
        """Imports and builds the metric."""
        if isinstance(self.build, str):
            module, _, attribute = self.build.partition(":")
            return getattr(import_module(module), attribute)()
        return self.build()


Scores = Mapping[str, float]
"""Name of a measure -> its value; NaN where it is not defined for the scene."""
