"""Packets of streams that a damaged file has not declared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
from media_clips import steady_clip
from retalkit.media.containers import demux


class Interrupted:
    """Container whose demuxer stops with an IndexError after every third packet, as PyAV does at undeclared streams."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def demux(self, streams: Any) -> Any:
        for number, packet in enumerate(self._container.demux(streams)):
            if number == 3:
                raise IndexError("list index out of range")
            yield packet


def test_packets_of_undeclared_streams_are_skipped(tmp_path: Path) -> None:
    path = steady_clip(tmp_path / "clip.mp4", 20)
    with av.open(str(path)) as container:
        expected = [packet.pts for packet in container.demux(video=0) if packet.size]
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        found = [packet.pts for packet in demux(Interrupted(container), video) if packet.size]
    # One packet is lost at each interruption.
    assert len(found) == 15 and np.isin(found, expected).all() and found[-1] == max(found)
