"""Segments of an output, which are rendered and cached independently of each other."""

from __future__ import annotations

from typing import Final

VERSION: Final = 2
"""Version number in the cache key. The number must be increased when the boundaries of the segments change."""
SEGMENT_FRAMES = 60
"""Number of frames in a segment of a short output, which determines how evenly processes share the work."""
_LONG_OUTPUTS: Final = (2400, 9600)
"""Numbers of output frames from which segments are twice as long each, so that a long video has fewer keyframes."""

_LARGE_FRAME: Final = 2_000_000
"""Number of pixels from which frames are large, such as those of full HD and 4K videos."""


def is_large(size: tuple[int, int]) -> bool:
    """Return whether frames of a width and height are so large that the encoder of one process keeps two cores busy.

    A second encoder would then hardly save time, but would need up to 500 MB.
    """
    return size[0] * size[1] >= _LARGE_FRAME


def segment_ranges(start: int, stop: int) -> list[tuple[int, int]]:
    """Return the range of each segment that contains the output frames [start, stop)."""
    length = SEGMENT_FRAMES * 2 ** sum(stop - start >= count for count in _LONG_OUTPUTS)
    return [(first, min(first + length, stop)) for first in range(start, stop, length)]


def segment_name(number: int) -> str:
    """Return the file name of a completed segment."""
    return f"segment-{number:06d}.mp4"


def counts_name(number: int) -> str:
    """Return the file name of a segment's frame counts. A segment is complete if this file exists, because the file is
    written last."""
    return f"segment-{number:06d}.json"
