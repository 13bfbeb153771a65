"""Storage of identity measurements in the stage cache."""

from __future__ import annotations

from dataclasses import astuple, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from retalkit.stages import StageContext

from retalkit_renderers.exemplar.bank import save_arrays
from retalkit_renderers.exemplar.face_grid import FaceGrid
from retalkit_renderers.exemplar.identities import Identity
from retalkit_renderers.exemplar.mouth_model import MouthModel
from retalkit_renderers.exemplar.occlusion import OcclusionDetector
from retalkit_renderers.exemplar.person import MouthRange, Person

IDENTITIES = "identities.npz"

Arrays = dict[str, NDArray[Any]]


def save_identities(identities: list[Identity], context: StageContext) -> None:
    """Write the identities to ``identities.npz`` in the stage cache."""
    arrays: Arrays = {"count": np.array(len(identities))}
    for number, identity in enumerate(identities):
        arrays.update({f"{number}.{name}": array for name, array in _to_arrays(identity).items()})
    with context.cache.write(IDENTITIES) as path:
        save_arrays(path, arrays)


def load_identities(context: StageContext) -> list[Identity] | None:
    """Return the cached identities, or None if the cache contains no identities."""
    path = context.cache.path(IDENTITIES)
    if path is None:
        return None
    with np.load(path, allow_pickle=False) as stored:
        groups: list[Arrays] = [{} for _ in range(int(stored["count"]))]
        for name in stored.files:
            number, _, rest = name.partition(".")
            if rest:
                groups[int(number)][rest] = stored[name]
    return [_from_arrays(arrays) for arrays in groups]


def _to_arrays(identity: Identity) -> Arrays:
    person, detector = identity.person, identity.occlusion_detector
    arrays: Arrays = {
        "tracks": identity.tracks,
        "rows": identity.rows,
        "rest": person.model.rest,
        "basis": person.model.basis,
        "extra_limit": person.model.extra_limit,
        "range": np.array(astuple(person.range), np.float64),
        "never_opens": np.array(person.never_opens),
        "face_height": np.array(person.face_height, np.float64),
    }
    if detector is not None and detector.grid is not None:
        arrays |= {"occlusion.expected": detector.expected, "occlusion.tolerance": detector.tolerance}
        arrays |= {f"grid.{each.name}": getattr(detector.grid, each.name) for each in fields(FaceGrid)}
    return arrays


def _from_arrays(arrays: Arrays) -> Identity:
    detector = None
    if "occlusion.expected" in arrays:
        grid = FaceGrid(**{each.name: arrays[f"grid.{each.name}"] for each in fields(FaceGrid)})
        detector = OcclusionDetector(grid, arrays["occlusion.expected"], arrays["occlusion.tolerance"])
    model = MouthModel(arrays["rest"], arrays["basis"], arrays["extra_limit"])
    mouth_range = MouthRange(*(float(value) for value in arrays["range"]))
    person = Person(model, mouth_range, bool(arrays["never_opens"]), float(arrays["face_height"]))
    return Identity(person, arrays["tracks"], arrays["rows"], detector)
