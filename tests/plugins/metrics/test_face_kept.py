"""The metric ``face``: what is there, and what a method that destroys it gets from the others."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from retalkit.metrics import LANDMARKS
from retalkit.metrics.scene import Scene
from retalkit.metrics.scoring import FACE_GONE
from retalkit.metrics.scoring import score as all_scores
from retalkit.observer import SilentObserver
from retalkit.plugins.discovery import discover

from tests.plugins.metrics.scenes import Frames, Tracker, score


def test_a_clip_keeps_its_face(talking: Scene) -> None:
    assert score("face", talking)["face_kept"] == 1


def test_black_frames_are_counted(talking: Scene, tracker: Tracker) -> None:
    assert isinstance(talking.source, Frames)
    images = [image if index >= 30 else np.zeros_like(image) for index, image in enumerate(talking.source.images)]
    frames = Frames(images, talking.source.rate)
    scores = score("face", replace(talking, source=frames, output=tracker.track(frames)))
    assert scores["face_kept"] == pytest.approx(1 - 30 / len(images), abs=0.03)


def test_frames_are_looked_up_in_the_clip(talking: Scene) -> None:
    count = talking.source.info.frame_count
    backwards = replace(talking, sources=np.arange(count)[::-1].copy())
    assert score("face", backwards)["face_kept"] == 1
    assert math.isnan(score("face", replace(talking, original_analysis=None))["face_kept"])


def test_a_face_that_is_gone_is_a_failure_and_nothing_that_the_scene_lacks(talking: Scene) -> None:
    registry = discover()
    metrics = [registry.metric(name) for name in ("face", "lips", "sharpness", "steadiness", "pixels")]
    gone = replace(talking, output=None, ports=talking.ports - {LANDMARKS})
    given = all_scores(gone, metrics, SilentObserver())
    assert given["face"].scores == {"face_kept": 0.0}
    assert given["lips"].error == given["sharpness"].error == given["steadiness"].error == FACE_GONE
    assert not given["pixels"].error and not given["pixels"].absent
    # Nobody lost a face that was not there.
    never = all_scores(replace(gone, original_analysis=None), metrics[1:2], SilentObserver())
    assert "needs a face" in never["lips"].absent
