"""Contact sheets that show selected frames of two clip versions in one image, with the face above the mouth."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478

Image = NDArray[np.uint8]
Float = NDArray[np.float32]

CELL = 220
FACE_REACH = 0.72
MOUTH_REACH = 0.30
"""Half of the side length of a cell's field of view, in face heights."""


def select_frames(opening: Float, count: int = 9) -> list[int]:
    """Return representative frame indexes in ascending order.

    The selection consists of evenly spaced frames, the frame with the widest opening, and frames in which a closure
    starts. ``opening``: float32 [T] in any unit, NaN for frames without a face.
    """
    tracked = np.flatnonzero(np.isfinite(opening))
    if not len(tracked):
        return []
    selected = {int(tracked[0]), int(tracked[np.nanargmax(opening[tracked])])}
    closed = opening < 0.1 * float(np.nanpercentile(opening, 95)) + 1e-6
    starts = np.flatnonzero(closed[1:] & ~closed[:-1]) + 1
    selected.update(int(start) for start in starts[:: max(1, len(starts) // 2)][:2])
    for frame in tracked[np.linspace(0, len(tracked) - 1, 3 * count).round().astype(int)][1::3]:
        if len(selected) >= count:
            break
        if min(abs(int(frame) - other) for other in selected) > 1:
            selected.add(int(frame))
    return sorted(selected)


@dataclass(slots=True)
class ContactSheet:
    """Contact sheet builder that stores only the cells and not the full frames."""

    columns: list[Image] = field(default_factory=list)

    def add(self, label: str, original: Image, output: Image, landmarks: Float) -> None:
        """Add a column with the face and the mouth from the original frame and the output frame.

        ``original`` and ``output``: RGB uint8 [H, W, 3]. ``landmarks``: [478, 3] in pixels.
        """
        points = landmarks[:, :2]
        height = float(np.linalg.norm(points[mesh478.CHIN] - points[mesh478.FOREHEAD]))
        cells: list[Image] = []
        for centre, reach in ((points[mesh478.NOSE_TIP], FACE_REACH), (points[[13, 14, 17]].mean(0), MOUTH_REACH)):
            scale = CELL / (2 * reach * height)
            shift = CELL / 2 - centre * scale
            matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float32)
            flags = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
            for name, image in (("source", original), ("output", output)):
                cell = cv2.warpAffine(image, matrix, (CELL, CELL), flags=flags)
                cv2.putText(cell, f"{label} {name}", (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 255, 0), 1)
                cells.append(cell)
        self.columns.append(np.vstack(cells))

    def write(self, path: Path) -> None:
        """Write the contact sheet as a PNG file. If no column was added, no file is written."""
        if self.columns:
            ok, encoded = cv2.imencode(".png", cv2.cvtColor(np.hstack(self.columns), cv2.COLOR_RGB2BGR))
            if ok:
                path.write_bytes(encoded.tobytes())
