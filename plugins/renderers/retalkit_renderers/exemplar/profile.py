"""Keeping the measured cast in the stage's cache."""

from __future__ import annotations

from dataclasses import astuple, fields

import numpy as np
from numpy.typing import NDArray
from retalkit.stages import StageContext

from retalkit_renderers.exemplar.bank import save_arrays
from retalkit_renderers.exemplar.cast import Member
from retalkit_renderers.exemplar.face_grid import FaceGrid
from retalkit_renderers.exemplar.mouth_model import MouthModel
from retalkit_renderers.exemplar.occlusion import OcclusionGuard
from retalkit_renderers.exemplar.person import MouthRange, Person

CAST = "cast.npz"

Arrays = dict[str, NDArray[np.generic]]


def save_cast(cast: list[Member], context: StageContext) -> None:
    """Stores the cast under ``cast.npz``."""
    arrays: Arrays = {"count": np.array(len(cast))}
    for number, member in enumerate(cast):
        arrays.update({f"{number}.{name}": array for name, array in _arrays(member).items()})
    with context.cache.write(CAST) as path:
        save_arrays(path, arrays)


def load_cast(context: StageContext) -> list[Member] | None:
    """The stored cast, or None."""
    path = context.cache.path(CAST)
    if path is None:
        return None
    with np.load(path, allow_pickle=False) as stored:
        groups: list[Arrays] = [{} for _ in range(int(stored["count"]))]
        for name in stored.files:
            number, _, rest = name.partition(".")
            if rest:
                groups[int(number)][rest] = stored[name]
    return [_member(arrays) for arrays in groups]


def _arrays(member: Member) -> Arrays:
    person, guard = member.person, member.guard
    arrays: Arrays = {
        "shots": member.shots,
        "rows": member.rows,
        "rest": person.model.rest,
        "basis": person.model.basis,
        "extra_limit": person.model.extra_limit,
        "range": np.array(astuple(person.range), np.float64),
        "silent": np.array(person.silent),
        "face_height": np.array(person.face_height, np.float64),
    }
    if guard is not None and guard.grid is not None:
        arrays |= {"guard.usual": guard.usual, "guard.limit": guard.limit}
        arrays |= {f"grid.{each.name}": getattr(guard.grid, each.name) for each in fields(FaceGrid)}
    return arrays


def _member(arrays: Arrays) -> Member:
    guard = None
    if "guard.usual" in arrays:
        grid = FaceGrid(**{each.name: arrays[f"grid.{each.name}"] for each in fields(FaceGrid)})
        guard = OcclusionGuard(grid, arrays["guard.usual"], arrays["guard.limit"])
    model = MouthModel(arrays["rest"], arrays["basis"], arrays["extra_limit"])
    size = MouthRange(*(float(value) for value in arrays["range"]))
    person = Person(model, size, bool(arrays["silent"]), float(arrays["face_height"]))
    return Member(person, arrays["shots"], arrays["rows"], guard)
