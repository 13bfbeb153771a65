"""Clean aperture of mp4 and mov files, the part of the stored picture that players show.

FFmpeg reads the box ``clap`` (ISO 14496-12, section 12.1.4), but PyAV does not give access to it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_SAMPLE_ENTRY = 78
"""Length in bytes of the fields of a visual sample entry, which precede its boxes."""

Rectangle = tuple[int, int, int, int]
"""Left, top, width and height in pixels."""


def clean_aperture(path: Path, track_id: int, width: int, height: int) -> Rectangle | None:
    """Return the clean aperture of a track with stored frames of ``width`` x ``height`` pixels.

    The position and the size are rounded to even numbers. The result is None if the file is not an mp4 or mov file, or
    if players show the whole picture.
    """
    with path.open("rb") as file:
        if file.read(8)[4:] not in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
            return None
        try:
            for track in _boxes(file, 0, path.stat().st_size, ("moov", "trak")):
                found = _aperture_of(file, *track, track_id)
                if found is not None:
                    return _rectangle(found, width, height)
        except (struct.error, ValueError):
            return None
    return None


def _boxes(file: BinaryIO, start: int, end: int, names: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """Yield the ranges of all boxes at the path ``names``, without their headers."""
    while start + 8 <= end:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        header = 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            header = 16
        size = size or end - start
        if size < header:
            raise ValueError("invalid size of a box")
        if kind == names[0].encode():
            inside = (start + header, min(start + size, end))
            if len(names) == 1:
                yield inside
            else:
                yield from _boxes(file, *inside, names[1:])
        start += size


def _aperture_of(file: BinaryIO, start: int, end: int, track_id: int) -> tuple[int, ...] | None:
    for header, _ in _boxes(file, start, end, ("tkhd",)):
        file.seek(header)
        version = file.read(1)[0]
        file.seek(header + (20 if version == 1 else 12))
        if struct.unpack(">I", file.read(4))[0] != track_id:
            return None
    for table, stop in _boxes(file, start, end, ("mdia", "minf", "stbl", "stsd")):
        file.seek(table + 8)
        (size,) = struct.unpack(">I", file.read(4))
        entry = (table + 8 + 8 + _SAMPLE_ENTRY, min(table + 8 + size, stop))
        for place, _ in _boxes(file, *entry, ("clap",)):
            file.seek(place)
            return struct.unpack(">IIIIiIiI", file.read(32))
    return None


def _rectangle(values: tuple[int, ...], width: int, height: int) -> Rectangle | None:
    shown_width, shown_height, across, down = (
        values[place] / values[place + 1] if values[place + 1] else 0.0 for place in (0, 2, 4, 6)
    )
    left = round((width - shown_width) / 2 + across) // 2 * 2
    top = round((height - shown_height) / 2 + down) // 2 * 2
    size = (int(shown_width) // 2 * 2, int(shown_height) // 2 * 2)
    inside = left >= 0 and top >= 0 and left + size[0] <= width and top + size[1] <= height
    if not inside or min(size) < 2 or size == (width, height):
        return None
    return left, top, *size
