"""Following one face through a clip.

Faces of neighbouring frames belong to one person when their boxes overlap. Which person is followed is decided from a
bounded window of frames ahead, so that the face that is largest over the shot wins and not the one that is largest in
its first frame. The person is kept until a cut, or until it stays away longer than the window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from retalkit.stages import Face

NO_SHOT: Final = -1
SAME_PERSON: Final = 0.3
"""Intersection over union of the boxes of one person in neighbouring frames, at least."""
KEEP_SCORE: Final = 0.7
"""A face that was followed in the frame before may score this share of the wanted score."""

Choice = int | Literal["largest"]


@dataclass(frozen=True, slots=True)
class TrackedFace:
    """What the tracker decided for one frame."""

    index: int
    """The index that was given with the frame."""
    face: Face | None
    """The followed face; None: the frame has none."""
    shot: int
    """Number of the track, from 0; -1 where there is no face. A cut, a gap or another person starts a new one."""


@dataclass(slots=True)
class _Person:
    number: int
    box: NDArray[np.float32]
    seen: int
    """Position of the last frame that shows the person."""


@dataclass(slots=True)
class _Frame:
    position: int
    index: int
    scene: int
    faces: dict[int, Face] = field(default_factory=dict[int, Face])
    """Person -> face."""


class FaceTracker:
    """Chooses one face of each frame and numbers the tracks.

    ``choice``: ``largest`` follows the face with the largest sum of box areas over the next ``look_ahead`` frames of
    its shot; a number counts the faces from left to right in the first frame that has so many of them (0: the
    leftmost). Faces that score less than ``min_score`` are dropped, and so are stretches of fewer than ``min_length``
    frames, unless they fill their whole shot. At most ``look_ahead`` frames are held back.
    """

    def __init__(
        self, choice: Choice = "largest", *, min_score: float = 0.5, min_length: int = 3, look_ahead: int = 30
    ) -> None:
        if isinstance(choice, int) and choice < 0:
            raise ValueError(f"a face is chosen by a number from 0, not {choice}")
        self._choice = choice
        self._min_score = min_score
        self._min_length = min_length
        self._look_ahead = max(look_ahead, min_length)
        self._window: deque[_Frame] = deque()
        self._persons: list[_Person] = []
        self._count = 0
        self._scene = 0
        self._next_person = 0
        self._followed: int | None = None
        self._shot = NO_SHOT
        self._previous: tuple[int, int] | None = None
        """Scene and person of the frame given back last, None if it had no face."""
        self._last_scene = -1

    def push(self, index: int, faces: Sequence[Face], is_cut: bool) -> list[TrackedFace]:
        """Takes the next frame; gives the frames that are decided, in order."""
        if is_cut:
            self._scene += 1
            self._persons.clear()
        frame = _Frame(self._count, index, self._scene)
        self._count += 1
        self._name(frame, faces)
        self._window.append(frame)
        return [self._decide()] if len(self._window) > self._look_ahead else []

    def finish(self) -> list[TrackedFace]:
        """Decides the frames that were held back."""
        return [self._decide() for _ in range(len(self._window))]

    # ----------------------------------------------------------------- who is who

    def _name(self, frame: _Frame, faces: Sequence[Face]) -> None:
        oldest = frame.position - self._look_ahead
        self._persons = [person for person in self._persons if person.seen >= oldest]
        pairs = [
            (overlap, -place, person)
            for person in self._persons
            for place, face in enumerate(faces)
            if (overlap := intersection_over_union(person.box, face.box)) >= SAME_PERSON
        ]
        pairs.sort(key=lambda pair: (pair[0], pair[1], pair[2].seen, -pair[2].number), reverse=True)
        named: dict[int, _Person] = {}
        for _, place, person in pairs:
            if -place not in named and person not in named.values():
                named[-place] = person
        for place, face in enumerate(faces):
            person = named.get(place)
            fresh = person is None or person.seen < frame.position - 1
            if face.score < self._min_score * (1.0 if fresh else KEEP_SCORE) or not np.isfinite(face.landmarks).all():
                continue
            if person is None:
                person = _Person(self._next_person, face.box, frame.position)
                self._next_person += 1
                self._persons.append(person)
            person.box, person.seen = face.box, frame.position
            frame.faces[person.number] = face

    # ----------------------------------------------------------------- whom to follow

    def _decide(self) -> TrackedFace:
        frame = self._window[0]
        ahead = [other for other in self._window if other.scene == frame.scene]
        if frame.scene != self._last_scene:
            self._followed = None
        if self._followed is None or not any(self._followed in other.faces for other in ahead):
            self._followed = self._choose(ahead)
        face = None
        current = None
        if self._followed is not None and self._lasts(ahead, self._followed):
            face = frame.faces[self._followed]
            current = (frame.scene, self._followed)
            self._shot += current != self._previous
        self._previous = current
        self._last_scene = frame.scene
        self._window.popleft()
        return TrackedFace(frame.index, face, NO_SHOT if face is None else self._shot)

    def _choose(self, ahead: Sequence[_Frame]) -> int | None:
        """The person to follow from the first frame of ``ahead`` on, None if there is nobody worth it."""
        areas: dict[int, float] = {}
        for frame in ahead:
            for number, face in frame.faces.items():
                areas[number] = areas.get(number, 0.0) + area(face.box)
        steady = {number for number in areas if self._longest_run(ahead, number) >= min(self._min_length, len(ahead))}
        place = self._choice
        if isinstance(place, str):
            return max(sorted(steady), key=lambda number: areas[number], default=None)
        for frame in ahead:
            present = [number for number in frame.faces if number in steady]
            if len(present) > place:
                present.sort(key=lambda number: float(frame.faces[number].box[0] + frame.faces[number].box[2]))
                return present[place]
        return None

    def _lasts(self, ahead: Sequence[_Frame], number: int) -> bool:
        """Whether the first frame of ``ahead`` shows the person in a stretch that is long enough to keep."""
        run = next((place for place, frame in enumerate(ahead) if number not in frame.faces), len(ahead))
        if run and self._previous == (ahead[0].scene, number):
            return True
        whole_shot = run == len(ahead) and ahead[0].scene != self._last_scene
        return run >= self._min_length or (run > 0 and whole_shot)

    @staticmethod
    def _longest_run(frames: Sequence[_Frame], number: int) -> int:
        best = run = 0
        for frame in frames:
            run = run + 1 if number in frame.faces else 0
            best = max(best, run)
        return best


def area(box: NDArray[np.float32]) -> float:
    """Area of a box (left, top, right, bottom) in square pixels."""
    return float(max(box[2] - box[0], 0) * max(box[3] - box[1], 0))


def intersection_over_union(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Overlap of two boxes (left, top, right, bottom) in [0, 1]."""
    left, top = np.maximum(one[:2], other[:2])
    right, bottom = np.minimum(one[2:], other[2:])
    common = float(max(right - left, 0) * max(bottom - top, 0))
    union = area(one) + area(other) - common
    return common / union if union > 0 else 0.0
