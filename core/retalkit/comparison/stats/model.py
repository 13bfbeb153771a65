"""What the statistics of a comparison say: plain data for tables and report. Numbers are NaN where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Verdict = Literal["better", "worse", "identical", "no difference shown", "cannot be shown"]
Quantity = Literal["value", "distance"]
"""What is compared: the measure's value, or for measures that should be near an ideal the distance to it."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One measure of one variant in one arm."""

    variant: str
    arm: str
    measure: str
    clips: int
    """Clips with a value: the number of independent observations."""
    mean: float
    """Over clips, of each clip's mean over its speeches and seeds. Reruns are left out."""
    low: float
    high: float
    """95 % bootstrap interval of the mean."""
    method: str
    """``BCa``, ``percentile``, or empty where there is no interval."""
    note: str
    """Why there is no interval; else empty."""
    distance: float
    """Mean distance to the ideal of a measure that should be near one; NaN for others."""
    values: tuple[tuple[str, float], ...]
    """Clip and its value."""
    cells: int
    """All cells, reruns left out: with a value, failed, undefined and absent."""
    failed: int
    """Cells without a video, or whose metric ended with an error."""
    undefined: int
    """Cells where the metric ran and gave no finite number."""
    absent: int
    """Cells that lack what the metric needs."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """A variant against another, clip by clip, in one measure and arm."""

    variant: str
    arm: str
    measure: str
    against: str
    """The base variant; in a ``Position`` the arm ``real`` or ``mismatched``."""
    quantity: Quantity
    clips: int
    """Clips where both have a value."""
    mean: float
    """Mean over clips of variant - base, in ``quantity``."""
    low: float
    high: float
    """95 % bootstrap interval of the mean, not corrected for the number of variants."""
    gain: float
    """``mean`` turned so that more than 0 is better."""
    p: float
    """Two-sided, sign-flip test over clips."""
    adjusted_p: float
    """After Holm over all variants of the same arm and measure."""
    family: int
    """How many tests were corrected together."""
    floor: float | None
    """Rerun noise floor of the measure in this arm; None where nothing was rerun."""
    verdict: Verdict
    reason: str
    """One sentence."""
    differences: tuple[tuple[str, float], ...]
    """Clip and its difference, in ``quantity``."""
    unpaired: int
    """Clips where only one of both has a value; they are left out."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a variant stands between chance and the real video. Over the clips that have all three."""

    variant: str
    measure: str
    quantity: Quantity
    clips: int
    own: float
    anchor: float
    """Of the real video."""
    chance: float
    """Of the same variant's video against another clip's sound and lips."""
    share: float
    """(own - chance) / (anchor - chance): 0 is chance, 1 the real video; NaN where that says nothing."""
    reason: str
    """Why there is no share; else empty."""
    against_anchor: Contrast
    against_chance: Contrast


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """How far a measure moves by itself in one arm, over all variants."""

    arm: str
    measure: str
    floor: float | None
    """Largest absolute difference between a rerun and its original; None where nothing was rerun."""
    pairs: int
    """Reruns that could be compared."""
    worst: str
    """Label of the rerun with the largest difference; empty where there is none."""
    seed_spread: float | None
    """Standard deviation over seeds (root mean square over videos); None where there is one seed only."""
    seed_groups: int
    """Clip, speech and variant with more than one seed."""


@dataclass(frozen=True, slots=True)
class Failures:
    """What failed in one variant (or the real video), reruns included."""

    variant: str
    cells: int
    failed: int
    """Cells without a video."""
    reasons: tuple[tuple[str, int], ...]
    """Reason and cells, the most frequent first."""
    metrics: tuple[tuple[str, str, int], ...]
    """Metric, its error and cells."""


@dataclass(frozen=True)
class Analysis:
    """All that the numbers of a comparison say."""

    base: str
    """Name of the base variant; empty where there is none."""
    clips: int
    """Clips in the comparison."""
    summaries: tuple[Summary, ...]
    contrasts: tuple[Contrast, ...]
    positions: tuple[Position, ...]
    noise: tuple[NoiseFloor, ...]
    failures: tuple[Failures, ...]

    @cached_property
    def _places(self) -> dict[tuple[str, ...], Summary | Contrast | NoiseFloor]:
        places: dict[tuple[str, ...], Summary | Contrast | NoiseFloor] = {}
        places.update({("summary", one.variant, one.arm, one.measure): one for one in self.summaries})
        places.update({("contrast", one.variant, one.arm, one.measure): one for one in self.contrasts})
        places.update({("noise", one.arm, one.measure): one for one in self.noise})
        return places

    def summary(self, variant: str, arm: str, measure: str) -> Summary | None:
        """None where the measure was taken from no video of the arm."""
        found = self._places.get(("summary", variant, arm, measure))
        return found if isinstance(found, Summary) else None

    def contrast(self, variant: str, arm: str, measure: str) -> Contrast | None:
        """The variant against the base."""
        found = self._places.get(("contrast", variant, arm, measure))
        return found if isinstance(found, Contrast) else None

    def noise_floor(self, arm: str, measure: str) -> NoiseFloor | None:
        found = self._places.get(("noise", arm, measure))
        return found if isinstance(found, NoiseFloor) else None
