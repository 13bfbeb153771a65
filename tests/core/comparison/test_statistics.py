from __future__ import annotations

import math
import random

import numpy as np
import pytest
from retalkit.comparison.results import ANCHOR, MISMATCHED, OWN, REAL, SILENCE, CellResult
from retalkit.comparison.stats.analysis import analyse
from retalkit.comparison.stats.model import Contrast
from retalkit.comparison.stats.resampling import clips_needed, holm, mean_interval, sign_flip_p, smallest_p
from retalkit.metrics import Measure

from tests.core.comparison.sample_results import LOSS, OFFSET, SCORE, cell, failed, real, results, row

EIGHT = [0.1, 0.4, 0.2, 0.9, 0.5, 0.7, 0.3, 0.6]
GAINS = [0.11, 0.14, 0.09, 0.12, 0.1, 0.13, 0.08, 0.15]
UP = [value + gain for value, gain in zip(EIGHT, GAINS, strict=True)]


def only(cells: list[CellResult], measure: Measure = SCORE, variant: str = "new") -> Contrast:
    contrast = analyse(results(cells, [measure])).contrast(variant, OWN, measure.name)
    assert contrast is not None
    return contrast


# --------------------------------------------------------------------------- resampling


def test_holm_matches_a_worked_example() -> None:
    # 4 x 0.005, 3 x 0.01, 2 x 0.03; then 0.04 is raised to 0.06, because adjusted values are monotonic.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_ignores_nan() -> None:
    adjusted = holm([0.02, math.nan, 0.6])
    assert adjusted[0] == pytest.approx(0.04)
    assert math.isnan(adjusted[1])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_six_differences_of_one_sign_have_p_2_in_64() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 7.0])
    assert sign_flip_p(values) == pytest.approx(2 / 64)
    assert sign_flip_p(-values) == pytest.approx(2 / 64)
    assert smallest_p(6) == 2 / 64


def test_sign_flip_test_is_exhaustive_for_few_differences() -> None:
    # Sums of +-1 +-2 +-3 with an absolute value of at least 4: 6, 4, -4, -6, so 4 of 8.
    assert sign_flip_p(np.array([-1.0, 2.0, 3.0])) == pytest.approx(4 / 8)
    assert sign_flip_p(np.array([1.0, -1.0, 2.0, -2.0])) == 1.0
    assert sign_flip_p(np.array([3.0])) == 1.0
    assert math.isnan(sign_flip_p(np.array([])))


def test_sign_flip_test_with_random_patterns_is_deterministic() -> None:
    values = np.random.default_rng(3).normal(0.5, 1.0, 40)
    assert sign_flip_p(values) == sign_flip_p(values)
    assert 0 < sign_flip_p(values) < 0.05
    assert sign_flip_p(values - values.mean()) > 0.9


def test_clips_needed_for_significance() -> None:
    for tests in (1, 2, 7, 20):
        needed = clips_needed(tests)
        assert tests * smallest_p(needed) <= 0.05 < tests * smallest_p(needed - 1)
    assert clips_needed() == 6
    assert clips_needed(7) == 9


def test_interval_coverage_is_about_95_percent() -> None:
    generator = np.random.default_rng(11)
    inside = 0
    for _ in range(200):
        low, high, method = mean_interval(generator.normal(5.0, 2.0, 25))
        assert method == "BCa"
        inside += low <= 5.0 <= high
    # An interval of half the width would cover the mean 135 times, one of 1.5 times the width 199 times.
    assert 178 <= inside <= 197


def test_interval_width_with_400_clips() -> None:
    # 1.96 x 2 / sqrt(400) = 0.196.
    low, high, _ = mean_interval(np.random.default_rng(5).normal(0.0, 2.0, 400))
    assert (high - low) / 2 == pytest.approx(0.196, abs=0.02)


@pytest.mark.parametrize(("count", "method"), [(2, ""), (3, "percentile"), (5, "percentile"), (6, "BCa")])
def test_interval_method_depends_on_the_number_of_clips(count: int, method: str) -> None:
    low, high, found = mean_interval(np.arange(count, dtype=float))
    assert found == method
    assert math.isnan(low) == math.isnan(high) == (not method)


def test_equal_values_have_an_interval_of_zero_width() -> None:
    assert mean_interval(np.full(8, 0.3)) == (0.3, 0.3, "percentile")


# --------------------------------------------------------------------------- summaries


def test_clips_are_weighted_equally() -> None:
    # One clip with ten speeches at 1, two clips with one speech at 0: 1/3, not 10/12.
    cells = [cell("base", "c0", {"score": 1.0}, speech=f"s{index}") for index in range(10)]
    cells += [cell("base", clip, {"score": 0.0}, speech="s0") for clip in ("c1", "c2")]
    summary = analyse(results(cells)).summary("base", OWN, "score")
    assert summary is not None
    assert (summary.clips, summary.cells) == (3, 12)
    assert summary.mean == pytest.approx(1 / 3)
    assert summary.values == (("c0", 1.0), ("c1", 0.0), ("c2", 0.0))


def test_clip_value_averages_seeds_before_speeches() -> None:
    cells = [cell("base", "c0", {"score": value}, speech="a", seed=seed) for seed, value in enumerate([0.0, 2.0])]
    cells += [cell("base", "c0", {"score": 3.0}, speech="b")]
    summary = analyse(results(cells)).summary("base", OWN, "score")
    assert summary is not None
    assert summary.mean == pytest.approx(2.0)
    assert math.isnan(summary.low)
    assert "1 clip" in summary.note and "3 clips" in summary.note


def test_summary_counts_failed_undefined_and_absent_cells_without_reruns() -> None:
    broken = cell("base", "c4", {})
    broken.failed_metrics["sample"] = "division by zero"
    absent = cell("base", "c5", {})
    absent.absent["sample"] = "no face"
    cells = [
        cell("base", "c0", {"score": 1.0}),
        cell("base", "c1", {"score": None}),
        cell("base", "c2", {"score": math.inf}),
        failed("base", "c3"),
        broken,
        absent,
        cell("base", "c0", {"score": 100.0}, rerun=1),
    ]
    summary = analyse(results(cells)).summary("base", OWN, "score")
    assert summary is not None
    assert (summary.cells, summary.clips, summary.failed, summary.undefined, summary.absent) == (6, 1, 2, 2, 1)
    assert summary.mean == 1.0


def test_variant_without_values_is_summarised() -> None:
    analysis = analyse(results([*row("base", EIGHT), *(failed("new", f"c{index}") for index in range(8))]))
    summary, contrast = analysis.summary("new", OWN, "score"), analysis.contrast("new", OWN, "score")
    assert summary is not None and contrast is not None
    assert (summary.failed, summary.clips, math.isnan(summary.mean)) == (8, 0, True)
    assert (contrast.verdict, contrast.reason) == ("cannot be shown", "no clip has values for both variants")
    assert contrast.unpaired == 8
    assert math.isnan(contrast.adjusted_p)


def test_measure_is_omitted_in_arms_without_its_metric() -> None:
    quiet = [cell("base", f"c{index}", {"loss": 0.1}, arm=SILENCE) for index in range(3)]
    analysis = analyse(results([*row("base", EIGHT), *quiet], [SCORE, LOSS]))
    assert analysis.summary("base", SILENCE, "score") is None
    assert analysis.summary("base", SILENCE, "loss") is not None


def test_failure_reasons_are_counted() -> None:
    broken = cell("new", "c3", {})
    broken.failed_metrics["sample"] = "no lips"
    cells = [*row("base", [1.0]), failed("new", "c0", "no face"), failed("new", "c1", "out of memory")]
    analysis = analyse(results([*cells, failed("new", "c2", "out of memory"), broken]))
    by_variant = {failures.variant: failures for failures in analysis.failures}
    assert by_variant["new"].reasons == (("out of memory", 2), ("no face", 1))
    assert by_variant["new"].metrics == (("sample", "no lips", 1),)
    assert (by_variant["new"].cells, by_variant["new"].failed) == (4, 3)
    assert (by_variant["base"].cells, by_variant["base"].failed) == (1, 0)


# --------------------------------------------------------------------------- contrasts


def test_consistent_gain_is_better_and_consistent_loss_worse() -> None:
    contrast = only([*row("base", EIGHT), *row("new", UP)])
    assert contrast.verdict == "better"
    assert contrast.p == contrast.adjusted_p == pytest.approx(2 / 256)
    assert contrast.mean == contrast.gain == pytest.approx(0.115)
    assert 0.09 < contrast.low < 0.115 < contrast.high < 0.14
    assert dict(contrast.differences)["c3"] == pytest.approx(0.12)
    assert only([*row("base", UP), *row("new", EIGHT)]).verdict == "worse"


def test_direction_lower_inverts_the_gain() -> None:
    contrast = only([*row("base", EIGHT, LOSS), *row("new", UP, LOSS)], LOSS)
    assert contrast.verdict == "worse"
    assert (contrast.mean, contrast.gain) == (pytest.approx(0.115), pytest.approx(-0.115))


def test_measures_with_an_ideal_compare_distances() -> None:
    # The base has offsets of both signs, so its mean is ideal although its videos are not.
    base = [-3.0, 3.0, -3.1, 3.1, -2.9, 2.9, -3.2, 3.2]
    contrast = only([*row("base", base, OFFSET), *row("new", [1.0] * 8, OFFSET)], OFFSET)
    assert (contrast.verdict, contrast.quantity) == ("better", "distance")
    assert contrast.mean == pytest.approx(-2.05)
    assert contrast.gain == pytest.approx(2.05)


def test_equal_distances_with_opposite_sign_are_not_identical() -> None:
    contrast = only([*row("base", [1.0] * 8, OFFSET), *row("new", [-1.0] * 8, OFFSET)], OFFSET)
    assert contrast.verdict == "no difference shown"


def test_inconsistent_differences_are_not_significant() -> None:
    mixed = [value + (0.1 if index % 2 else -0.1) for index, value in enumerate(EIGHT)]
    contrast = only([*row("base", EIGHT), *row("new", mixed)])
    assert contrast.verdict == "no difference shown"
    assert contrast.low < 0 < contrast.high


def test_equal_values_are_identical() -> None:
    contrast = only([*row("base", EIGHT), *row("new", EIGHT)])
    assert (contrast.verdict, contrast.p, contrast.mean) == ("identical", 1.0, 0.0)
    assert only([*row("base", EIGHT), *row("new", [*EIGHT[:-1], 0.6001])]).verdict != "identical"


def test_identical_is_independent_of_the_number_of_seeds() -> None:
    base = [cell("base", f"c{index}", {"score": 0.1}, seed=seed) for index in range(6) for seed in range(3)]
    assert only([*base, *row("new", [0.1] * 6)]).verdict == "identical"


def test_three_clips_cannot_show_any_difference() -> None:
    contrast = only([*row("base", [0.1, 0.2, 0.3]), *row("new", [10.1, 10.2, 10.3])])
    assert contrast.verdict == "cannot be shown"
    assert "3 clips" in contrast.reason and "6 clips" in contrast.reason
    assert contrast.mean == pytest.approx(10.0)
    assert only([*row("base", EIGHT[:6]), *row("new", UP[:6])]).verdict == "better"


def test_larger_family_requires_more_clips() -> None:
    cells = row("base", EIGHT)
    for index in range(7):
        cells += row(f"new {index}", [value + 0.01 * index for value in UP])
    contrast = only(cells, variant="new 0")
    assert contrast.family == 7
    assert contrast.adjusted_p == pytest.approx(7 * 2 / 256)
    assert contrast.verdict == "cannot be shown"
    assert all(fact in contrast.reason for fact in ("8 clips", "7 variants", "9 clips"))


def test_difference_not_significant_after_correction() -> None:
    # Seven gains and a loss of 0.1. Relative to all gains, the sign patterns that are at least as extreme flip nothing,
    # 0.08, 0.09 or one of the two 0.1: 5 of 256 on each side. Significant as a single test, not in a family of three.
    almost = [*UP[:7], EIGHT[7] - 0.1]
    single = only([*row("base", EIGHT), *row("new", almost)])
    assert single.p == pytest.approx(10 / 256)
    assert single.verdict == "better"
    others = [value + (0.1 if index % 2 else -0.1) for index, value in enumerate(EIGHT)]
    among = only([*row("base", EIGHT), *row("new", almost), *row("x", others), *row("y", others)])
    assert among.p == single.p
    assert among.adjusted_p == pytest.approx(3 * single.p)
    assert among.verdict == "no difference shown"


def test_only_clips_with_both_values_are_compared() -> None:
    # The last clip failed for the new variant. Without pairing, its mean would be higher than the base's.
    base, new = [1.0] * 7 + [-50.0], [0.9, 0.8, 0.9, 0.8, 0.9, 0.8, 0.9, None]
    contrast = only([*row("base", base), *row("new", new)])
    assert (contrast.verdict, contrast.clips, contrast.unpaired) == ("worse", 7, 1)
    swapped = only([*row("base", new), *row("new", base)])
    assert (swapped.verdict, swapped.clips, swapped.unpaired) == ("better", 7, 1)


def test_missing_speech_is_excluded_on_both_sides() -> None:
    cells: list[CellResult] = []
    for index in range(6):
        # Speech b is hard for both variants. If its failure were ignored, the mean over speeches would be biased.
        cells += [
            cell("base", f"c{index}", {"score": value}, speech=speech) for speech, value in [("a", 9.0), ("b", 1.0)]
        ]
        cells += [cell("new", f"c{index}", {"score": 8.0}, speech="a"), failed("new", f"c{index}", speech="b")]
    contrast = only(cells)
    assert (contrast.verdict, contrast.mean) == ("worse", -1.0)


def test_analysis_is_independent_of_cell_order() -> None:
    cells = [*row("base", EIGHT), *row("new", UP), *row("third", EIGHT[::-1])]
    first = results(cells)
    second = results(cells)
    random.Random(1).shuffle(second.cells)
    assert analyse(first) == analyse(second)


def test_no_contrasts_without_a_base() -> None:
    analysis = analyse(results(real(EIGHT)))
    assert (analysis.base, analysis.contrasts) == ("", ())
    assert analyse(results([])).summaries == ()


# --------------------------------------------------------------------------- noise floor


def test_difference_within_the_noise_floor_is_not_significant() -> None:
    cells = [*row("base", EIGHT), *row("new", UP)]
    # The rerun differs by 0.2, the variant by 0.115 on every clip.
    again = cell("base", "c3", {"score": EIGHT[3] - 0.2}, rerun=1)
    contrast = only([*cells, again])
    assert contrast.floor == pytest.approx(0.2)
    assert contrast.adjusted_p < 0.05
    assert contrast.verdict == "no difference shown"
    assert "rerun" in contrast.reason
    quiet = cell("base", "c3", {"score": EIGHT[3] - 0.1}, rerun=1)
    assert only([*cells, quiet]).verdict == "better"


def test_noise_floor_is_the_largest_rerun_difference() -> None:
    cells = [cell("base", "c0", {"score": 1.0}), cell("base", "c1", {"score": 5.0}), failed("new", "c0")]
    cells += [cell("base", "c0", {"score": 1.25}, rerun=1), cell("base", "c0", {"score": 0.5}, rerun=2)]
    cells += [cell("base", "c1", {"score": None}, rerun=1), cell("new", "c0", {"score": 9.0}, rerun=1)]
    noise = analyse(results(cells)).noise_floor(OWN, "score")
    assert noise is not None
    assert (noise.floor, noise.pairs) == (0.5, 2)
    assert noise.worst == "c0 / own / base / rerun 2"


def test_no_noise_floor_without_reruns() -> None:
    analysis = analyse(results(row("base", EIGHT)))
    noise = analysis.noise_floor(OWN, "score")
    assert noise is not None
    assert (noise.floor, noise.seed_spread, noise.seed_groups) == (None, None, 0)


def test_seed_spread_excludes_differences_between_clips() -> None:
    cells = [cell("base", "c0", {"score": value}, seed=seed) for seed, value in enumerate([1.0, 2.0, 3.0])]
    cells += [cell("base", "c1", {"score": value}, seed=seed) for seed, value in enumerate([99.0, 101.0])]
    noise = analyse(results(cells)).noise_floor(OWN, "score")
    assert noise is not None and noise.seed_spread is not None
    # Variances 1 and 2.
    assert noise.seed_spread == pytest.approx(math.sqrt(1.5))
    assert noise.seed_groups == 2


# --------------------------------------------------------------------------- positions between chance and real video


def position_cells(own: list[float], anchor: list[float], chance: list[float], measure: Measure) -> list[CellResult]:
    return [*real(anchor, measure), *row("base", own, measure), *row("base", chance, measure, MISMATCHED)]


def test_position_between_chance_and_real_video() -> None:
    own, anchor = [0.6] * 4 + [0.5] * 4, [0.9] * 8
    chance = [0.1, 0.2, 0.1, 0.2, 0.1, 0.2, 0.1, 0.2]
    [position] = analyse(results(position_cells(own, anchor, chance, SCORE))).positions
    assert position.share == pytest.approx((0.55 - 0.15) / (0.9 - 0.15))
    assert (position.against_anchor.verdict, position.against_anchor.against) == ("worse", REAL)
    assert (position.against_chance.verdict, position.against_chance.against) == ("better", MISMATCHED)


def test_variant_that_ignores_the_sound_is_at_chance_level() -> None:
    moved = [value + (0.01 if index % 2 else -0.01) for index, value in enumerate(EIGHT)]
    [position] = analyse(results(position_cells(EIGHT, [0.95] * 8, moved, SCORE))).positions
    assert position.share == pytest.approx(0.0, abs=0.01)
    assert position.against_chance.verdict == "no difference shown"


def test_position_of_measures_with_an_ideal_uses_distances() -> None:
    own, anchor, chance = [1.0, -1.0] * 4, [0.0] * 8, [8.0, -8.0] * 4
    [position] = analyse(results(position_cells(own, anchor, chance, OFFSET), [OFFSET])).positions
    # All three means are 0 before the distance is taken.
    assert (position.own, position.anchor, position.chance) == (1.0, 0.0, 8.0)
    assert position.share == pytest.approx(7 / 8)
    assert position.against_anchor.verdict == "worse"


def test_noise_floor_applies_to_positions() -> None:
    cells = position_cells([0.8] * 8, [0.9] * 8, [0.1] * 8, SCORE)
    [position] = analyse(results([*cells, cell("base", "c0", {"score": 0.5}, rerun=1)])).positions
    assert position.against_anchor.floor == pytest.approx(0.3)
    assert position.against_anchor.verdict == "no difference shown"
    assert position.against_chance.verdict == "better"
    [quiet] = analyse(results(cells)).positions
    assert (quiet.against_anchor.floor, quiet.against_anchor.verdict) == (None, "worse")


def test_share_is_nan_if_the_real_video_is_no_better_than_chance() -> None:
    [position] = analyse(results(position_cells([0.4] * 8, [0.2] * 8, [0.3] * 8, SCORE))).positions
    assert math.isnan(position.share)
    assert position.reason
    [lower] = analyse(results(position_cells([0.4] * 8, [0.2] * 8, [0.6] * 8, LOSS), [LOSS])).positions
    assert lower.share == pytest.approx(0.5)


def test_position_uses_only_clips_with_all_three_values() -> None:
    cells = [*real([1.0, 1.0]), *row("base", [0.5, 0.5, 0.0]), *row("base", [0.0, None, 0.0], arm=MISMATCHED)]
    [position] = analyse(results(cells)).positions
    assert (position.clips, position.share) == (1, 0.5)
    assert "1 clip" in position.against_chance.reason and "6 clips" in position.against_chance.reason


def test_real_video_has_a_summary_but_no_contrast() -> None:
    analysis = analyse(results([*row("base", EIGHT), *row("new", UP), *real(EIGHT)]))
    assert analysis.summary(ANCHOR, REAL, "score") is not None
    assert {contrast.variant for contrast in analysis.contrasts} == {"new"}
