"""Paired contrasts between variants, with one pair of values per clip, and their verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retalkit.comparison.stats.cell_table import ClipSpeechValues
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
    """Return the quantity to compare, which is the distance to the ideal value or, for measures without an ideal value,
    the value itself."""
    return "distance" if measure.direction == "nearer" else "value"


def gain_of(difference: float, measure: Measure) -> float:
    """Return the difference with its sign chosen such that positive values are improvements."""
    # A smaller distance is always better. Subtracting from 0.0 avoids a negative zero.
    return difference if measure.direction == "higher" else 0.0 - difference


@dataclass(frozen=True, slots=True)
class Pairing:
    """Paired differences between a variant and its counterpart (the base, the real video or the chance level)."""

    variant: str
    against: str
    clips: tuple[str, ...]
    differences: Values
    """Differences (variant - counterpart) in the tested quantity, float64 [clips]."""
    same: bool
    """Whether every value equals its counterpart, except for rounding errors of the computed means."""
    unpaired: int
    floor: float | None


def pair_clips(
    variant: str,
    against: str,
    values: tuple[ClipSpeechValues, ClipSpeechValues],
    quantities: tuple[ClipSpeechValues, ClipSpeechValues],
    floor: float | None,
) -> Pairing:
    """Return the mean difference of ``quantities`` for each clip, over the speeches with values for both the variant
    and its counterpart.

    ``values`` contains the measure's values before conversion to distances, because equal distances to the ideal value
    do not imply identical videos.
    """
    mine, other = quantities
    clips: list[str] = []
    differences: list[float] = []
    same = True
    for clip, speeches in mine.items():
        common = [speech for speech in speeches if speech in other.get(clip, {})]
        if common:
            equal = {speech for speech in common if _equal(values[0][clip][speech], values[1][clip][speech])}
            changes = [0.0 if speech in equal else speeches[speech] - other[clip][speech] for speech in common]
            clips.append(clip)
            differences.append(float(np.mean(changes)))
            same = same and len(equal) == len(common)
    unpaired = len(set(mine) | set(other)) - len(clips)
    return Pairing(variant, against, tuple(clips), np.array(differences, float), same, unpaired, floor)


def _equal(first: float, second: float) -> bool:
    # Due to rounding, the mean of three equal numbers can differ from the numbers in the last bit.
    return math.isclose(first, second, rel_tol=1e-14)


def contrasts(measure: Measure, arm: str, family: Sequence[Pairing]) -> list[Contrast]:
    """Test the pairings for one measure and arm, with a joint correction for multiple comparisons."""
    tests = sum(bool(pairing.clips) for pairing in family)
    p_values = [sign_flip_p(pairing.differences, tests) for pairing in family]
    adjusted = holm(p_values)
    # The Holm correction is monotonic, so this is the smallest attainable adjusted p value for this number of clips.
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
        return "cannot be shown", "no clip has values for both variants"
    if pairing.same:
        return "identical", f"all values are equal ({clips})"
    if possible > ALPHA:
        correction = f" and a correction for {tests} variants" if tests > 1 else ""
        needed = clips_needed(tests)
        return (
            "cannot be shown",
            f"a significant difference cannot be shown with {clips}{correction}: at least {needed} clips are required",
        )
    corrected = f"p = {adjusted:.2g}" + (f" (corrected for {tests} variants)" if tests > 1 else "")
    if adjusted > ALPHA:
        return "no difference shown", f"{corrected}, {clips}"
    if floor is not None and abs(gain) <= floor:
        return "no difference shown", f"{corrected}, but reruns of the same variant differ by up to {floor:.3g}"
    return ("better" if gain > 0 else "worse"), f"{corrected}, {clips}"
