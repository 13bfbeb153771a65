"""The metric ``face``, and the errors of other metrics if the face is lost."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from retalkit.metrics import LANDMARKS
from retalkit.metrics.scene import Scene
from retalkit.metrics.scoring import FACE_LOST
from retalkit.metrics.scoring import score as all_scores
from retalkit.observer import SilentObserver
from retalkit.plugins.discovery import discover

from tests.plugins.metrics.scenes import Frames, Tracker, score


def test_unedited_clip_keeps_its_face(talking: Scene) -> None:
    assert score("face", talking)["face_kept"] == 1


def test_black_frames_count_as_lost(talking: Scene, tracker: Tracker) -> None:
    assert isinstance(talking.source, Frames)
    images = [image if index >= 30 else np.zeros_like(image) for index, image in enumerate(talking.source.images)]
    frames = Frames(images, talking.source.rate)
    scores = score("face", replace(talking, source=frames, output=tracker.track(frames)))
    assert scores["face_kept"] == pytest.approx(1 - 30 / len(images), abs=0.03)


def test_frame_mapping_of_the_scene_is_used(talking: Scene) -> None:
    count = talking.source.info.frame_count
    reversed_order = replace(talking, sources=np.arange(count)[::-1].copy())
    assert score("face", reversed_order)["face_kept"] == 1
    assert math.isnan(score("face", replace(talking, original_analysis=None))["face_kept"])


def test_lost_face_is_an_error_not_a_missing_input(talking: Scene) -> None:
    registry = discover()
    metrics = [registry.metric(name) for name in ("face", "lips", "sharpness", "steadiness", "pixels")]
    gone = replace(talking, output=None, ports=talking.ports - {LANDMARKS})
    results = all_scores(gone, metrics, SilentObserver())
    assert results["face"].scores == {"face_kept": 0.0}
    assert results["lips"].error == results["sharpness"].error == results["steadiness"].error == FACE_LOST
    assert not results["pixels"].error and not results["pixels"].skip_reason
    # A face that the unedited clip does not show is a missing input.
    faceless = all_scores(replace(gone, original_analysis=None), metrics[1:2], SilentObserver())
    assert "a tracked face" in faceless["lips"].skip_reason
