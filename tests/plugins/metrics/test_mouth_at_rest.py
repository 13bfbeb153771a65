"""The metric ``quiet_mouth`` on a resting face, a speaking face, and synthetic openings."""

import math
from pathlib import Path

import numpy as np
import pytest
from retalkit.metrics.scene import Scene

from tests.plugins.metrics.scenes import SyntheticAnalysis, Tracker, score


def rest_scores(analysis: SyntheticAnalysis) -> dict[str, float]:
    return dict(score("quiet_mouth", Scene(video=Path("synthetic.mp4"), source=analysis.source, output=analysis)))


def test_resting_person_scores_low_and_speaking_person_high(
    tracker: Tracker, talking: Scene, shared_media: Path
) -> None:
    resting = score("quiet_mouth", tracker.unedited(shared_media / "silent_woman_1280x720p30.mp4", 0, 45))
    speaking = score("quiet_mouth", talking)
    assert resting["rest_opening"] < 1 < 5 < speaking["rest_opening"]
    assert resting["mouth_energy"] < 2 < 15 < speaking["mouth_energy"]


def test_repeated_frame_has_almost_no_energy(tracker: Tracker, talking: Scene) -> None:
    assert score("quiet_mouth", tracker.rearranged(talking, [5] * 40))["mouth_energy"] < 2


@pytest.mark.parametrize("rate", [25.0, 50.0])
def test_known_opening_and_speed(rate: float) -> None:
    """An increase of 0.02 per second with a face height of 2 is 1 % per second at any frame rate."""
    scores = rest_scores(SyntheticAnalysis(0.02 * np.arange(200) / rate, rate))
    assert scores["mouth_energy"] == pytest.approx(1.0, rel=0.01)
    assert rest_scores(SyntheticAnalysis(np.full(100, 0.05)))["rest_opening"] == pytest.approx(2.5)
    assert rest_scores(SyntheticAnalysis(np.full(100, 0.05)))["mouth_energy"] == pytest.approx(0, abs=1e-6)


def test_short_tracking_errors_are_ignored() -> None:
    glitch, open_mouth = np.zeros(200), np.zeros(200)
    glitch[100:102] = 0.2
    open_mouth[50:70] = 0.2
    assert rest_scores(SyntheticAnalysis(glitch))["rest_opening"] < 0.1
    assert rest_scores(SyntheticAnalysis(open_mouth))["rest_opening"] == pytest.approx(10)


@pytest.mark.parametrize("rate", [25.0, 30.0])
def test_cut_is_not_motion(rate: float) -> None:
    opening = np.where(np.arange(100) < 50, 0.0, 0.2)
    assert rest_scores(SyntheticAnalysis(opening, rate, shot=np.arange(100) // 50))["mouth_energy"] == pytest.approx(
        0, abs=1e-6
    )
    assert rest_scores(SyntheticAnalysis(opening, rate))["mouth_energy"] > 10


def test_no_face_gives_nan() -> None:
    assert all(
        math.isnan(value) for value in rest_scores(SyntheticAnalysis(np.full(50, np.nan), height=np.nan)).values()
    )
