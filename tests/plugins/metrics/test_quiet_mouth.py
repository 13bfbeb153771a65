"""The metric ``quiet_mouth``: a still face, a talking one, and openings made by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
from retalkit.metrics.scene import Scene

from tests.plugins.metrics.scenes import MadeAnalysis, Tracker, score


def made(analysis: MadeAnalysis) -> dict[str, float]:
    return dict(score("quiet_mouth", Scene(video=Path("made.mp4"), source=analysis.source, output=analysis)))


def test_a_person_who_rests_scores_low_and_one_who_talks_high(
    tracker: Tracker, talking: Scene, shared_media: Path
) -> None:
    resting = score("quiet_mouth", tracker.unedited(shared_media / "silent_woman_1280x720p30.mp4", 0, 45))
    speaking = score("quiet_mouth", talking)
    assert resting["rest_opening"] < 1 < 5 < speaking["rest_opening"]
    assert resting["mouth_energy"] < 2 < 15 < speaking["mouth_energy"]


def test_one_picture_again_and_again_has_next_to_no_energy(tracker: Tracker, talking: Scene) -> None:
    assert score("quiet_mouth", tracker.rearranged(talking, [5] * 40))["mouth_energy"] < 2


@pytest.mark.parametrize("rate", [25.0, 50.0])
def test_numbers_made_by_hand(rate: float) -> None:
    """Up by 0.02 a second on a face of height 2: 1 % a second, at any frame rate."""
    scores = made(MadeAnalysis(0.02 * np.arange(200) / rate, rate))
    assert scores["mouth_energy"] == pytest.approx(1.0, rel=0.01)
    assert made(MadeAnalysis(np.full(100, 0.05)))["rest_opening"] == pytest.approx(2.5)
    assert made(MadeAnalysis(np.full(100, 0.05)))["mouth_energy"] == pytest.approx(0, abs=1e-6)


def test_a_slip_of_the_tracker_is_forgiven_and_a_leak_is_not() -> None:
    slip, leak = np.zeros(200), np.zeros(200)
    slip[100:102] = 0.2
    leak[50:70] = 0.2
    assert made(MadeAnalysis(slip))["rest_opening"] < 0.1
    assert made(MadeAnalysis(leak))["rest_opening"] == pytest.approx(10)


@pytest.mark.parametrize("rate", [25.0, 30.0])
def test_a_cut_is_no_motion(rate: float) -> None:
    opening = np.where(np.arange(100) < 50, 0.0, 0.2)
    assert made(MadeAnalysis(opening, rate, shot=np.arange(100) // 50))["mouth_energy"] == pytest.approx(0, abs=1e-6)
    assert made(MadeAnalysis(opening, rate))["mouth_energy"] > 10


def test_without_a_face_there_is_no_number() -> None:
    assert all(math.isnan(value) for value in made(MadeAnalysis(np.full(50, np.nan), height=np.nan)).values())
