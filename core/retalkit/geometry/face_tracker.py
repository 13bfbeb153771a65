"""Tracker for one face in a clip.

The tracker assigns faces in neighbouring frames to one person if their boxes overlap. The tracker selects a person
based on a bounded window of future frames. The selected face is therefore the largest face over the whole window, not
only in the first frame. The tracker keeps the selected person until a cut or until the person is absent for longer than
the window.
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
"""Minimum intersection over union between a person's boxes in neighbouring frames."""
KEEP_SCORE: Final = 0.7
"""Factor applied to the minimum score of a face that was detected in the previous frame."""

FaceChoice = int | Literal["largest"]


@dataclass(frozen=True, slots=True)
class TrackedFace:
    """Tracking result for one frame."""

    index: int
    """Frame index passed to ``FaceTracker.push``."""
    face: Face | None
    """Tracked face, or None if the frame has no tracked face."""
    shot: int
    """Track number, starting at 0, or -1 if the frame has no tracked face. A cut, a gap or a change of person starts
    a new track.
    """


@dataclass(slots=True)
class _Person:
    number: int
    box: NDArray[np.float32]
    last_seen: int
    """Position in the clip of the last frame in which the person was detected."""


@dataclass(slots=True)
class _Frame:
    position: int
    index: int
    scene: int
    faces: dict[int, Face] = field(default_factory=dict[int, Face])
    """Mapping from person number to face."""


class FaceTracker:
    """Tracker that selects one face in each frame and numbers the tracks.

    ``choice``: ``largest`` selects the face with the largest total box area over the next ``look_ahead`` frames of its
    shot. An integer is a face index counted from 0 at the left in the first frame that contains enough faces. Faces
    with a score below ``min_score`` are dropped. Tracks of fewer than ``min_length`` frames are also dropped unless
    they span their shot. The output lags the input by at most ``look_ahead`` frames.
    """

    def __init__(
        self, choice: FaceChoice = "largest", *, min_score: float = 0.5, min_length: int = 3, look_ahead: int = 30
    ) -> None:
        if isinstance(choice, int) and choice < 0:
            raise ValueError(f"the face index must be at least 0, got {choice}")
        self._choice = choice
        self._min_score = min_score
        self._min_length = min_length
        self._look_ahead = max(look_ahead, min_length)
        self._window: deque[_Frame] = deque()
        self._persons: list[_Person] = []
        self._count = 0
        self._scene = 0
        self._next_person = 0
        self._selected: int | None = None
        self._shot = NO_SHOT
        self._previous: tuple[int, int] | None = None
        """Scene number and person number of the last returned frame, or None if that frame had no face."""
        self._last_scene = -1

    def push(self, index: int, faces: Sequence[Face], is_cut: bool) -> list[TrackedFace]:
        """Add the next frame. Return the completed results in order."""
        if is_cut:
            self._scene += 1
            self._persons.clear()
        frame = _Frame(self._count, index, self._scene)
        self._count += 1
        self._identify(frame, faces)
        self._window.append(frame)
        return [self._decide()] if len(self._window) > self._look_ahead else []

    def finish(self) -> list[TrackedFace]:
        """Return the results for all remaining frames."""
        return [self._decide() for _ in range(len(self._window))]

    def _identify(self, frame: _Frame, faces: Sequence[Face]) -> None:
        oldest = frame.position - self._look_ahead
        self._persons = [person for person in self._persons if person.last_seen >= oldest]
        pairs = [
            (overlap, -position, person)
            for person in self._persons
            for position, face in enumerate(faces)
            if (overlap := intersection_over_union(person.box, face.box)) >= SAME_PERSON
        ]
        pairs.sort(key=lambda pair: (pair[0], pair[1], pair[2].last_seen, -pair[2].number), reverse=True)
        matches: dict[int, _Person] = {}
        for _, negative_position, person in pairs:
            if -negative_position not in matches and person not in matches.values():
                matches[-negative_position] = person
        for position, face in enumerate(faces):
            person = matches.get(position)
            is_new = person is None or person.last_seen < frame.position - 1
            if face.score < self._min_score * (1.0 if is_new else KEEP_SCORE) or not np.isfinite(face.landmarks).all():
                continue
            if person is None:
                person = _Person(self._next_person, face.box, frame.position)
                self._next_person += 1
                self._persons.append(person)
            person.box, person.last_seen = face.box, frame.position
            frame.faces[person.number] = face

    def _decide(self) -> TrackedFace:
        frame = self._window[0]
        ahead = [other for other in self._window if other.scene == frame.scene]
        if frame.scene != self._last_scene:
            self._selected = None
        if self._selected is None or not any(self._selected in other.faces for other in ahead):
            self._selected = self._select(ahead)
        face = None
        current = None
        if self._selected is not None and self._is_long_enough(ahead, self._selected):
            face = frame.faces[self._selected]
            current = (frame.scene, self._selected)
            self._shot += current != self._previous
        self._previous = current
        self._last_scene = frame.scene
        self._window.popleft()
        return TrackedFace(frame.index, face, NO_SHOT if face is None else self._shot)

    def _select(self, ahead: Sequence[_Frame]) -> int | None:
        """Select the person to track from the first frame of ``ahead`` onwards.

        Return None if no person is suitable.
        """
        areas: dict[int, float] = {}
        for frame in ahead:
            for number, face in frame.faces.items():
                areas[number] = areas.get(number, 0.0) + area(face.box)
        steady = {number for number in areas if self._longest_run(ahead, number) >= min(self._min_length, len(ahead))}
        choice = self._choice
        if isinstance(choice, str):
            return max(sorted(steady), key=lambda number: areas[number], default=None)
        for frame in ahead:
            present = [number for number in frame.faces if number in steady]
            if len(present) > choice:
                present.sort(key=lambda number: float(frame.faces[number].box[0] + frame.faces[number].box[2]))
                return present[choice]
        return None

    def _is_long_enough(self, ahead: Sequence[_Frame], number: int) -> bool:
        """Return whether the person's track at the first frame of ``ahead`` is long enough to keep."""
        run = next((position for position, frame in enumerate(ahead) if number not in frame.faces), len(ahead))
        if run and self._previous == (ahead[0].scene, number):
            return True
        fills_shot = run == len(ahead) and ahead[0].scene != self._last_scene
        return run >= self._min_length or (run > 0 and fills_shot)

    @staticmethod
    def _longest_run(frames: Sequence[_Frame], number: int) -> int:
        best = run = 0
        for frame in frames:
            run = run + 1 if number in frame.faces else 0
            best = max(best, run)
        return best


def area(box: NDArray[np.float32]) -> float:
    """Return the area of a box (left, top, right, bottom) in square pixels."""
    return float(max(box[2] - box[0], 0) * max(box[3] - box[1], 0))


def intersection_over_union(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the intersection over union of two boxes (left, top, right, bottom), in [0, 1]."""
    left, top = np.maximum(one[:2], other[:2])
    right, bottom = np.minimum(one[2:], other[2:])
    common = float(max(right - left, 0) * max(bottom - top, 0))
    union = area(one) + area(other) - common
    return common / union if union > 0 else 0.0
