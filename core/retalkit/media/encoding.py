"""Frames out: one independent piece of H.264 at a time, encoded on a thread of its own."""

from __future__ import annotations

import queue
import threading
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import cv2
from av.error import FFmpegError
from av.video.stream import VideoStream

from retalkit.errors import OutputError
from retalkit.media.colour import Colour
from retalkit.media.containers import reason
from retalkit.media.frame_editing import FrameWithEdits, Patch, apply_edits, rgb_region, to_rgb
from retalkit.media.yuv_frames import even_frame

__all__ = [
    "FrameWithEdits",
    "Patch",
    "SegmentWriter",
    "apply_edits",
    "output_time_base",
    "rgb_region",
    "to_rgb",
]

_WAITING_FRAMES = 8
"""Frames that may wait for the encoder before ``write_frame`` blocks."""
SEGMENT_LEAD = 10
"""Seconds added to all times in a segment file: decoding times run ahead of showing, and NUT has no negative ones."""
_ENCODER_THREADS = 2
"""A constant, not the number of cores: x264 decides differently with another number of threads."""


_OPENCV_AVX512F = 13
"""``cv::CpuFeatures::CPU_AVX_512F``, which the Python module does not name."""
_WITHOUT_AVX512 = "asm=SSE2Fast,LZCNT,SSE4.2,AVX,FMA3,BMI2,AVX2"


def _encoder_options(preset: str, crf: float) -> dict[str, str]:
    options = {"preset": preset, "crf": f"{crf:g}", "a53cc": "0"}
    # The AVX-512 code of x264's macroblock tree (core 165) reads memory that nobody wrote where the width is no
    # multiple of 256, so that the same frames give other bytes each time. AVX2 is as fast here.
    if cv2.checkHardwareSupport(_OPENCV_AVX512F):
        options["x264-params"] = _WITHOUT_AVX512
    return options


def output_time_base(source: Fraction) -> Fraction:
    """The clock of the output: one in which every time of the source is a whole number, 0.1 ms or finer, and small
    enough for a 32-bit mp4 timescale. Sources with a finer clock than 1 us get 1/90000 s."""
    denominator = source.denominator
    if denominator > 1_000_000:
        return Fraction(1, 90000)
    while denominator < 10000:
        denominator *= 2
    return Fraction(1, denominator)


class SegmentWriter:
    """Writes one segment: it starts with an IDR frame, so segments made at different times can be joined as they are.

    The segment is H.264 8-bit 4:2:0 in a NUT file, which keeps times exactly; ``assemble`` makes the final file. The
    same frames and options give the same bytes. H.264 in 4:2:0 has even sizes only: where width or height is odd, the
    last column or row is repeated once. What the source states about its colours is stated again, what it leaves out
    is left out, so that players treat both alike. The file appears under its name when it is complete.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        colour: Colour,
        rate_hint: Fraction,
        time_base: Fraction,
        crf: float = 18,
        preset: str = "veryfast",
        *,
        sample_aspect: Fraction = Fraction(1),
        threads: int = _ENCODER_THREADS,
    ) -> None:
        """``size``: upright width and height; ``rate_hint``: mean frames a second (rate control only);
        ``time_base``: see ``output_time_base``.

        Raises:
            OutputError: the file cannot be opened.
        """
        self.path = path
        self._size = size
        self._time_base = time_base
        self._partial = path.with_name(path.name + ".partial")
        if not path.parent.is_dir():
            raise OutputError(f"{path} cannot be written: its folder does not exist")
        try:
            self._container = av.open(str(self._partial), "w", format="nut")
        except (FFmpegError, OSError) as error:
            raise OutputError(f"{path} cannot be written: {reason(error)}") from error
        self._stream: VideoStream = self._container.add_stream(
            "libx264",
            rate=rate_hint.limit_denominator(1000),
            options=_encoder_options(preset, crf),
            width=size[0] + size[0] % 2,
            height=size[1] + size[1] % 2,
            time_base=time_base,
        )
        context = self._stream.codec_context
        context.pix_fmt = "yuv420p"
        context.thread_count = threads
        context.colorspace, context.color_range = colour.matrix, colour.range
        context.color_primaries, context.color_trc = colour.primaries, colour.transfer
        if sample_aspect != 1:
            context.sample_aspect_ratio = sample_aspect
        self._queue: queue.Queue[tuple[av.VideoFrame | FrameWithEdits, int, int] | None] = queue.Queue(_WAITING_FRAMES)
        self._failure: Exception | None = None
        self._stopping = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="segment encoder", daemon=True)
        self._thread.start()

    def write_frame(self, frame: av.VideoFrame | FrameWithEdits, time: float, duration: float) -> None:
        """Hands over the next frame, ``yuv420p`` of the size given, shown at ``time`` seconds of the output for
        ``duration`` seconds. Times must ascend. Neither frame nor patches may be changed afterwards.

        Raises:
            OutputError: the disk is full or the encoder failed, now or at an earlier frame.
            ValueError: the frame has another size or format.
        """
        plain = frame.frame if isinstance(frame, FrameWithEdits) else frame
        if (plain.width, plain.height) != self._size or plain.format.name != "yuv420p":
            raise ValueError(
                f"frame is {plain.format.name} {plain.width}x{plain.height}, segment is yuv420p {self._size}"
            )
        ticks = round(time / self._time_base)
        self._put((frame, ticks, max(round((time + duration) / self._time_base) - ticks, 1)))

    def close(self) -> None:
        """Encodes what waits and gives the file its name.

        Raises:
            OutputError: as ``write_frame``.
        """
        if self._closed:
            return
        try:
            self._put(None)
            self._thread.join()
            self._raise_failure()
            self._container.close()
            self._partial.replace(self.path)
            self._closed = True
        except (FFmpegError, OSError) as error:
            raise OutputError(f"{self.path} cannot be written: {reason(error)}") from error
        finally:
            self.abort()

    def abort(self) -> None:
        """Stops and leaves nothing behind; does nothing after ``close``."""
        if self._closed:
            return
        self._closed = True
        self._stopping.set()
        while self._thread.is_alive():
            try:
                self._queue.put_nowait(None)
            except queue.Full:
                self._thread.join(0.01)
            else:
                self._thread.join()
        try:
            self._container.close()
        except (FFmpegError, OSError):
            pass
        finally:
            self._partial.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _put(self, item: tuple[av.VideoFrame | FrameWithEdits, int, int] | None) -> None:
        while True:
            self._raise_failure()
            try:
                self._queue.put(item, timeout=0.2)
            except queue.Full:
                continue
            return

    def _raise_failure(self) -> None:
        if self._failure is None:
            return
        if isinstance(self._failure, (FFmpegError, OSError)):
            raise OutputError(f"{self.path} cannot be written: {reason(self._failure)}") from self._failure
        raise self._failure

    def _work(self) -> None:
        try:
            while True:
                item = self._queue.get()
                if item is None or self._stopping.is_set():
                    break
                self._encode(*item)
            if not self._stopping.is_set():
                self._container.mux(self._stream.encode(None))
        except Exception as failure:
            self._failure = failure

    def _encode(self, frame: av.VideoFrame | FrameWithEdits, ticks: int, duration: int) -> None:
        if isinstance(frame, FrameWithEdits):
            frame = frame.joined()
        frame = even_frame(frame)
        # A decoded frame remembers its own picture type, which the encoder would obey.
        frame.pict_type = 0
        frame.time_base = self._time_base
        frame.pts = ticks + round(SEGMENT_LEAD / self._time_base)
        frame.duration = duration
        self._container.mux(self._stream.encode(frame))
