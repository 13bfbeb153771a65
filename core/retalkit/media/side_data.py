"""Side data of decoded frames."""

from __future__ import annotations

from typing import Any

import av


def side_data(frame: av.VideoFrame, name: str) -> bytes | None:
    """Return the content of a frame's side data, or None if the frame has no such side data.

    PyAV cannot list the side data of a frame if FFmpeg attached data of a type that PyAV does not know, such as EXIF
    data. The side data of such a frame are treated as absent.
    """
    try:
        found: Any = frame.side_data.get(name)
    except ValueError:
        return None
    return None if found is None else bytes(found)
