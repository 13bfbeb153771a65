"""Variant against variant, clip by clip, and what may be said of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retalkit.comparison.stats.lookup import Blocks
from retalkit.comparison.stats.model import Contrast, Quantity, Verdict
from retalkit.comparison.stats.resampling import (
    ALPHA,
    Values,
    clips_needed,
    holm,
    mean_interval,
    sign_flip_p,
    smallest_p,
)
from retalkit.plugins.metric_specs import Measure


def quantity_of(measure: Measure) -> Quantity:
    return "distance" if measure.direction == "nearer" else "value"


def gain_of(difference: float, measure: Measure) -> float:
    """A difference, turned so that more than 0 is better."""
    # Less is better of a distance, whatever the measure itself says. 0.0 - x, since there is no use for -0.
    return difference if measure.direction == "higher" else 0.0 - difference


@dataclass(frozen=True, slots=True)
class Pairing:
    """What a variant and its counterpart have in common."""

    variant: str
    against: str
    clips: tuple[str, ...]
    differences: Values
    """float64 [clips], variant - counterpart in the tested quantity."""
    same: bool
    """Every value equals its counterpart, but for the rounding of means."""
    unpaired: int
    floor: float | None


def pair_up(
    variant: str,
    against: str,
    values: tuple[Blocks, Blocks],
    quantities: tuple[Blocks, Blocks],
    floor: float | None,
) -> Pairing:
    """Differences of ``quantities`` over the speeches that both sides have of a clip, one mean for each clip.

    ``values`` are the measure's values as they are: equal distances to the ideal do not make two videos the same.
    """
    mine, other = quantities
    clips: list[str] = []
    differences: list[float] = []
    same = True
    for clip, speeches in mine.items():
        common = [speech for speech in speeches if speech in other.get(clip, {})]
        if common:
            equal = {speech for speech in common if _equal(values[0][clip][speech], values[1][clip][speech])}
            apart = [0.0 if speech in equal else speeches[speech] - other[clip][speech] for speech in common]
            clips.append(clip)
            differences.append(float(np.mean(apart)))
            same = same and len(equal) == len(common)
    unpaired = len(set(mine) | set(other)) - len(clips)
    return Pairing(variant, against, tuple(clips), np.array(differences, float), same, unpaired, floor)


def _equal(first: float, second: float) -> bool:
    # The mean of three equal numbers may differ from the number in its last bit.
    return math.isclose(first, second, rel_tol=1e-14)


def contrasts(measure: Measure, arm: str, family: Sequence[Pairing]) -> list[Contrast]:
    """Tests pairings of one measure and arm, corrected together."""
    tests = sum(bool(pairing.clips) for pairing in family)
    p_values = [sign_flip_p(pairing.differences, tests) for pairing in family]
    adjusted = holm(p_values)
    # Holm never gives less for larger p, so this is the best that so few clips could have come to.
    possible = holm([smallest_p(len(pairing.clips)) for pairing in family])
    return [
        _contrast(measure, arm, pairing, tests, p, q, best)
        for pairing, p, q, best in zip(family, p_values, adjusted, possible, strict=True)
    ]


def _contrast(
    measure: Measure, arm: str, pairing: Pairing, tests: int, p: float, adjusted: float, possible: float
) -> Contrast:
    count = len(pairing.clips)
    mean = float(pairing.differences.mean()) if count else math.nan
    low, high, _ = mean_interval(pairing.differences)
    gain = gain_of(mean, measure)
    verdict, reason = _verdict(pairing, gain, tests, adjusted, possible)
    return Contrast(
        variant=pairing.variant,
        arm=arm,
        measure=measure.name,
        against=pairing.against,
        quantity=quantity_of(measure),
        clips=count,
        mean=mean,
        low=low,
        high=high,
        gain=gain,
        p=p,
        adjusted_p=adjusted,
        family=tests,
        floor=pairing.floor,
        verdict=verdict,
        reason=reason,
        differences=tuple(zip(pairing.clips, pairing.differences.tolist(), strict=True)),
        unpaired=pairing.unpaired,
    )


def _verdict(pairing: Pairing, gain: float, tests: int, adjusted: float, possible: float) -> tuple[Verdict, str]:
    count, floor = len(pairing.clips), pairing.floor
    clips = "1 clip" if count == 1 else f"{count} clips"
    if not count:
        return "cannot be shown", "no clip has a value of both"
    if pairing.same:
        return "identical", f"every value is the same, {clips}"
    if possible > ALPHA:
        among = f" among {tests} variants" if tests > 1 else ""
        return "cannot be shown", f"with {clips} no difference can be shown{among}: {clips_needed(tests)} are needed"
    corrected = f"p = {adjusted:.2g}" + (f" corrected for {tests} variants" if tests > 1 else "")
    if adjusted > ALPHA:
        return "no difference shown", f"{corrected}, {clips}"
    if floor is not None and abs(gain) <= floor:
        return "no difference shown", f"{corrected}, but a rerun alone moves the number by up to {floor:.3g}"
    return ("better" if gain > 0 else "worse"), f"{corrected}, {clips}"
