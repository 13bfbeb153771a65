"""Selection of the persons that the cues name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from retalkit.cues.model import Cue, CueSheet
from retalkit.errors import CueError
from retalkit.persons.grouping import SURE, Distance, Person, Persons, same_person
from retalkit.persons.selectors import POSITIONS, PersonSelector
from retalkit.pipeline.tracklets import FaceTable

Float = NDArray[np.float32]

MIN_FRAMES: Final = 3
"""Minimum number of frames of a tracklet that positions and indexes take into account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedPerson:
    """Person of the video that a name in the cues denotes."""

    name: str
    selector: PersonSelector
    person: Person
    unknown: frozenset[int]
    """Frames with a face that may be this person, but that was not recognised with sufficient confidence."""


class PersonSelection:
    """Selects persons from the faces of a clip."""

    def __init__(
        self,
        persons: Persons,
        table: FaceTable,
        times: NDArray[np.float64],
        width: int,
        images: Mapping[str, Float],
        descriptors: Mapping[int, Float],
        distance: Distance | None,
        *,
        is_photo: bool = False,
    ) -> None:
        """Initialise the selection.

        ``times``: frame times in seconds, float64 [T]. ``width``: frame width in pixels. ``images``: mapping from the
        path of each reference image to its descriptor. ``is_photo``: whether the only frame is shown in all cues.
        """
        self._persons = persons
        self._is_photo = is_photo
        self._table = table
        self._times = times
        self._width = width
        self._images, self._descriptors, self._distance = images, descriptors, distance
        numbers = {number: person.number for person in persons.persons for number in person.tracklets}
        self._numbers = np.array([numbers.get(int(number), 0) for number in table.tracklets], np.int64)
        lengths = {int(number): int((table.tracklets == number).sum()) for number in np.unique(table.tracklets)}
        shortest = 1 if is_photo else MIN_FRAMES
        self._steady = np.array([lengths[int(number)] >= shortest for number in table.tracklets], bool)

    def select(self, sheet: CueSheet) -> list[SelectedPerson]:
        """Return the person of each name in a sheet.

        A position applies to the own cues of the person. If people change places between the cues of two names, the
        positions would select the same person. The positions of names that are bound to selectors then apply to all
        cues.

        Raises CueError if a selector matches no person, or if two names denote the same person.
        """
        found = {name: self._person(name, sheet.persons[name], sheet.of_person(name)) for name in sheet.names}
        numbers = [person.number for person in found.values()]
        for name, person in found.items():
            selector = sheet.persons[name]
            bound = selector.kind in POSITIONS and str(selector) != name
            if bound and numbers.count(person.number) > 1:
                found[name] = self._person(name, selector, sorted(sheet.cues, key=lambda cue: cue.start))
        selected: list[SelectedPerson] = []
        for name, person in found.items():
            cues, selector = sheet.of_person(name), sheet.persons[name]
            twin = next((other for other in selected if other.person.number == person.number), None)
            if twin is not None:
                raise CueError(
                    f"{_origin(cues)}'{name}' and '{twin.name}' select the same person ({person.name}); use one name "
                    "for all cues of a person, or select by an id from `retalkit inspect`",
                    code="duplicate-person",
                )
            selected.append(
                SelectedPerson(name=name, selector=selector, person=person, unknown=self._unknown_frames(person))
            )
        return selected

    def _person(self, name: str, selector: PersonSelector, cues: Sequence[Cue]) -> Person:
        origin, found = _origin(cues), self._persons.persons
        known = ", ".join(person.name for person in found)
        if not found:
            raise CueError(f"{origin}no face was found in the video; use a clip with a frontal face", code="no-face")
        if selector.kind == "person":
            if selector.number > len(found):
                raise CueError(
                    f"{origin}person '{name}': the video shows no person p{selector.number}; it shows {known}",
                    code="person-not-found",
                )
            return found[selector.number - 1]
        if selector.kind == "track":
            person = self._persons.of_tracklet(selector.number)
            if person is None:
                raise CueError(
                    f"{origin}person '{name}': the video has no recognised track {selector.number}; it shows {known}",
                    code="person-not-found",
                )
            return person
        if selector.image is not None:
            return self._pictured(name, str(selector.image), origin)
        number = self._by_position(selector, cues)
        if number is None:
            raise CueError(
                f"{origin}person '{name}': the cues show too few recognised faces for this selector; the video shows "
                f"{known}",
                code="person-not-found",
            )
        return found[number - 1]

    def _by_position(self, selector: PersonSelector, cues: Sequence[Cue]) -> int | None:
        """Return the number of the person at a position, or None if no frame of the cues shows enough persons."""
        inside = np.full(len(self._times), self._is_photo)
        for cue in cues:
            stop = np.inf if cue.stop is None else cue.stop
            inside |= (self._times >= cue.start) & (self._times < stop)
        rows = inside[self._table.frames] & (self._numbers > 0) & self._steady
        if not rows.any():
            return None
        frames, numbers = self._table.frames[rows], self._numbers[rows]
        centres, areas = self._table.centres[rows], self._table.areas[rows]
        if selector.kind == "largest":
            return int(np.bincount(numbers, weights=areas).argmax())
        counts = np.unique(frames, return_counts=True)
        wanted = {"index": selector.number + 1, "centre": 3}.get(selector.kind, 2)
        if selector.kind != "index":
            # A position is also valid if fewer persons are visible.
            wanted = min(wanted, int(counts[1].max()))
        suitable = counts[0][counts[1] >= wanted]
        if not len(suitable):
            return None
        shown = frames == suitable[0]
        order = np.flatnonzero(shown)[np.argsort(centres[shown], kind="stable")]
        if selector.kind == "centre":
            return int(numbers[order[np.abs(centres[order] - self._width / 2).argmin()]])
        place = {"left": 0, "right": -1}.get(selector.kind, selector.number)
        return int(numbers[order[place]])

    def _pictured(self, name: str, image: str, origin: str) -> Person:
        """Return the person in a reference image."""
        assert self._distance is not None
        scores: list[float] = []
        for person in self._persons.persons:
            known = [self._descriptors[number] for number in person.tracklets if number in self._descriptors]
            distances = [self._distance(self._images[image], values) for values in known]
            scores.append(same_person(min(distances)) if distances else 0.0)
        best = int(np.argmax(scores))
        rival = max((score for place, score in enumerate(scores) if place != best), default=0.0)
        if scores[best] * (1 - rival) < SURE:
            shown = ", ".join(
                f"{person.name} {score:.2f}" for person, score in zip(self._persons.persons, scores, strict=True)
            )
            raise CueError(
                f"{origin}person '{name}': no person in the video is recognised in {image} (confidence: {shown}; "
                f"required: {SURE}); use another image, a position, or an id such as p1",
                code="person-not-found",
            )
        return self._persons.persons[best]

    def _unknown_frames(self, person: Person) -> frozenset[int]:
        candidates = [
            number
            for number, (most_probable, _) in self._persons.uncertain.items()
            if most_probable in (0, person.number) or person.number in self._persons.possible.get(number, ())
        ]
        rows = np.isin(self._table.tracklets, candidates)
        return frozenset(int(frame) for frame in self._table.frames[rows])


def _origin(cues: Sequence[Cue]) -> str:
    return f"{cues[0].origin}: " if cues and cues[0].origin else ""
