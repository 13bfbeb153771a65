"""Result types of the statistical analysis, used by the tables and the report. Missing numbers are NaN."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Verdict = Literal["better", "worse", "identical", "no difference shown", "cannot be shown"]
Quantity = Literal["value", "distance"]
"""Compared quantity: the measure's value, or the distance to its ideal for measures that have one."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One measure of one variant in one arm."""

    variant: str
    arm: str
    measure: str
    clips: int
    """Number of clips with a value, which are the independent observations."""
    mean: float
    """Mean over clips of each clip's mean over its speeches and seeds. Reruns are excluded."""
    low: float
    high: float
    """95 % bootstrap interval of the mean."""
    method: str
    """``BCa``, ``percentile``, or empty if there is no interval."""
    note: str
    """Why there is no interval; else empty."""
    distance: float
    """Mean distance to the ideal; NaN for measures without one."""
    values: tuple[tuple[str, float], ...]
    """Clip and its value."""
    cells: int
    """All cells except reruns: with a value, failed, undefined and absent."""
    failed: int
    """Cells without a video, or whose metric raised an error."""
    undefined: int
    """Cells where the metric returned no finite number."""
    absent: int
    """Cells that lack an input of the metric."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """Paired comparison of two variants over clips, in one measure and arm."""

    variant: str
    arm: str
    measure: str
    against: str
    """Name of the base variant; in a ``Position``, the arm ``real`` or ``mismatched``."""
    quantity: Quantity
    clips: int
    """Clips where both have a value."""
    mean: float
    """Mean over clips of variant - base, in ``quantity``."""
    low: float
    high: float
    """95 % bootstrap interval of the mean, not corrected for the number of variants."""
    gain: float
    """``mean`` with its sign chosen so that positive is better."""
    p: float
    """Two-sided p of the sign-flip test over clips."""
    adjusted_p: float
    """p after Holm correction over all variants of the same arm and measure."""
    family: int
    """Number of tests corrected together."""
    floor: float | None
    """Rerun noise floor of the measure in this arm; None without reruns."""
    verdict: Verdict
    reason: str
    """One sentence."""
    differences: tuple[tuple[str, float], ...]
    """Clip and its difference, in ``quantity``."""
    unpaired: int
    """Clips where only one of the two has a value; they are excluded."""


@dataclass(frozen=True, slots=True)
class Position:
    """Position of a variant between chance level and the real video, over the clips that have all three."""

    variant: str
    measure: str
    quantity: Quantity
    clips: int
    own: float
    anchor: float
    """Mean of the real video."""
    chance: float
    """Mean of the same variant's videos scored against another clip's sound and lips."""
    share: float
    """(own - chance) / (anchor - chance): 0 is chance level, 1 the real video. NaN if the real video scores no better
    than chance."""
    reason: str
    """Why there is no share; else empty."""
    against_anchor: Contrast
    against_chance: Contrast


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """Run-to-run variation of a measure in one arm, over all variants."""

    arm: str
    measure: str
    floor: float | None
    """Largest absolute difference between a rerun and its original; None without reruns."""
    pairs: int
    """Number of reruns that have a value, as has their original."""
    worst: str
    """Label of the rerun with the largest difference; empty without reruns."""
    seed_spread: float | None
    """Standard deviation over seeds (root mean square over videos); None with a single seed."""
    seed_groups: int
    """Number of combinations of clip, speech and variant with more than one seed."""


@dataclass(frozen=True, slots=True)
class Failures:
    """Failures of one variant (or the real video), including reruns."""

    variant: str
    cells: int
    failed: int
    """Cells without a video."""
    reasons: tuple[tuple[str, int], ...]
    """Reason and number of cells, most frequent first."""
    metrics: tuple[tuple[str, str, int], ...]
    """Metric, error message and number of cells."""


@dataclass(frozen=True)
class Analysis:
    """Complete statistical analysis of a comparison."""

    base: str
    """Name of the base variant; empty if there is none."""
    clips: int
    """Number of clips in the comparison."""
    summaries: tuple[Summary, ...]
    contrasts: tuple[Contrast, ...]
    positions: tuple[Position, ...]
    noise: tuple[NoiseFloor, ...]
    failures: tuple[Failures, ...]

    @cached_property
    def _index(self) -> dict[tuple[str, ...], Summary | Contrast | NoiseFloor]:
        index: dict[tuple[str, ...], Summary | Contrast | NoiseFloor] = {}
        index.update({("summary", one.variant, one.arm, one.measure): one for one in self.summaries})
        index.update({("contrast", one.variant, one.arm, one.measure): one for one in self.contrasts})
        index.update({("noise", one.arm, one.measure): one for one in self.noise})
        return index

    def summary(self, variant: str, arm: str, measure: str) -> Summary | None:
        """Return a variant's summary, or None if the measure was not computed in the arm."""
        found = self._index.get(("summary", variant, arm, measure))
        return found if isinstance(found, Summary) else None

    def contrast(self, variant: str, arm: str, measure: str) -> Contrast | None:
        """Return the contrast of a variant with the base, or None if there is none."""
        found = self._index.get(("contrast", variant, arm, measure))
        return found if isinstance(found, Contrast) else None

    def noise_floor(self, arm: str, measure: str) -> NoiseFloor | None:
        """Return the noise floor of a measure in an arm, or None if the measure was not computed there."""
        found = self._index.get(("noise", arm, measure))
        return found if isinstance(found, NoiseFloor) else None
