"""Encoded packets of media files, which are equal where signatures and their times differ."""

from __future__ import annotations

from pathlib import Path

import av

Packets = list[tuple[int, int | None, int | None, bytes]]


def packets(path: Path) -> Packets:
    """Return the stream index, presentation time, decoding time and data of every packet."""
    with av.open(str(path)) as container:
        return [(p.stream.index, p.pts, p.dts, bytes(p)) for p in container.demux() if p.size]
