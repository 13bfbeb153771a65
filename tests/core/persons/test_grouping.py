"""Grouping of tracklets into persons, and the selection of persons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from retalkit.cues.model import Cue, CueSheet
from retalkit.errors import CueError
from retalkit.geometry.face_tracklets import NO_TRACKLET, TrackletBuilder
from retalkit.persons.grouping import Persons, Tracklet, group_tracklets
from retalkit.persons.selectors import PersonSelector, parse_selector
from retalkit.pipeline.person_selection import PersonSelection
from retalkit.pipeline.tracklets import FaceTable
from retalkit.stages import Face


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other))


def tracklet(number: int, first: int, last: int, scene: int = 0, x: float = 0.0) -> Tracklet:
    box = (x, 0.0, x + 40.0, 40.0)
    frames = last - first + 1
    return Tracklet(
        number=number,
        scene=scene,
        first=first,
        last=last,
        frames=frames,
        area=1600.0 * frames,
        first_box=box,
        last_box=box,
    )


def groups(persons: Persons) -> list[tuple[int, ...]]:
    return [person.tracklets for person in persons.persons]


def grouped(tracklets: list[Tracklet], values: dict[int, float]) -> Persons:
    return group_tracklets(tracklets, {n: np.array([v], np.float32) for n, v in values.items()}, distance)


def test_people_who_swap_places_are_recognised() -> None:
    before = [tracklet(0, 0, 49), tracklet(1, 0, 49, x=200)]
    after = [tracklet(2, 50, 89, 1), tracklet(3, 50, 89, 1, x=200)]
    assert groups(grouped([*before, *after], {0: 0.0, 1: 3.0, 2: 3.1, 3: 0.1})) == [(0, 3), (1, 2)]


def test_uncertain_tracklets_belong_to_nobody() -> None:
    shown = [tracklet(0, 0, 49), tracklet(1, 60, 89, 1), tracklet(2, 100, 120, 2)]
    persons = grouped(shown, {0: 0.0, 1: 1.0, 2: 0.1})
    assert groups(persons) == [(0, 2)]
    assert persons.uncertain == {1: (1, pytest.approx(0.5, abs=0.01))}
    # Without a descriptor nothing is known, and two people at one time are never one person.
    assert grouped(shown, {0: 0.0, 2: 0.1}).uncertain.keys() == {1}
    assert groups(grouped([tracklet(0, 0, 49), tracklet(1, 20, 30)], {0: 0.0, 1: 0.0})) == [(0,), (1,)]


def test_tracklet_of_one_of_two_similar_people_may_be_either() -> None:
    shown = [tracklet(0, 0, 49), tracklet(1, 0, 49, x=200), tracklet(2, 60, 89, 1), tracklet(3, 90, 110, 2)]
    persons = grouped(shown, {0: 0.0, 1: 0.2, 2: 0.1, 3: 1.1})
    assert groups(persons) == [(0,), (1,)]
    assert persons.possible == {2: {1, 2}, 3: {1, 2}}
    assert grouped(shown[:3], {0: 0.0, 1: 3.0, 2: 1.0}).possible == {2: {1}}


def test_a_short_absence_at_one_place_needs_less_similarity() -> None:
    values = {0: 0.0, 1: 1.0}
    assert groups(grouped([tracklet(0, 0, 49), tracklet(1, 60, 89)], values)) == [(0, 1)]
    assert groups(grouped([tracklet(0, 0, 49), tracklet(1, 60, 89, x=200)], values)) == [(0,)]
    assert groups(grouped([tracklet(0, 0, 49), tracklet(1, 60, 89, scene=1)], values)) == [(0,)]


def test_faces_that_separate_start_new_tracklets() -> None:
    builder = TrackletBuilder()
    shape = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)

    def face(x: float, mirrored: bool = False) -> Face:
        points = shape * ([-20, 20, 20] if mirrored else [20, 20, 20]) + [x, 50, 0]
        return Face(np.array([x - 20, 30, x + 20, 70], np.float32), points.astype(np.float32), 0.9)

    apart = [builder.push([face(50), face(150)], False).tolist() for _ in range(3)]
    assert apart == [[0, 1]] * 3
    assert builder.push([face(60), face(90, mirrored=True)], False)[0] == 0
    builder = TrackletBuilder()
    builder.push([face(50), face(85)], False)  # touching
    assert builder.push([face(50), face(100)], False).tolist() == [0, 1]
    assert builder.push([face(50), face(101)], False).tolist() == [2, 3]
    # Another face at one place is another tracklet, and so is every face after a cut.
    assert builder.push([face(50, mirrored=True)], False).tolist() == [4]
    assert builder.push([face(50, mirrored=True)], True).tolist() == [5]
    weak = Face(face(50).box, face(50).landmarks, 0.1)
    assert builder.push([weak], True).tolist() == [NO_TRACKLET]


def selection(**images: np.ndarray) -> PersonSelection:
    """Person p1 (tracklet 1) is at the left from frame 0, p2 (tracklet 0) at the right from frame 10."""
    persons = grouped([tracklet(0, 10, 49, x=200), tracklet(1, 0, 49)], {})
    rows = [(f, 1, 20.0, 1600.0) for f in range(50)] + [(f, 0, 220.0, 1500.0) for f in range(10, 50)]
    rows.sort()
    frames, numbers, centres, areas = (np.array(column) for column in zip(*rows, strict=True))
    table = FaceTable(frames=frames, tracklets=numbers, centres=centres, areas=areas)
    descriptors = {0: np.array([3.0], np.float32), 1: np.array([0.0], np.float32)}
    return PersonSelection(persons, table, np.arange(50) / 25, 320, images, descriptors, distance)


def select(*selectors: str, start: float = 0.0, stop: float = 2.0, **images: np.ndarray) -> list[str]:
    cues = tuple(Cue(start=start, stop=stop, person=name, speech=Path("s.wav")) for name in selectors)
    sheet = CueSheet(cues=cues, persons={name: parse_selector(name) for name in selectors})
    return [chosen.person.name for chosen in selection(**images).select(sheet)]


def test_persons_are_selected_by_position_index_id_and_image() -> None:
    assert select("left", "right") == ["p1", "p2"]
    assert select("0", "1") == ["p1", "p2"]
    assert select("p2", "track:1") == ["p2", "p1"]
    assert select("largest") == ["p1"]
    # Only one person is visible in the first 0.4 s.
    assert select("right", stop=0.3) == ["p1"]
    assert select("ben.jpg", **{"ben.jpg": np.array([2.9], np.float32)}) == ["p2"]


@pytest.mark.parametrize(
    ("selectors", "code"),
    [(("p3",), "person-not-found"), (("track:7",), "person-not-found"), (("2",), "person-not-found"),
     (("left", "0"), "duplicate-person")],
)  # fmt: skip
def test_selector_without_a_person(selectors: tuple[str, ...], code: str) -> None:
    with pytest.raises(CueError) as raised:
        select(*selectors)
    assert raised.value.code == code


def test_positions_of_named_persons_who_change_places() -> None:
    persons = grouped([tracklet(0, 0, 49), tracklet(1, 0, 49)], {})
    frames, numbers = np.repeat(np.arange(50), 2), np.tile([0, 1], 50)
    centres = np.where((frames < 25) == (numbers == 0), 20.0, 220.0)
    table = FaceTable(frames=frames, tracklets=numbers, centres=centres, areas=np.where(numbers == 0, 2.0, 1.0))
    selection = PersonSelection(persons, table, np.arange(50) / 25, 320, {}, {}, distance)

    def chosen(left: str, right: str) -> list[tuple[int, ...]]:
        cues = tuple(
            Cue(start=start, stop=start + 1, person=name, speech=Path("s.wav"))
            for start, name in enumerate((left, right))
        )
        persons = {left: parse_selector("left"), right: parse_selector("right")}
        return [each.person.tracklets for each in selection.select(CueSheet(cues=cues, persons=persons))]

    assert chosen("anna", "ben") == [(0,), (1,)]
    # A position in a cue applies to this cue.
    with pytest.raises(CueError) as raised:
        chosen("left", "right")
    assert raised.value.code == "duplicate-person"


def test_image_of_nobody_in_the_video() -> None:
    with pytest.raises(CueError) as raised:
        select("eve.jpg", **{"eve.jpg": np.array([9.0], np.float32)})
    assert raised.value.code == "person-not-found"
    assert parse_selector("eve.jpg") == PersonSelector("image", image=Path("eve.jpg"))
