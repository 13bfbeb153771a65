"""What the clips of a comparison showed where they are too few to show anything of others: counted, not tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from retalkit.comparison.report.groups import arm_title
from retalkit.comparison.results import MISMATCHED
from retalkit.comparison.stats.contrasts import gain_of
from retalkit.comparison.stats.model import Contrast
from retalkit.plugins.metric_specs import Measure

Places = list[tuple[str, list[str]]]
"""Title of an arm, and of the measures."""


@dataclass(slots=True)
class Tendency:
    """Where a variant lay on the same side of the base in every clip. No verdict, and it must not read as one."""

    clips: int
    """Clips that most of the measures have; those with fewer say so."""
    ahead: Places = field(default_factory=list["tuple[str, list[str]]"])
    behind: Places = field(default_factory=list["tuple[str, list[str]]"])
    mixed: int = 0
    """Measures, once in each arm, in which clips disagree or do not differ."""
    small: int = 0
    """Those that differ by no more than a rerun does."""
    single: int = 0
    """Those that one clip alone has, where others have more."""

    @property
    def lines(self) -> list[tuple[str, Places]]:
        """What is named: its beginning, and the measures."""
        where = "in the one clip" if self.clips == 1 else "in every clip"
        return [
            (f"{side} {where}", places) for side, places in (("ahead", self.ahead), ("behind", self.behind)) if places
        ]

    @property
    def rest(self) -> str:
        """What is not named, in words; empty where all is."""
        mixed = "no difference" if self.clips == 1 else "mixed"
        parts = ((self.mixed, mixed), (self.small, "no more than a rerun differs"), (self.single, "in one clip only"))
        return "; ".join(f"{what}: {count}" for count, what in parts if count)


def tendency_of(mine: Sequence[Contrast], measures: Mapping[str, Measure], costs: set[str]) -> Tendency | None:
    """Of the contrasts of one variant with the base; None where a test can be made of all of them.

    Only what has too few clips for a test: of the rest the test says more. Costs are left out, and ``mismatched``,
    where nothing is good or bad.
    """
    counted = [
        contrast
        for contrast in mine
        if contrast.verdict == "cannot be shown"
        and contrast.clips
        and contrast.arm != MISMATCHED
        and contrast.measure in measures
        and contrast.measure not in costs
    ]
    if not counted:
        return None
    found = Tendency(max(contrast.clips for contrast in counted))
    for contrast in counted:
        measure = measures[contrast.measure]
        gains = [gain_of(difference, measure) for _, difference in contrast.differences]
        if contrast.clips == 1 < found.clips:
            found.single += 1
        elif not (all(gain > 0 for gain in gains) or all(gain < 0 for gain in gains)):
            found.mixed += 1
        elif contrast.floor is not None and abs(contrast.gain) <= contrast.floor:
            found.small += 1
        else:
            places = found.ahead if gains[0] > 0 else found.behind
            title = arm_title(contrast.arm)
            if not places or places[-1][0] != title:
                places.append((title, []))
            fewer = "" if contrast.clips == found.clips else f" (of {contrast.clips} clips)"
            places[-1][1].append(measure.title + fewer)
    return found
