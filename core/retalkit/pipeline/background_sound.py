"""Sound of the output, which a thread mixes and encodes while the frames are rendered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import av

from retalkit.media.prefetch import ReadAhead
from retalkit.media.sound_encoding import EncodedSound, SoundTrack, encode

_CHUNK_BYTES: Final = 256 << 10
_CHUNKS: Final = 64
"""Maximum number of chunks that wait in memory for the end of the rendering."""


class BackgroundSound:
    """Audio track that a thread encodes. Encoding pauses while 16 MiB of packets wait."""

    def __init__(self, make: Callable[[], SoundTrack | None]) -> None:
        """Start the thread. ``make``: returns the track, or None if the output has no sound."""
        self._items: ReadAhead[Any] = ReadAhead(_track_and_chunks(make), _CHUNKS)

    def result(self) -> EncodedSound | None:
        """Wait for the track, and return it with its packets. May be called once.

        Exceptions of ``make`` and of the encoder are raised here or while the packets are read.
        """
        track: SoundTrack | None = next(self._items)
        return None if track is None else EncodedSound(track, (packet for chunk in self._items for packet in chunk))

    def close(self) -> None:
        """Stop the thread."""
        self._items.close()


def _track_and_chunks(make: Callable[[], SoundTrack | None]) -> Iterator[SoundTrack | list[av.Packet[Any]] | None]:
    """Yield the track, and then its packets in chunks of limited size."""
    track = make()
    yield track
    chunk: list[av.Packet[Any]] = []
    size = 0
    for packet in encode(track) if track is not None else ():
        chunk.append(packet)
        size += packet.size
        if size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    yield chunk
