"""Result types of the statistical analysis, which the tables and the report use. Missing numbers are NaN."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Verdict = Literal["better", "worse", "identical", "no difference shown", "cannot be shown"]
Quantity = Literal["value", "distance"]
"""Compared quantity, which is the distance to the ideal value or, for measures without an ideal value, the value
itself."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Summary of one measure for one variant in one arm."""

    variant: str
    arm: str
    measure: str
    clips: int
    """Number of clips with a value. Clips are the independent observations."""
    mean: float
    """Mean over clips of each clip's average over speeches and seeds. Reruns are excluded."""
    low: float
    high: float
    """Limits ``low`` and ``high`` of the mean's 95 % bootstrap interval."""
    method: str
    """Interval method: ``BCa``, ``percentile``, or an empty string if no interval was computed."""
    note: str
    """Reason why no interval was computed, or an empty string."""
    distance: float
    """Mean distance to the ideal value, or NaN for measures without an ideal value."""
    values: tuple[tuple[str, float], ...]
    """Pairs of clip and value."""
    cells: int
    """Total number of cells, including failed, undefined and absent cells. Reruns are excluded."""
    failed: int
    """Number of cells without a video and of cells for which the metric raised an error."""
    undefined: int
    """Number of cells for which the metric did not return a finite number."""
    absent: int
    """Number of cells that lack a required input of the metric."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """Paired comparison of two variants over clips, for one measure in one arm."""

    variant: str
    arm: str
    measure: str
    against: str
    """Name of the base variant. In a ``Position``, the name of the arm ``real`` or ``mismatched``."""
    quantity: Quantity
    clips: int
    """Number of clips with values for both variants."""
    mean: float
    """Mean over clips of the difference (variant - base) in ``quantity``."""
    low: float
    high: float
    """Limits ``low`` and ``high`` of the mean's 95 % bootstrap interval, not corrected for the number of variants."""
    gain: float
    """``mean`` with its sign chosen such that positive values are improvements."""
    p: float
    """Two-sided p value of the sign-flip test over clips."""
    adjusted_p: float
    """p value after Holm correction over all variants, for the arm and measure."""
    family: int
    """Number of tests that are corrected jointly."""
    floor: float | None
    """Noise floor of the measure in this arm, determined from reruns. None without reruns."""
    verdict: Verdict
    reason: str
    """One-sentence explanation of the verdict."""
    differences: tuple[tuple[str, float], ...]
    """Pairs of clip name and difference in ``quantity``."""
    unpaired: int
    """Number of clips that are excluded because only one of the two variants has a value."""


@dataclass(frozen=True, slots=True)
class Position:
    """Position of a variant between chance level and the real video.

    Only clips with values for the variant, the real video and the chance level are included.
    """

    variant: str
    measure: str
    quantity: Quantity
    clips: int
    own: float
    anchor: float
    """Mean score of the real video."""
    chance: float
    """Mean score of the variant's videos against a different clip's audio and lips."""
    share: float
    """Relative position (own - chance) / (anchor - chance), which is 0 at chance level and 1 for the real video.

    The relative position is NaN if the real video does not score better than chance level.
    """
    reason: str
    """Reason why ``share`` is NaN, or an empty string."""
    against_anchor: Contrast
    against_chance: Contrast


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """Run-to-run variation of a measure in one arm, over all variants."""

    arm: str
    measure: str
    floor: float | None
    """Largest absolute difference between a rerun and the original run, or None without reruns."""
    pairs: int
    """Number of reruns for which the rerun and the original run both have a value."""
    worst: str
    """Label of the rerun with the largest difference, or an empty string without reruns."""
    seed_spread: float | None
    """Standard deviation over seeds (root mean square over videos), or None with a single seed."""
    seed_groups: int
    """Number of combinations of clip, speech and variant with more than one seed."""


@dataclass(frozen=True, slots=True)
class Failures:
    """Failures of one variant or of the real video, including reruns."""

    variant: str
    cells: int
    failed: int
    """Number of cells without a video."""
    reasons: tuple[tuple[str, int], ...]
    """Pairs of reason and number of cells, in descending order of frequency."""
    metrics: tuple[tuple[str, str, int], ...]
    """Metric name, error message and number of cells for each metric error."""


@dataclass(frozen=True)
class Analysis:
    """Complete statistical analysis of a comparison."""

    base: str
    """Name of the base variant, or an empty string if the comparison has no base."""
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
        """Return the variant's summary, or None if the measure was not computed in the arm."""
        found = self._index.get(("summary", variant, arm, measure))
        return found if isinstance(found, Summary) else None

    def contrast(self, variant: str, arm: str, measure: str) -> Contrast | None:
        """Return the variant's contrast with the base, or None if no contrast was computed."""
        found = self._index.get(("contrast", variant, arm, measure))
        return found if isinstance(found, Contrast) else None

    def noise_floor(self, arm: str, measure: str) -> NoiseFloor | None:
        """Return the measure's noise floor in the arm, or None if the measure was not computed in the arm."""
        found = self._index.get(("noise", arm, measure))
        return found if isinstance(found, NoiseFloor) else None
