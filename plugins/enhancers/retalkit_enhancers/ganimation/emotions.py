"""Emotions as facial action unit strengths (Ekman and Friesen, "Facial Action Coding System", 1978)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

UNITS: Final = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
"""Action unit numbers in OpenFace's order, which is the order of the network's input."""
_RAISED: Final[Mapping[str, Mapping[int, float]]] = MappingProxyType(
    {
        "sad": {},
        "angry": {4: 0.3},  # brow lowerer
        "surprise": {5: 0.2},  # upper lid raiser
    }
)
EMOTIONS: Final = tuple(_RAISED)


def unit_strengths(emotion: str) -> tuple[float, ...]:
    """Return each action unit's strength in [0, 1], as defined by VideoReTalking, in the order of ``UNITS``.

    In VideoReTalking, all strengths for ``sad`` are 0.
    """
    raised = _RAISED[emotion]
    return tuple(raised.get(unit, 0.0) for unit in UNITS)
