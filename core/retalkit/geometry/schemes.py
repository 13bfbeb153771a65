"""Landmark schemes with their port names, and conversions between schemes.

``mesh478``: MediaPipe's face mesh with irises. ``ibug68``: 68 points in the order of the 300-W challenge (Sagonas et
al., "300 faces in-the-wild challenge", ICCVW 2013), from the viewer's left to right. ``points5``: left eye centre,
right eye centre, nose tip, left mouth corner and right mouth corner, where left is the viewer's left.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from retalkit.errors import PlanError

Float = NDArray[np.float32]

MESH478: Final = "mesh478"
IBUG68: Final = "ibug68"
POINTS5: Final = "points5"

COUNTS: Final = {MESH478: 478, IBUG68: 68, POINTS5: 5}
"""Number of points in each built-in scheme. Plugins may define additional schemes, which cannot be converted."""

PREFIX: Final = "landmarks:"

MESH_TO_IBUG: Final = (
    127, 234, 93, 132, 172, 136, 149, 176, 152, 400, 378, 365, 397, 361, 323, 454, 356,  # jaw line
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,  # brows
    168, 197, 195, 4, 98, 97, 2, 326, 327,  # nose bridge, nostrils
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,  # outer lips
    78, 81, 13, 311, 308, 402, 14, 178,  # inner lips
)  # fmt: skip
"""Mesh index of each ibug68 point. The mesh's jaw line follows the border of the 3D face, not the visible face contour.
"""

IBUG_LEFT_EYE: Final = slice(36, 42)
IBUG_RIGHT_EYE: Final = slice(42, 48)
IBUG_NOSE_TIP: Final = 30
IBUG_CORNERS: Final = (48, 54)


def landmark_port(scheme: str) -> str:
    """Return the port name for a scheme, such as ``landmarks:mesh478`` for ``mesh478``."""
    return PREFIX + scheme


def scheme_of(port: str) -> str | None:
    """Return the scheme in a port name, such as ``mesh478`` for ``landmarks:mesh478``, or None for other ports."""
    return port[len(PREFIX) :] if port.startswith(PREFIX) else None


def convertible(source: str) -> frozenset[str]:
    """Return all target schemes for landmarks in the scheme ``source``, including ``source``."""
    known = {MESH478: (IBUG68, POINTS5), IBUG68: (POINTS5,)}
    return frozenset((source, *known.get(source, ())))


def convert(landmarks: Float, source: str, target: str) -> Float:
    """Convert landmarks [..., N, D] from the scheme ``source`` to the scheme ``target``, float32 [..., M, D].

    NaN landmarks stay NaN.

    Raises:
        PlanError: no conversion between the schemes exists.
    """
    if target not in convertible(source):
        supported = " or ".join(sorted(convertible(source)))
        raise PlanError(
            f"{source} landmarks cannot be converted to {target}; use a stage that accepts {supported}",
            code="unsupported-conversion",
        )
    if source == target:
        return np.asarray(landmarks, np.float32)
    if source == MESH478:
        landmarks = landmarks[..., list(MESH_TO_IBUG), :]
    if target == POINTS5:
        landmarks = _points5(landmarks)
    return np.asarray(landmarks, np.float32)


def _points5(ibug: Float) -> Float:
    eyes = [ibug[..., eye, :].mean(-2) for eye in (IBUG_LEFT_EYE, IBUG_RIGHT_EYE)]
    rest = [ibug[..., index, :] for index in (IBUG_NOSE_TIP, *IBUG_CORNERS)]
    return np.stack([*eyes, *rest], -2)
