"""Cropping of mkv and webm files, which FFmpeg's decoders do not apply.

The elements ``PixelCropTop``, ``PixelCropBottom``, ``PixelCropLeft`` and ``PixelCropRight`` contain the number of
hidden pixels at each edge (RFC 9559, section 5.1.4.1.28).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from retalkit.media.clean_aperture import Rectangle

_EBML: Final = 0x1A45DFA3
_SEGMENT: Final = 0x18538067
_CLUSTER: Final = 0x1F43B675
_TRACKS: Final = 0x1654AE6B
_TRACK: Final = 0xAE
_TRACK_TYPE: Final = 0x83
_VIDEO: Final = 0xE0
_PICTURE: Final = 1
"""Track type of videos."""
_BOTTOM: Final = 0x54AA
_TOP: Final = 0x54BB
_LEFT: Final = 0x54CC
_RIGHT: Final = 0x54DD

_Element = tuple[int, int, int]
"""Identifier, start and end of an element's data."""


def matroska_crop(path: Path, number: int, width: int, height: int) -> Rectangle | None:
    """Return the shown part of the frames of a video track, which have ``width`` x ``height`` pixels.

    ``number``: index of the track among the file's video tracks. The position and the size are rounded to even numbers.
    The result is None if the file is not an mkv or webm file, or if players show the whole picture.
    """
    with path.open("rb") as file:
        if file.read(4) != _EBML.to_bytes(4, "big"):
            return None
        try:
            tracks = list(_video_tracks(file, path.stat().st_size))
            hidden = {name: _number(file, start, end) for name, start, end in _elements(file, *tracks[number])}
        except (IndexError, ValueError):
            return None
    left, top = hidden.get(_LEFT, 0) // 2 * 2, hidden.get(_TOP, 0) // 2 * 2
    across = (width - left - hidden.get(_RIGHT, 0)) // 2 * 2
    down = (height - top - hidden.get(_BOTTOM, 0)) // 2 * 2
    if not any(hidden.get(name) for name in (_LEFT, _TOP, _RIGHT, _BOTTOM)) or min(across, down) < 2:
        return None
    return left, top, across, down


def _video_tracks(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """Yield the range of the video settings of each video track."""
    for segment, start, end in _elements(file, 0, size):
        for tracks, first, last in _elements(file, start, end) if segment == _SEGMENT else ():
            if tracks == _CLUSTER:
                return
            for track, begin, stop in _elements(file, first, last) if tracks == _TRACKS else ():
                # Other elements, such as the checksum, contain no elements.
                if track != _TRACK:
                    continue
                inside = {name: (low, high) for name, low, high in _elements(file, begin, stop)}
                if _TRACK_TYPE in inside and _number(file, *inside[_TRACK_TYPE]) == _PICTURE:
                    yield inside.get(_VIDEO, (0, 0))


def _elements(file: BinaryIO, start: int, end: int) -> Iterator[_Element]:
    """Yield the elements of a range. An element of unknown size ends with the range."""
    while start < end:
        file.seek(start)
        name, name_length = _variable(file, keep_marker=True)
        size, size_length = _variable(file, keep_marker=False)
        data = start + name_length + size_length
        unknown = size == (1 << 7 * size_length) - 1
        start = end if unknown else min(data + size, end)
        yield name, data, start


def _variable(file: BinaryIO, *, keep_marker: bool) -> tuple[int, int]:
    """Read an integer of variable length. Return the integer and its length in bytes."""
    first = file.read(1)
    if not first or not first[0]:
        raise ValueError("invalid length of an integer")
    length = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(length - 1), "big")
    return value if keep_marker else value & ((1 << 7 * length) - 1), length


def _number(file: BinaryIO, start: int, end: int) -> int:
    file.seek(start)
    return int.from_bytes(file.read(min(end - start, 8)), "big")
