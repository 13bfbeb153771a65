"""Random-access decoder for an indexed video."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from retalkit.errors import InputError
from retalkit.media.containers import open_media, video_stream
from retalkit.media.deinterlacing import deinterlaced
from retalkit.media.frame_index import FrameIndex, decode_frames
from retalkit.media.pixel_format import YUV420P, PixelFormat
from retalkit.media.yuv_frames import cropped_frame, fitted_frame, upright_frame

_SEEK_DISTANCE = 16
"""Maximum distance in frames from the current position to the target's keyframe for sequential decoding. For larger
distances, seeking is faster."""


class FrameDecoder:
    """Decoder for single frames. An instance keeps one container open, caches one frame and is not thread-safe."""

    def __init__(
        self,
        path: Path,
        index: FrameIndex,
        on_missing: Callable[[int], None],
        on_resized: Callable[[int, int, int], None] = lambda position, width, height: None,
    ) -> None:
        """Initialise the decoder.

        ``on_missing``: callback that receives the position of each frame that cannot be decoded. ``on_resized``:
        callback that receives the position, width and height of each frame whose size differs from that of the video.
        """
        self._on_resized = on_resized
        self._path = path
        self._index = index
        self._on_missing = on_missing
        self._held: tuple[int, av.VideoFrame] | None = None
        self._upright: tuple[int, PixelFormat, av.VideoFrame] | None = None
        self._ahead: tuple[int, av.VideoFrame] | None = None
        self._open()

    def _open(self) -> None:
        self._container = open_media(self._path)
        self._stream = video_stream(self._container, self._path)
        self._stream.thread_type = "AUTO"
        self._frames = self._positioned(0 if self._index.counted else None)

    def close(self) -> None:
        self._held = self._ahead = self._upright = None
        self._frames.close()
        self._container.close()

    def frame(self, position: int, pixel_format: PixelFormat = YUV420P) -> av.VideoFrame:
        """Return an upright frame. A frame that cannot be decoded is replaced by the previous frame.

        The decoder owns the returned frame, so callers must not modify the frame.

        Raises:
            IndexError: the position is outside the video.
            InputError: no frame can be decoded.
        """
        if not 0 <= position < len(self._index.timestamps):
            raise IndexError(f"frame {position} is out of range for a video with {len(self._index.timestamps)} frames")
        if self._held is None or self._held[0] != position:
            self._advance(position)
        if self._held is None:
            raise InputError(
                f"{self._path}: frame {position} cannot be decoded; check that the file has not changed",
                code="undecodable-video",
            )
        held, decoded = self._held
        if self._upright is None or self._upright[:2] != (held, pixel_format):
            if self._index.crop and (decoded.width, decoded.height) == self._index.stored_size:
                decoded = cropped_frame(decoded, self._index.crop, pixel_format)
            if (decoded.width, decoded.height) != (self._index.width, self._index.height):
                self._on_resized(held, decoded.width, decoded.height)
                decoded = fitted_frame(decoded, self._index.width, self._index.height, pixel_format)
            upright = upright_frame(decoded, self._index.colour, self._index.orientation, pixel_format)
            self._upright = (held, pixel_format, upright)
        return self._upright[2]

    def _advance(self, position: int) -> None:
        self._seek(position)
        while True:
            item = self._ahead or next(self._frames, None)
            self._ahead = None
            if item is not None and item[0] <= position:
                self._held = item
                if item[0] == position:
                    return
                continue
            self._on_missing(position)
            self._ahead = item
            if self._held is None and item is not None:
                self._held = item
            return

    def _seek(self, position: int) -> None:
        current = self._held[0] if self._held is not None else -1
        # A deinterlaced frame depends on the frame before it.
        side = "left" if self._index.interlaced else "right"
        before = max(int(np.searchsorted(self._index.keyframes, position, side=side)) - 1, 0)
        keyframe = int(self._index.keyframes[before])
        if current <= position and keyframe <= current + _SEEK_DISTANCE:
            return
        self._held = self._ahead = self._upright = None
        while before > 0 and not self._index.counted:
            try:
                depth = self._stream.codec_context.reorder_depth
                self._frames.close()
                target = int(self._index.timestamps[self._index.keyframes[before]])
                self._container.seek(target, stream=self._stream)
                # Flushing can reset the decoder's reorder depth, which causes the decoder to drop frames.
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
        """Yield decoded frames with their positions. Frames that are missing from the index are skipped."""
        timestamps = self._index.timestamps
        frames = decode_frames(self._container, self._stream)
        for frame in deinterlaced(frames) if self._index.interlaced else frames:
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
