"""Detection of streams of JPEG images without a container (Motion JPEG)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def is_jpeg_stream(path: Path) -> bool:
    """Return whether a file starts with a JPEG image, which a second image of the same size follows directly.

    The images of multi-picture files (CIPA DC-007), such as stereo photos, are not a stream.
    """
    with path.open("rb") as file:
        if file.read(3) != b"\xff\xd8\xff":
            return False
    data: Any = np.memmap(path, np.uint8, "r")
    first = _jpeg_image(data, 0)
    if first is None or first[2]:
        return False
    second = _jpeg_image(data, first[0])
    return second is not None and second[1] == first[1]


def _jpeg_image(data: Any, place: int) -> tuple[int, tuple[int, int], bool] | None:
    """Return the end of the JPEG image at ``place``, its size, and whether it is part of a multi-picture file."""
    if bytes(data[place : place + 3]) != b"\xff\xd8\xff":
        return None
    place += 2
    size, linked = (0, 0), False
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            return None
        marker = int(data[place + 1])
        if marker == 0xFF:
            place += 1
            continue
        if marker == 0xD9:
            return place + 2, size, linked
        length = int(data[place + 2]) << 8 | int(data[place + 3])
        body = bytes(data[place + 4 : place + 12])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            size = (int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big"))
        linked = linked or (marker == 0xE2 and body[:4] == b"MPF\0")
        place += 2 + length
        if marker == 0xDA:
            place = _scan_end(data, place)
    return None


def _scan_end(data: Any, place: int) -> int:
    """Return the position of the marker that ends the entropy-coded data at ``place``."""
    step = 1 << 16
    while place < len(data) - 1:
        block = np.asarray(data[place : place + step + 1])
        found = np.flatnonzero((block[:-1] == 0xFF) & (block[1:] != 0) & ((block[1:] & 0xF8) != 0xD0))
        if len(found):
            return place + int(found[0])
        place += step
    return len(data)
