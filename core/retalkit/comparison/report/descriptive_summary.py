"""Descriptive summary of observed differences for comparisons with too few clips for a significance test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from retalkit.comparison.report.groups import arm_title
from retalkit.comparison.results import MISMATCHED
from retalkit.comparison.stats.contrasts import gain_of
from retalkit.comparison.stats.model import Contrast
from retalkit.plugins.metric_specs import Measure

ArmMeasures = list[tuple[str, list[str]]]
"""Pairs of arm title and measure titles."""


@dataclass(slots=True)
class DescriptiveSummary:
    """Measures for which a variant's difference from the base has the same sign in every clip. No significance test is
    performed."""

    clips: int
    """Largest number of clips over all measures. Measures with fewer clips are marked."""
    ahead: ArmMeasures = field(default_factory=list["tuple[str, list[str]]"])
    behind: ArmMeasures = field(default_factory=list["tuple[str, list[str]]"])
    mixed: int = 0
    """Number of (arm, measure) pairs in which a difference is zero or the sign varies between clips."""
    small: int = 0
    """Number of measures whose difference is within the rerun noise floor."""
    single: int = 0
    """Number of measures with values for a single clip, if other measures have values for more clips."""

    @property
    def lines(self) -> list[tuple[str, ArmMeasures]]:
        """Table rows, each of which consists of a heading and the measures in each arm."""
        where = "in the only clip" if self.clips == 1 else "in every clip"
        sides = (("ahead", self.ahead), ("behind", self.behind))
        return [(f"{side} {where}", measures) for side, measures in sides if measures]

    @property
    def rest(self) -> str:
        """Text with the counts of the measures that ``lines`` omits, or an empty string if ``lines`` omits no
        measure."""
        mixed = "no difference" if self.clips == 1 else "mixed"
        parts = ((self.mixed, mixed), (self.small, "within rerun variation"), (self.single, "in one clip only"))
        return "; ".join(f"{label}: {count}" for count, label in parts if count)


def summarise_untested(
    contrasts: Sequence[Contrast], measures: Mapping[str, Measure], costs: set[str]
) -> DescriptiveSummary | None:
    """Summarise the contrasts of one variant that have too few clips for a significance test.

    Cost measures are excluded. The arm ``mismatched`` is also excluded, because neither direction is an improvement in
    this arm. The function returns None if no contrast remains.
    """
    untested = [
        contrast
        for contrast in contrasts
        if contrast.verdict == "cannot be shown"
        and contrast.clips
        and contrast.arm != MISMATCHED
        and contrast.measure in measures
        and contrast.measure not in costs
    ]
    if not untested:
        return None
    found = DescriptiveSummary(max(contrast.clips for contrast in untested))
    for contrast in untested:
        measure = measures[contrast.measure]
        gains = [gain_of(difference, measure) for _, difference in contrast.differences]
        if contrast.clips == 1 < found.clips:
            found.single += 1
        elif not (all(gain > 0 for gain in gains) or all(gain < 0 for gain in gains)):
            found.mixed += 1
        elif contrast.floor is not None and abs(contrast.gain) <= contrast.floor:
            found.small += 1
        else:
            side = found.ahead if gains[0] > 0 else found.behind
            title = arm_title(contrast.arm)
            if not side or side[-1][0] != title:
                side.append((title, []))
            fewer = "" if contrast.clips == found.clips else f" ({contrast.clips} clips)"
            side[-1][1].append(measure.title + fewer)
    return found
