"""The metric ``lips``: the clip against itself, moved in time, turned round, frozen; and lips made by hand."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from retalkit.metrics import TRUTH
from retalkit.metrics.scene import Scene
from retalkit.motion_eval.agreement import Lips
from retalkit_metrics.lips import lip_scores

from tests.plugins.metrics.scenes import Frames, MadeAnalysis, Tracker, score


def test_a_clip_agrees_with_itself(talking: Scene) -> None:
    scores = score("lips", talking)
    assert scores["opening_r"] > 0.999 and scores["width_r"] > 0.999
    assert scores["lip_lag"] == 0
    assert scores["opening_error"] < 0.01
    assert scores["closure_hits"] == scores["closure_precision"] == 1


@pytest.mark.parametrize("frames", [3, -2])
def test_lips_that_come_late_or_early_have_that_lag(talking: Scene, tracker: Tracker, frames: int) -> None:
    last = talking.source.info.frame_count - 1
    moved = tracker.rearranged(talking, [min(max(0, index - frames), last) for index in range(last + 1)])
    scores = score("lips", moved)
    assert scores["lip_lag"] == frames
    assert scores["opening_r"] > 0.95 and scores["width_r"] > 0.95
    assert scores["closure_hits"] == 1


def test_lips_turned_round_in_time_are_flagged(talking: Scene, tracker: Tracker) -> None:
    turned = tracker.rearranged(talking, range(talking.source.info.frame_count - 1, -1, -1))
    scores = score("lips", turned)
    assert scores["opening_r"] < 0.4 and scores["width_r"] < 0.4
    assert scores["opening_error"] > 1
    assert scores["closure_hits"] < 0.5


def test_another_persons_lips_are_flagged(talking: Scene, tracker: Tracker, shared_media: Path) -> None:
    other = tracker.unedited(shared_media / "talk_man_700p22.mp4", 0, 100)
    scores = score("lips", replace(talking, lips=other.lips, ports=talking.ports - {TRUTH}))
    assert scores["opening_r"] < 0.4
    assert math.isnan(scores["opening_error"])


def test_a_frozen_mouth_has_no_correlation_and_still_counts(talking: Scene, tracker: Tracker) -> None:
    scores = score("lips", tracker.rearranged(talking, [20] * talking.source.info.frame_count))
    assert scores["opening_r"] == 0
    assert scores["closure_hits"] == 0
    assert math.isnan(scores["lip_lag"])


def test_a_face_that_is_lost_in_half_of_the_frames_is_no_better_than_one_that_stands_still(
    talking: Scene, tracker: Tracker
) -> None:
    assert isinstance(talking.source, Frames)
    images = [image if index % 40 < 20 else np.zeros_like(image) for index, image in enumerate(talking.source.images)]
    frames = Frames(images, talking.source.rate)
    scores = score("lips", replace(talking, source=frames, output=tracker.track(frames)))
    assert scores["opening_r"] < 0.9
    assert scores["opening_error"] > 0.5
    assert scores["closure_hits"] < 1


# ------------------------------------------------------------------ made by hand


def talk(count: int = 200) -> Lips:
    """Opens and closes once in 20 frames, each time another width."""
    steps = np.arange(count)
    strength = np.random.default_rng(2).uniform(0.8, 1.6, count // 20 + 1)[steps // 20]
    opening = 0.1 * strength * (1 - np.cos(2 * np.pi * steps / 20))
    return Lips(opening, 0.5 + 0.05 * np.sin(steps / 7.3))


def test_scale_does_not_matter_to_correlations_but_to_the_error() -> None:
    reference = talk()
    wider = Lips(reference.opening * 1.5, reference.width + 0.2)
    scores = lip_scores(wider, reference, height=2.0)
    assert scores["opening_r"] == pytest.approx(1) and scores["width_r"] == pytest.approx(1)
    # Half the mean opening, over a face height of 2.
    assert scores["opening_error"] == pytest.approx(reference.opening.mean() * 0.5 / 2 * 100)


def test_the_error_is_given_for_the_same_person_alone() -> None:
    assert math.isnan(lip_scores(talk(), talk())["opening_error"])
    made = MadeAnalysis(talk().opening + 0.02)
    scene = Scene(video=Path("made.mp4"), source=made.source, output=made, lips=talk(), ports=frozenset({TRUTH}))
    assert score("lips", scene)["opening_error"] == pytest.approx(1.0, abs=0.05)


def test_a_mouth_that_never_closes_misses_the_closures() -> None:
    reference = talk()
    scores = lip_scores(Lips(reference.opening + 0.1, reference.width), reference)
    assert scores["opening_r"] == pytest.approx(1)
    assert scores["closure_hits"] == 0
    assert math.isnan(scores["closure_precision"])


def test_a_closure_that_the_tracker_sees_a_little_open_is_still_one() -> None:
    reference = talk()
    scores = lip_scores(Lips(reference.opening + 0.04, reference.width), reference)
    assert scores["closure_hits"] == 1


def test_a_mouth_that_flaps_has_low_precision() -> None:
    reference = talk()
    flapping = Lips(0.1 * (1 - np.cos(2 * np.pi * np.arange(200) / 10)), reference.width)
    scores = lip_scores(flapping, reference)
    assert scores["closure_hits"] == 1
    assert 0.4 < scores["closure_precision"] < 0.6


def test_a_reference_that_begins_later_is_aligned_by_its_clock() -> None:
    whole = talk()
    later = Lips(whole.opening[50:], whole.width[50:], start=2.0)
    scores = lip_scores(whole, later)
    assert scores["lip_lag"] == 0
    assert scores["opening_r"] == pytest.approx(1)


@pytest.mark.parametrize(("late", "lag"), [(5, 5), (-5, -5), (6, None), (-6, None), (8, None)])
def test_a_lag_at_the_edge_of_the_search_was_not_found(late: int, lag: int | None) -> None:
    whole = talk(240)
    shown = Lips(whole.opening[20 - late : 220 - late], whole.width[20 - late : 220 - late])
    scores = lip_scores(shown, Lips(whole.opening[20:220], whole.width[20:220]))
    assert math.isnan(scores["lip_lag"]) if lag is None else scores["lip_lag"] == lag
    # What can be told without it still is.
    assert math.isfinite(scores["opening_r"])


def test_less_than_a_second_in_common_says_nothing() -> None:
    whole = talk()
    short = Lips(whole.opening[:20], whole.width[:20])
    assert all(math.isnan(value) for value in lip_scores(whole, short).values())


def test_a_reference_that_stands_still_says_nothing() -> None:
    still = Lips(np.full(200, 0.01), np.full(200, 0.5))
    scores = lip_scores(talk(), still)
    assert math.isnan(scores["opening_r"]) and math.isnan(scores["lip_lag"])


def test_closures_in_frames_without_the_face_are_missed() -> None:
    reference = talk()
    lost = np.zeros(200, bool)
    lost[100:] = True
    seen = Lips(np.where(lost, np.nan, reference.opening), np.where(lost, np.nan, reference.width))
    # The clip itself shows no face there: nothing can be asked.
    assert lip_scores(seen, reference)["closure_hits"] == 1
    assert lip_scores(seen, reference, lost=lost)["closure_hits"] == pytest.approx(0.5, abs=0.12)
    assert lip_scores(seen, reference, lost=lost)["opening_r"] < 0.8
