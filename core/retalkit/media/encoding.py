"""Encoder for independent video segments that runs in a background thread."""

from __future__ import annotations

import queue
import threading
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.codec.codec import UnknownCodecError
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from retalkit.errors import OutputError
from retalkit.media.colour import Colour
from retalkit.media.containers import file_url, reason
from retalkit.media.video_codec import DEFAULT_ENCODING, Encoding
from retalkit.media.yuv_frames import pad_to_multiple

_QUEUE_SIZE = 8
"""Maximum number of frames in the encoder queue. ``write_frame`` blocks while the queue is full."""
SEGMENT_LEAD = 10
"""Offset in seconds added to all timestamps in a segment file. Decoding timestamps precede presentation timestamps, and
NUT does not support negative timestamps.
"""
_ENCODER_THREADS = 2
"""Number of encoder threads. The value is constant because x264's output depends on the thread count."""


def output_time_base(source: Fraction) -> Fraction:
    """Return the output time base, which is at most 0.1 ms and divides the source time base.

    The time base fits the 32-bit timescale of mp4. For source time bases below 1 us, the output time base is 1/90000 s.
    """
    denominator = source.denominator
    if denominator > 1_000_000:
        return Fraction(1, 90000)
    while denominator < 10000:
        denominator *= 2
    return Fraction(1, denominator)


class SegmentWriter:
    """Writer for one segment. Each segment starts with a keyframe that allows random access, so segments can be
    concatenated without re-encoding.

    A segment is a NUT file (ProRes: a mov file), which preserves exact timestamps. ``retalkit.media.muxing.assemble``
    writes the output file. The encoder is deterministic. Subsampled chroma requires even sizes, so the writer repeats
    the last column of odd-width frames and the last row of odd-height frames. The writer copies the source's colour
    description, including unspecified values. Players therefore render the source and the output with identical
    colours. The segment file is written atomically.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        colour: Colour,
        rate_hint: Fraction,
        time_base: Fraction,
        encoding: Encoding = DEFAULT_ENCODING,
        *,
        sample_aspect: Fraction = Fraction(1),
        threads: int = _ENCODER_THREADS,
    ) -> None:
        """Open the segment for writing.

        ``size``: upright width and height in pixels. ``rate_hint``: mean frame rate in frames per second, used only for
        rate control. ``time_base``: output time base, see ``output_time_base``.

        Raises:
            OutputError: the file cannot be opened.
        """
        self.path = path
        self._size = size
        self._encoding = encoding
        self._time_base = time_base
        self._partial = path.with_name(path.name + ".partial")
        if not path.parent.is_dir():
            raise OutputError(
                f"{path} cannot be written because {path.parent} does not exist; create the directory",
                code="directory-not-found",
            )
        try:
            self._container = av.open(file_url(self._partial), "w", format=encoding.segment_format)
        except (FFmpegError, OSError) as error:
            raise write_error(path, error) from error
        columns, rows = encoding.size_multiple
        stream = self._container.add_stream(
            encoding.encoder,
            rate=rate_hint.limit_denominator(1000),
            options=encoding.options(),
            width=size[0] + size[0] % columns,
            height=size[1] + size[1] % rows,
            time_base=time_base,
        )
        assert isinstance(stream, VideoStream)
        self._stream = stream
        context = stream.codec_context
        context.pix_fmt = encoding.encoder_format
        context.thread_count = threads
        context.colorspace, context.color_range = colour.matrix, colour.range
        context.color_primaries, context.color_trc = colour.primaries, colour.transfer
        if sample_aspect != 1:
            context.sample_aspect_ratio = sample_aspect
        self._queue: queue.Queue[tuple[av.VideoFrame, int, int] | None] = queue.Queue(_QUEUE_SIZE)
        self._failure: Exception | None = None
        self._stopping = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="segment encoder", daemon=True)
        self._thread.start()

    def write_frame(self, frame: av.VideoFrame, time: float, duration: float) -> None:
        """Queue the next frame, which is shown at output time ``time`` for ``duration`` seconds.

        The frame must have the encoding's pixel format and the segment's size. Callers must not modify a queued frame.
        Times are in seconds and must be in ascending order.

        Raises:
            OutputError: the disk is full, or the encoder failed at this frame or an earlier frame.
            ValueError: the size or the format of the frame does not match the segment.
        """
        expected = self._encoding.pixel_format.name
        if (frame.width, frame.height) != self._size or frame.format.name != expected:
            raise ValueError(
                f"expected a {expected} frame of size {self._size}, "
                f"got {frame.format.name} {frame.width}x{frame.height}"
            )
        ticks = round(time / self._time_base)
        self._put((frame, ticks, max(round((time + duration) / self._time_base) - ticks, 1)))

    def close(self) -> None:
        """Encode the queued frames and rename the temporary file to the segment's path.

        Raises:
            OutputError: the disk is full or the encoder failed.
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
            raise write_error(self.path, error) from error
        finally:
            self.abort()

    def abort(self) -> None:
        """Stop the encoder and remove the partial file. The method has no effect after ``close``."""
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

    def _put(self, item: tuple[av.VideoFrame, int, int] | None) -> None:
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
            raise write_error(self.path, self._failure) from self._failure
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

    def _encode(self, frame: av.VideoFrame, ticks: int, duration: int) -> None:
        frame = pad_to_multiple(frame, *self._encoding.size_multiple)
        # A decoded frame keeps its picture type, which would force the picture type of the encoded frame.
        frame.pict_type = 0
        frame.time_base = self._time_base
        frame.pts = ticks + round(SEGMENT_LEAD / self._time_base)
        frame.duration = duration
        self._container.mux(self._stream.encode(frame))


def check_encoder(encoding: Encoding) -> None:
    """Check that the hardware encoder can be opened on this machine. Encoders that run on the CPU always can.

    Raises:
        OutputError: the encoder is not part of FFmpeg, or the hardware or its driver is missing.
    """
    if encoding.accelerator is None:
        return
    try:
        context = av.CodecContext.create(encoding.encoder, "w")
        assert isinstance(context, VideoCodecContext)
        context.width, context.height, context.pix_fmt = 640, 480, encoding.encoder_format
        context.time_base = Fraction(1, 25)
        context.options = encoding.options()
        context.open()
    except (FFmpegError, OSError, ValueError) as error:
        # The errors of hardware encoders, such as "Operation not permitted", do not state that a driver is missing.
        unknown = isinstance(error, UnknownCodecError)
        cause = (
            f"this build of FFmpeg does not contain {encoding.encoder}"
            if unknown
            else f"{encoding.encoder} finds no suitable hardware or driver ({reason(error)})"
        )
        raise OutputError(
            f"output.encoder: {encoding.accelerator} cannot be used on this machine, because {cause}; remove "
            "output.encoder to encode the video on the CPU",
            code="encoder-not-available",
        ) from error


def write_error(path: Path, error: BaseException) -> OutputError:
    """Return an OutputError for a file that cannot be written."""
    return OutputError(f"{path} cannot be written ({reason(error)}); choose a different path", code="unwritable-output")
