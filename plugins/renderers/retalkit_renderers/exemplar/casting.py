"""Getting to know the clip: fills the bank, sorts shots into a cast, measures each member. Done once and stored."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh_space
from retalkit.geometry.pose import HeadPose, to_head_frame
from retalkit.stages import Analysis, ExpressionEditorSession, FaceBatch, FrameBatch, StageContext

from retalkit_renderers.exemplar.bank import Bank, BankBuilder, Exemplars, Reading, load_bank
from retalkit_renderers.exemplar.cast import Member, group_shots
from retalkit_renderers.exemplar.occlusion import MIN_SAMPLES, OcclusionGuard
from retalkit_renderers.exemplar.person import measure_person, sample_shapes
from retalkit_renderers.exemplar.profile import load_cast, save_cast
from retalkit_renderers.exemplar.selection import select_frames

Float = NDArray[np.float32]

_REFERENCES = 6
"""Frames of each shot for which the expression editor is asked."""
_GUARD_SAMPLES = 24
COVERED = 0.04
"""An exemplar with this share of the skin around its mouth hidden is not used."""


def know_clip(
    analysis: Analysis, references: ExpressionEditorSession, bank_size: int, context: StageContext
) -> tuple[list[Member], Bank] | None:
    """The cast and the bank, from the cache where they are there. None: the clip shows no face."""
    cast, bank = load_cast(context), load_bank(context)
    if cast is not None and bank is not None:
        return cast, bank
    indexes = select_frames(analysis, bank_size)
    if not len(indexes):
        return None
    builder = BankBuilder(analysis, indexes, context)
    watcher = _Watcher(analysis, references, builder)
    bank = builder.build(watcher)
    cast = [_measured(shots, bank.exemplars, analysis, watcher) for shots in group_shots(bank.exemplars)]
    save_cast(cast, context)
    return cast, bank


def _measured(shots: NDArray[np.int32], exemplars: Exemplars, analysis: Analysis, watcher: _Watcher) -> Member:
    shapes, openings = sample_shapes(analysis, shots)
    person = measure_person(shapes, openings, watcher.canonical(shots))
    return Member(person, shots, np.flatnonzero(np.isin(exemplars.shots, shots)), watcher.guard(shots))


class _Watcher:
    """Looks at whole frames while the bank reads them: references and occlusion need more than the mouth."""

    def __init__(self, analysis: Analysis, editor: ExpressionEditorSession, builder: BankBuilder) -> None:
        self._analysis = analysis
        self._editor = editor
        self._shots = builder.shots
        self._shapes: dict[int, list[Float]] = {}
        self._guards: dict[int, tuple[int, OcclusionGuard]] = {}

    def __call__(self, readings: Iterator[Reading]) -> None:
        """Takes the frames of one shot."""
        first = next(readings, None)
        if first is None:
            return
        shot = int(self._shots[first.row])
        count = int((self._shots == shot).sum())
        asked, sampled = _spread(count, _REFERENCES), _spread(count, _GUARD_SAMPLES)

        def samples() -> Iterator[tuple[NDArray[np.uint8], Float, HeadPose]]:
            reading: Reading | None = first
            number = 0
            while reading is not None:
                if number in asked:
                    self._ask(shot, reading)
                if number in sampled:
                    yield reading.image, reading.landmarks, reading.pose
                number += 1
                reading = next(readings, None)

        if count < MIN_SAMPLES:
            for _ in samples():
                pass
            return
        guard = OcclusionGuard.fit(samples())
        if guard.grid is not None:
            self._guards[shot] = (count, guard)

    def _ask(self, shot: int, reading: Reading) -> None:
        start, stop = reading.index, reading.index + 1
        frames = FrameBatch(reading.image[None], self._analysis.source.times(start, stop), np.array([start], np.int64))
        coefficients = self._analysis.coefficients(start, stop)
        landmarks, boxes = self._analysis.landmarks(start, stop), self._analysis.boxes(start, stop)
        given = self._editor.edit(FaceBatch(frames, landmarks, coefficients, boxes))
        head = to_head_frame(given.landmarks, mesh_space.unpack_pose(coefficients))
        if np.isfinite(head).all():
            self._shapes.setdefault(shot, []).append(head[0])

    def canonical(self, shots: NDArray[np.int32]) -> Float | None:
        """float32 [478, 3]: the canonical expression of these shots in the head frame; None: the editor gave none."""
        shapes = [shape for shot in shots for shape in self._shapes.get(int(shot), [])]
        return np.median(np.array(shapes), axis=0).astype(np.float32) if shapes else None

    def guard(self, shots: NDArray[np.int32]) -> OcclusionGuard | None:
        """The guard that has seen most of these shots."""
        seen = [self._guards[int(shot)] for shot in shots if int(shot) in self._guards]
        return max(seen, key=lambda one: one[0])[1] if seen else None


def _spread(count: int, most: int) -> set[int]:
    """At most ``most`` numbers spread over range(count)."""
    return {int(number) for number in np.linspace(0, count - 1, min(count, most)).round()}


def covered_exemplars(numbers: NDArray[np.int64], member: Member, bank: Bank) -> NDArray[np.bool_]:
    """bool for each bank row in ``numbers``: something is in front of its mouth."""
    out = np.zeros(len(numbers), bool)
    guard, exemplars = member.guard, bank.exemplars
    if guard is None or guard.grid is None:
        return out
    for place, number in enumerate(numbers):
        corner = np.array([*exemplars.rectangles[number, :2], 0], np.float32)
        pose = mesh_space.unpack_pose(exemplars.coefficients[number : number + 1])
        _, share = guard.covered(bank.crop(int(number)), exemplars.landmarks[number] - corner, pose)
        out[place] = share > COVERED
    return out
