"""Tracking of one face."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from retalkit.geometry.face_tracker import FaceChoice, FaceTracker, TrackedFace, intersection_over_union
from retalkit.stages import Face

Frame = tuple[list[Face], bool]


def face(x: float, size: float = 50, score: float = 0.9, y: float = 100) -> Face:
    box = np.array([x - size / 2, y - size / 2, x + size / 2, y + size / 2], np.float32)
    return Face(box, np.array([[x, y, 0], [x + 1, y, 0]], np.float32), score)


def track(frames: Sequence[Frame], choice: FaceChoice = "largest", look_ahead: int = 12) -> list[TrackedFace]:
    tracker = FaceTracker(choice, look_ahead=look_ahead)
    out: list[TrackedFace] = []
    for index, (faces, is_cut) in enumerate(frames):
        returned = tracker.push(index, faces, is_cut)
        assert index + 1 - len(out) - len(returned) <= look_ahead
        out.extend(returned)
    out.extend(tracker.finish())
    assert [one.index for one in out] == list(range(len(frames)))
    return out


def positions(tracked: Sequence[TrackedFace]) -> list[float | None]:
    return [None if one.face is None else float(one.face.box[[0, 2]].mean()) for one in tracked]


def shots(tracked: Sequence[TrackedFace]) -> list[int]:
    return [one.shot for one in tracked]


def test_one_face_is_one_track() -> None:
    tracked = track([([face(100 + k)], False) for k in range(40)])
    assert shots(tracked) == [0] * 40
    assert positions(tracked) == [100 + k for k in range(40)]


def test_face_with_largest_total_area_is_selected() -> None:
    frames = [([face(100, 60 if k < 3 else 40), face(300, 55)], False) for k in range(30)]
    assert positions(track(frames)) == [300] * 30


def test_face_that_grows_later_does_not_replace_the_track() -> None:
    frames = [([face(100, 50), face(300, 40 if k < 20 else 90)], False) for k in range(40)]
    assert positions(track(frames)) == [100] * 40


def test_order_of_detections_is_irrelevant() -> None:
    frames = [([face(100 + k, 50), face(300, 48)][:: 1 if k % 2 else -1], False) for k in range(30)]
    assert positions(track(frames)) == [100 + k for k in range(30)]


def test_short_absence_does_not_switch_to_another_person() -> None:
    frames = [([face(300, 30)] if 15 <= k < 19 else [face(100), face(300, 30)], False) for k in range(40)]
    tracked = track(frames)
    assert positions(tracked) == [100] * 15 + [None] * 4 + [100] * 21
    assert shots(tracked) == [0] * 15 + [-1] * 4 + [1] * 21


def test_returning_person_is_recognised() -> None:
    # Right after frame 15 the other person is visible in more frames, so the area alone would select them.
    frames = [([face(300, 46)] if 15 <= k < 23 else [face(100), face(300, 46)], False) for k in range(40)]
    assert positions(track(frames)) == [100] * 15 + [None] * 8 + [100] * 17


def test_face_absent_for_longer_than_the_window_is_replaced() -> None:
    frames = [([face(100), face(300, 30)] if k < 15 else [face(300, 30)], False) for k in range(45)]
    tracked = track(frames)
    assert positions(tracked) == [100] * 15 + [300] * 30
    assert shots(tracked) == [0] * 15 + [1] * 30


def test_cut_starts_new_track_and_new_selection() -> None:
    frames = [([face(100)], False)] * 10 + [([face(100, 40), face(300)], k == 0) for k in range(10)]
    tracked = track(frames)
    assert positions(tracked) == [100] * 10 + [300] * 10
    assert shots(tracked) == [0] * 10 + [1] * 10


def test_cut_splits_track_of_static_face() -> None:
    assert shots(track([([face(100)], k == 7) for k in range(14)])) == [0] * 7 + [1] * 7


@pytest.mark.parametrize(("choice", "position"), [(0, 80), (1, 200), (2, 320)])
def test_number_counts_faces_from_left_to_right(choice: int, position: float) -> None:
    frames = [([face(320, 70), face(80, 20), face(200, 40)], False) for _ in range(20)]
    assert positions(track(frames, choice)) == [position] * 20


def test_number_waits_for_first_frame_with_enough_faces() -> None:
    frames = [([face(320)] if k < 5 else [face(320), face(80)], False) for k in range(20)]
    assert positions(track(frames, 0)) == [320] * 20
    assert positions(track(frames, 1)) == [320] * 20
    assert positions(track(frames, 2)) == [None] * 20


def test_tracks_shorter_than_three_frames_are_dropped() -> None:
    frames = [([face(100)] if k in (4, 9, 10, 15, 16, 17) else [], False) for k in range(25)]
    tracked = track(frames)
    assert [one.index for one in tracked if one.face] == [15, 16, 17]


def test_large_face_in_a_single_frame_is_not_selected() -> None:
    frames = [([face(100, 30), *([face(300, 200)] if k == 2 else [])], False) for k in range(20)]
    assert positions(track(frames)) == [100] * 20


def test_photo_and_shot_of_two_frames_keep_their_face() -> None:
    assert positions(track([([face(100)], False)])) == [100]
    tracked = track([([face(100)], k in (5, 7)) for k in range(12)])
    assert shots(tracked) == [0] * 5 + [1] * 2 + [2] * 5


def test_low_scores_are_dropped_unless_the_face_is_tracked() -> None:
    assert positions(track([([face(100, score=0.4)], False)] * 10)) == [None] * 10
    scores = [0.9] * 5 + [0.4] * 5 + [0.2] * 5
    assert positions(track([([face(100, score=score)], False) for score in scores])) == [100] * 10 + [None] * 5


def test_lower_score_limit_does_not_carry_over_a_cut() -> None:
    frames = [([face(100, score=0.9 if k < 8 else 0.4)], k == 8) for k in range(16)]
    assert positions(track(frames)) == [100] * 8 + [None] * 8


def test_jump_inside_a_shot_starts_new_track() -> None:
    assert shots(track([([face(100 if k < 8 else 400)], False) for k in range(16)])) == [0] * 8 + [1] * 8


def test_clip_without_faces() -> None:
    assert shots(track([([], False)] * 30)) == [-1] * 30


def test_intersection_over_union() -> None:
    one, other = np.array([0, 0, 2, 2], np.float32), np.array([1, 0, 3, 2], np.float32)
    assert intersection_over_union(one, other) == pytest.approx(1 / 3)
    assert intersection_over_union(one, one + 5) == 0
    assert intersection_over_union(one * 0, one * 0) == 0


def test_negative_face_number_is_rejected() -> None:
    with pytest.raises(ValueError, match="at least 0, got -1"):
        FaceTracker(-1)
