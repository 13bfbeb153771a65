"""A decoder that finds any frame of a scanned video."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from retalkit.errors import InputError
from retalkit.media.containers import open_media, picture_stream
from retalkit.media.frame_index import FrameIndex, decoded
from retalkit.media.yuv_frames import standard_frame

_WORTH_SEEKING = 16
"""Frames between here and the next useful keyframe from which on a jump is cheaper than decoding through."""


class FrameDecoder:
    """Holds one open container and one decoded frame. Not for use from two threads at once."""

    def __init__(self, path: Path, index: FrameIndex, missing: Callable[[int], None]) -> None:
        """``missing`` is told the position of each frame that turned out not to decode."""
        self._path = path
        self._index = index
        self._missing = missing
        self._held: tuple[int, av.VideoFrame] | None = None
        self._held_is_standard = False
        self._ahead: tuple[int, av.VideoFrame] | None = None
        self._open()

    def _open(self) -> None:
        self._container = open_media(self._path)
        self._stream = picture_stream(self._container, self._path)
        self._stream.thread_type = "AUTO"
        self._frames = self._positioned(0 if self._index.counted else None)

    def close(self) -> None:
        self._held = self._ahead = None
        self._frames.close()
        self._container.close()

    def frame(self, position: int) -> av.VideoFrame:
        """The frame as upright ``yuv420p``. A frame that does not decode is replaced by the one before it.

        The frame belongs to the decoder: read it, encode it, but never write to it.

        Raises:
            IndexError: there is no such frame.
            InputError: nothing decodes any more.
        """
        if not 0 <= position < len(self._index.timestamps):
            raise IndexError(f"frame {position} of {len(self._index.timestamps)}")
        if self._held is None or self._held[0] != position:
            self._advance(position)
        if self._held is None:
            raise InputError(f"{self._path} cannot be decoded at frame {position}: was the file changed?")
        if not self._held_is_standard:
            shaped = standard_frame(self._held[1], self._index.colour, self._index.orientation)
            self._held = (self._held[0], shaped)
            self._held_is_standard = True
        return self._held[1]

    def _advance(self, position: int) -> None:
        self._go_near(position)
        while True:
            item = self._ahead or next(self._frames, None)
            self._ahead = None
            if item is not None and item[0] <= position:
                self._held, self._held_is_standard = item, False
                if item[0] == position:
                    return
                continue
            self._missing(position)
            self._ahead = item
            if self._held is None and item is not None:
                self._held, self._held_is_standard = item, False
            return

    def _go_near(self, position: int) -> None:
        here = self._held[0] if self._held is not None else -1
        before = int(np.searchsorted(self._index.keyframes, position, side="right")) - 1
        keyframe = int(self._index.keyframes[before])
        if here <= position and keyframe <= here + _WORTH_SEEKING:
            return
        self._held = self._ahead = None
        while before > 0 and not self._index.counted:
            try:
                depth = self._stream.codec_context.reorder_depth
                self._frames.close()
                target = int(self._index.timestamps[self._index.keyframes[before]])
                self._container.seek(target, stream=self._stream)
                # Flushing may make the decoder forget how far frames are reordered, and then it drops some.
                self._stream.codec_context.reorder_depth = max(depth, self._stream.codec_context.reorder_depth)
            except FFmpegError:
                break
            self._frames = self._positioned(None)
            self._ahead = next(self._frames, None)
            if self._ahead is not None and self._ahead[0] <= position:
                return
            before -= 1
        self.close()
        self._open()

    def _positioned(self, count: int | None) -> Generator[tuple[int, av.VideoFrame]]:
        """Decoded frames with their positions; those that the index does not know are left out."""
        timestamps = self._index.timestamps
        for frame in decoded(self._container, self._stream):
            if count is not None:
                if count < len(timestamps):
                    yield count, frame
                count += 1
                continue
            if frame.pts is None:
                continue
            position = int(np.searchsorted(timestamps, frame.pts))
            if position < len(timestamps) and timestamps[position] == frame.pts:
                yield position, frame
