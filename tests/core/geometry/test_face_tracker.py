"""Following one face."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from retalkit.geometry.face_tracker import Choice, FaceTracker, TrackedFace, intersection_over_union
from retalkit.stages import Face

Frame = tuple[list[Face], bool]


def face(x: float, size: float = 50, score: float = 0.9, y: float = 100) -> Face:
    box = np.array([x - size / 2, y - size / 2, x + size / 2, y + size / 2], np.float32)
    return Face(box, np.array([[x, y, 0], [x + 1, y, 0]], np.float32), score)


def follow(frames: Sequence[Frame], choice: Choice = "largest", look_ahead: int = 12) -> list[TrackedFace]:
    tracker = FaceTracker(choice, look_ahead=look_ahead)
    out: list[TrackedFace] = []
    for index, (faces, is_cut) in enumerate(frames):
        given = tracker.push(index, faces, is_cut)
        assert index + 1 - len(out) - len(given) <= look_ahead
        out.extend(given)
    out.extend(tracker.finish())
    assert [one.index for one in out] == list(range(len(frames)))
    return out


def places(tracked: Sequence[TrackedFace]) -> list[float | None]:
    return [None if one.face is None else float(one.face.box[[0, 2]].mean()) for one in tracked]


def shots(tracked: Sequence[TrackedFace]) -> list[int]:
    return [one.shot for one in tracked]


def test_one_face_is_one_track() -> None:
    tracked = follow([([face(100 + k)], False) for k in range(40)])
    assert shots(tracked) == [0] * 40
    assert places(tracked) == [100 + k for k in range(40)]


def test_the_face_that_is_largest_over_the_shot_wins() -> None:
    frames = [([face(100, 60 if k < 3 else 40), face(300, 55)], False) for k in range(30)]
    assert places(follow(frames)) == [300] * 30


def test_a_face_that_grows_later_does_not_take_over() -> None:
    frames = [([face(100, 50), face(300, 40 if k < 20 else 90)], False) for k in range(40)]
    assert places(follow(frames)) == [100] * 40


def test_order_of_detections_does_not_matter() -> None:
    frames = [([face(100 + k, 50), face(300, 48)][:: 1 if k % 2 else -1], False) for k in range(30)]
    assert places(follow(frames)) == [100 + k for k in range(30)]


def test_a_short_absence_does_not_hand_over_to_a_bystander() -> None:
    frames = [([face(300, 30)] if 15 <= k < 19 else [face(100), face(300, 30)], False) for k in range(40)]
    tracked = follow(frames)
    assert places(tracked) == [100] * 15 + [None] * 4 + [100] * 21
    assert shots(tracked) == [0] * 15 + [-1] * 4 + [1] * 21


def test_a_person_who_comes_back_is_known_again() -> None:
    # In the frames right after 15 the bystander is there for longer, so that area alone would choose him.
    frames = [([face(300, 46)] if 15 <= k < 23 else [face(100), face(300, 46)], False) for k in range(40)]
    assert places(follow(frames)) == [100] * 15 + [None] * 8 + [100] * 17


def test_a_face_that_stays_away_is_replaced() -> None:
    frames = [([face(100), face(300, 30)] if k < 15 else [face(300, 30)], False) for k in range(45)]
    tracked = follow(frames)
    assert places(tracked) == [100] * 15 + [300] * 30
    assert shots(tracked) == [0] * 15 + [1] * 30


def test_a_cut_starts_a_new_track_and_a_new_choice() -> None:
    frames = [([face(100)], False)] * 10 + [([face(100, 40), face(300)], k == 0) for k in range(10)]
    tracked = follow(frames)
    assert places(tracked) == [100] * 10 + [300] * 10
    assert shots(tracked) == [0] * 10 + [1] * 10


def test_a_cut_splits_the_track_of_a_face_that_did_not_move() -> None:
    assert shots(follow([([face(100)], k == 7) for k in range(14)])) == [0] * 7 + [1] * 7


@pytest.mark.parametrize(("choice", "place"), [(0, 80), (1, 200), (2, 320)])
def test_a_number_counts_from_left_to_right(choice: int, place: float) -> None:
    frames = [([face(320, 70), face(80, 20), face(200, 40)], False) for _ in range(20)]
    assert places(follow(frames, choice)) == [place] * 20


def test_a_number_waits_for_the_first_frame_with_so_many_faces() -> None:
    frames = [([face(320)] if k < 5 else [face(320), face(80)], False) for k in range(20)]
    assert places(follow(frames, 0)) == [320] * 20
    assert places(follow(frames, 1)) == [320] * 20
    assert places(follow(frames, 2)) == [None] * 20


def test_stretches_of_fewer_than_three_frames_are_dropped() -> None:
    frames = [([face(100)] if k in (4, 9, 10, 15, 16, 17) else [], False) for k in range(25)]
    tracked = follow(frames)
    assert [one.index for one in tracked if one.face] == [15, 16, 17]


def test_a_large_flash_of_a_face_does_not_win() -> None:
    frames = [([face(100, 30), *([face(300, 200)] if k == 2 else [])], False) for k in range(20)]
    assert places(follow(frames)) == [100] * 20


def test_a_photo_and_a_shot_of_two_frames_keep_their_face() -> None:
    assert places(follow([([face(100)], False)])) == [100]
    tracked = follow([([face(100)], k in (5, 7)) for k in range(12)])
    assert shots(tracked) == [0] * 5 + [1] * 2 + [2] * 5


def test_low_scores_are_dropped_but_a_followed_face_may_dip() -> None:
    assert places(follow([([face(100, score=0.4)], False)] * 10)) == [None] * 10
    scores = [0.9] * 5 + [0.4] * 5 + [0.2] * 5
    assert places(follow([([face(100, score=score)], False) for score in scores])) == [100] * 10 + [None] * 5


def test_a_face_does_not_keep_its_credit_over_a_cut() -> None:
    frames = [([face(100, score=0.9 if k < 8 else 0.4)], k == 8) for k in range(16)]
    assert places(follow(frames)) == [100] * 8 + [None] * 8


def test_a_jump_inside_a_shot_is_another_track() -> None:
    assert shots(follow([([face(100 if k < 8 else 400)], False) for k in range(16)])) == [0] * 8 + [1] * 8


def test_no_faces_at_all() -> None:
    assert shots(follow([([], False)] * 30)) == [-1] * 30


def test_overlap_of_boxes() -> None:
    one, other = np.array([0, 0, 2, 2], np.float32), np.array([1, 0, 3, 2], np.float32)
    assert intersection_over_union(one, other) == pytest.approx(1 / 3)
    assert intersection_over_union(one, one + 5) == 0
    assert intersection_over_union(one * 0, one * 0) == 0


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0"):
        FaceTracker(-1)
