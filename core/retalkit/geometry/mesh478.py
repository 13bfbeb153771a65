"""Landmark indexes in MediaPipe's 478-point face mesh with irises.

Left and right are from the viewer's perspective. The y axis points down.
"""

from __future__ import annotations

from typing import Final

COUNT: Final = 478
MESH_COUNT: Final = 468
"""Number of points excluding the ten iris points."""

OUTER_LIPS: Final = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
"""Outer lip contour in the order left corner, lower lip, right corner, upper lip."""

INNER_LIPS: Final = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
"""Inner lip contour in the order left corner, lower lip, right corner, upper lip."""

MIDDLE_LIPS: Final = (
    76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306, 408, 304, 303, 302, 11, 72, 73, 74, 184,
    62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 407, 272, 271, 268, 12, 38, 41, 42, 183,
)  # fmt: skip
"""Points between the outer lip contour and the inner lip contour."""

LIPS: Final = OUTER_LIPS + INNER_LIPS + MIDDLE_LIPS

LOWER_LIP: Final = (
    146, 91, 181, 84, 17, 314, 405, 321, 375, 95, 88, 178, 87, 14, 317, 402, 318, 324,
    77, 90, 180, 85, 16, 315, 404, 320, 307, 96, 89, 179, 86, 15, 316, 403, 319, 325,
)  # fmt: skip
UPPER_LIP: Final = tuple(index for index in LIPS if index not in LOWER_LIP)
"""Upper lip points, including the mouth corners."""

INNER_LIP_PAIRS: Final = (
    (13, 14), (82, 87), (81, 178), (80, 88), (191, 95), (312, 317), (311, 402), (310, 318), (415, 324),
)  # fmt: skip
"""Pairs (upper, lower) of points that touch in a closed mouth. The first pair is at the centre."""

UPPER_INNER_EDGE: Final = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_INNER_EDGE: Final = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
"""Lower inner lip edge from the left corner to the right corner."""

LEFT_CORNER: Final = 61
RIGHT_CORNER: Final = 291
INNER_LEFT_CORNER: Final = 78
INNER_RIGHT_CORNER: Final = 308

FACE_OVAL: Final = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip

STABLE: Final = (
    33, 133, 362, 263, 168, 6, 197, 195, 5, 127, 356, 162, 389, 21, 251, 54, 284, 10, 151, 9, 8,
    122, 351, 193, 417, 98, 327, 130, 359,
)  # fmt: skip
"""Points on the eye corners, nose bridge, temples and forehead, which move rigidly with the skull regardless of the
expression.
"""

LEFT_EYE_OUTER: Final = 33
RIGHT_EYE_OUTER: Final = 263
NOSE_TIP: Final = 4
NOSE_BASE: Final = 2
FOREHEAD: Final = 10
CHIN: Final = 152

AROUND_MOUTH: Final = (
    2, 97, 98, 203, 206, 216, 212, 202, 204, 194, 201, 200, 421, 418, 424, 422, 432, 436, 426, 423, 327, 326,
)  # fmt: skip
"""Closed ring of skin points around the mouth, on the nose base, cheeks and chin."""
