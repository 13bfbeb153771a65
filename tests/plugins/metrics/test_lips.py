"""The metric ``lips`` on a real clip (unchanged, shifted, reversed, frozen) and on synthetic lips."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from retalkit.metrics import TRUTH
from retalkit.metrics.scene import Scene
from retalkit.motion_eval.agreement import Lips
from retalkit_metrics.lips import lip_scores

from tests.plugins.metrics.scenes import Frames, SyntheticAnalysis, Tracker, score


def test_clip_compared_with_itself(talking: Scene) -> None:
    scores = score("lips", talking)
    assert scores["opening_r"] > 0.999 and scores["width_r"] > 0.999
    assert scores["lip_lag"] == 0
    assert scores["opening_error"] < 0.01
    assert scores["closure_hits"] == scores["closure_precision"] == 1


@pytest.mark.parametrize("frames", [3, -2])
def test_shifted_clip_has_its_lag(talking: Scene, tracker: Tracker, frames: int) -> None:
    last = talking.source.info.frame_count - 1
    shifted = tracker.rearranged(talking, [min(max(0, index - frames), last) for index in range(last + 1)])
    scores = score("lips", shifted)
    assert scores["lip_lag"] == frames
    assert scores["opening_r"] > 0.95 and scores["width_r"] > 0.95
    assert scores["closure_hits"] == 1


def test_reversed_clip_scores_low(talking: Scene, tracker: Tracker) -> None:
    reversed_clip = tracker.rearranged(talking, range(talking.source.info.frame_count - 1, -1, -1))
    scores = score("lips", reversed_clip)
    assert scores["opening_r"] < 0.4 and scores["width_r"] < 0.4
    assert scores["opening_error"] > 1
    assert scores["closure_hits"] < 0.5


def test_unrelated_lips_score_low(talking: Scene, tracker: Tracker, shared_media: Path) -> None:
    other = tracker.unedited(shared_media / "talk_man_700p22.mp4", 0, 100)
    scores = score("lips", replace(talking, lips=other.lips, ports=talking.ports - {TRUTH}))
    assert scores["opening_r"] < 0.4
    assert math.isnan(scores["opening_error"])


def test_frozen_mouth_has_zero_correlation(talking: Scene, tracker: Tracker) -> None:
    scores = score("lips", tracker.rearranged(talking, [20] * talking.source.info.frame_count))
    assert scores["opening_r"] == 0
    assert scores["closure_hits"] == 0
    assert math.isnan(scores["lip_lag"])


def test_lost_face_counts_as_motionless(talking: Scene, tracker: Tracker) -> None:
    assert isinstance(talking.source, Frames)
    images = [image if index % 40 < 20 else np.zeros_like(image) for index, image in enumerate(talking.source.images)]
    frames = Frames(images, talking.source.rate)
    scores = score("lips", replace(talking, source=frames, output=tracker.track(frames)))
    assert scores["opening_r"] < 0.9
    assert scores["opening_error"] > 0.5
    assert scores["closure_hits"] < 1


# ------------------------------------------------------------------ synthetic lips


def talk(count: int = 200) -> Lips:
    """Lips that open and close every 20 frames with varying amplitude."""
    steps = np.arange(count)
    strength = np.random.default_rng(2).uniform(0.8, 1.6, count // 20 + 1)[steps // 20]
    opening = 0.1 * strength * (1 - np.cos(2 * np.pi * steps / 20))
    return Lips(opening, 0.5 + 0.05 * np.sin(steps / 7.3))


def test_scale_affects_only_the_error() -> None:
    reference = talk()
    wider = Lips(reference.opening * 1.5, reference.width + 0.2)
    scores = lip_scores(wider, reference, height=2.0)
    assert scores["opening_r"] == pytest.approx(1) and scores["width_r"] == pytest.approx(1)
    # Half the mean opening divided by a face height of 2.
    assert scores["opening_error"] == pytest.approx(reference.opening.mean() * 0.5 / 2 * 100)


def test_error_is_defined_only_for_the_same_person() -> None:
    assert math.isnan(lip_scores(talk(), talk())["opening_error"])
    made = SyntheticAnalysis(talk().opening + 0.02)
    scene = Scene(video=Path("synthetic.mp4"), source=made.source, output=made, lips=talk(), ports=frozenset({TRUTH}))
    assert score("lips", scene)["opening_error"] == pytest.approx(1.0, abs=0.05)


def test_open_mouth_misses_the_closures() -> None:
    reference = talk()
    scores = lip_scores(Lips(reference.opening + 0.1, reference.width), reference)
    assert scores["opening_r"] == pytest.approx(1)
    assert scores["closure_hits"] == 0
    assert math.isnan(scores["closure_precision"])


def test_slightly_open_closure_is_a_hit() -> None:
    reference = talk()
    scores = lip_scores(Lips(reference.opening + 0.04, reference.width), reference)
    assert scores["closure_hits"] == 1


def test_too_many_closures_lower_the_precision() -> None:
    reference = talk()
    flapping = Lips(0.1 * (1 - np.cos(2 * np.pi * np.arange(200) / 10)), reference.width)
    scores = lip_scores(flapping, reference)
    assert scores["closure_hits"] == 1
    assert 0.4 < scores["closure_precision"] < 0.6


def test_reference_start_time_is_used() -> None:
    whole = talk()
    later = Lips(whole.opening[50:], whole.width[50:], start=2.0)
    scores = lip_scores(whole, later)
    assert scores["lip_lag"] == 0
    assert scores["opening_r"] == pytest.approx(1)


@pytest.mark.parametrize(("late", "lag"), [(5, 5), (-5, -5), (6, None), (-6, None), (8, None)])
def test_lag_at_the_edge_of_the_search_range_is_nan(late: int, lag: int | None) -> None:
    whole = talk(240)
    shown = Lips(whole.opening[20 - late : 220 - late], whole.width[20 - late : 220 - late])
    scores = lip_scores(shown, Lips(whole.opening[20:220], whole.width[20:220]))
    assert math.isnan(scores["lip_lag"]) if lag is None else scores["lip_lag"] == lag
    # The correlation is still defined.
    assert math.isfinite(scores["opening_r"])


def test_less_than_a_second_in_common_gives_nan() -> None:
    whole = talk()
    short = Lips(whole.opening[:20], whole.width[:20])
    assert all(math.isnan(value) for value in lip_scores(whole, short).values())


def test_motionless_reference_gives_nan() -> None:
    still = Lips(np.full(200, 0.01), np.full(200, 0.5))
    scores = lip_scores(talk(), still)
    assert math.isnan(scores["opening_r"]) and math.isnan(scores["lip_lag"])


def test_closures_in_frames_without_face_are_missed() -> None:
    reference = talk()
    lost = np.zeros(200, bool)
    lost[100:] = True
    tracked = Lips(np.where(lost, np.nan, reference.opening), np.where(lost, np.nan, reference.width))
    # Without ``lost``, the frames are ignored.
    assert lip_scores(tracked, reference)["closure_hits"] == 1
    assert lip_scores(tracked, reference, lost=lost)["closure_hits"] == pytest.approx(0.5, abs=0.12)
    assert lip_scores(tracked, reference, lost=lost)["opening_r"] < 0.8
