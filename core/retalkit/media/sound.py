"""Sound in: whatever ffmpeg reads, as float samples, streaming."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.audio.layout import AudioLayout
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from numpy.typing import NDArray

from retalkit.errors import InputError
from retalkit.media.containers import open_media, reason
from retalkit.stages import SPEECH_RATE

SILENT = "is silent from start to end"
"""Part of the warning about such a sound."""
_GAP = 0.02
"""Seconds by which a timestamp must run ahead of the samples before silence is put in."""
_MIX: dict[str, tuple[float, float]] = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "FC": (0.7071, 0.7071),
    "BL": (0.7071, 0.0),
    "BR": (0.0, 0.7071),
    "SL": (0.7071, 0.0),
    "SR": (0.0, 0.7071),
    "BC": (0.5, 0.5),
}
"""Shares of left and right that a channel gets in stereo (ITU-R BS.775); the others, such as LFE, are left out."""


class SoundSource:
    """A sound file or a video's sound track; cheap to copy between processes. Time 0 is where the file starts: a track
    that begins later, or has a hole, has silence there."""

    def __init__(self, path: Path, rate: int, channels: int, samples: int, silent: bool) -> None:
        self.path = path
        self.rate = rate
        """Samples a second as stored."""
        self.channels = channels
        """1 or 2: more than two are mixed down to stereo."""
        self.samples = samples
        """Length at ``rate``, counted by decoding."""
        self.warnings: list[str] = []
        if silent:
            self.warnings.append(f"{path.name} {SILENT}: the mouth stays at rest")

    @property
    def duration(self) -> float:
        """Seconds, exact."""
        return self.samples / self.rate

    def length_at(self, rate: int) -> int:
        """Samples that ``chunks(rate)`` gives altogether."""
        return round(self.samples * rate / self.rate)

    def chunks(self, rate: int, mono: bool = True) -> Iterator[NDArray[np.float32]]:
        """Yields float32 in [-1, 1] (louder only where the file is), in order, together ``length_at(rate)`` samples:
        [N] if ``mono`` (mean of the channels), else [N, channels].

        Raises:
            InputError: the file can no longer be decoded.
        """
        blocks = _native_blocks(self.path)
        if mono and self.channels > 1:
            blocks = (block.mean(axis=1, keepdims=True, dtype=np.float32) for block in blocks)
        if rate != self.rate:
            blocks = _resampled(blocks, self.rate, rate)
        left = self.length_at(rate)
        for block in blocks:
            block = block[:left]
            left -= len(block)
            if len(block):
                yield block[:, 0] if mono else block
        if left:
            yield np.zeros(left if mono else (left, self.channels), dtype=np.float32)


def open_sound(path: Path) -> SoundSource:
    """Opens the (first) sound of a file and counts its samples.

    Raises:
        InputError: missing, a folder, empty, not media, without sound, undecodable, or of length 0.
    """
    path = Path(path)
    with open_media(path) as container:
        stream = _sound_stream(container, path)
        rate = stream.codec_context.sample_rate
    samples, channels, silent = 0, 1, True
    for block in _native_blocks(path):
        samples += len(block)
        channels = block.shape[1]
        silent = silent and not block.any()
    if not samples:
        raise InputError(f"{path} has sound of length 0 or sound that does not decode: record it again")
    return SoundSource(path, rate, channels, samples, silent)


def pcm(path: Path) -> NDArray[np.float32]:
    """float32 [N], mono at 16 kHz, of any file with sound: all of it at once, for measuring. Raises InputError."""
    chunks = list(open_sound(path).chunks(SPEECH_RATE))
    return np.concatenate(chunks) if chunks else np.zeros(0, np.float32)


def _sound_stream(container: InputContainer, path: Path) -> AudioStream:
    if not container.streams.audio:
        raise InputError(f"{path} has no sound: give a sound file, or a video that has sound, as SPEECH")
    return container.streams.audio[0]


def _decoded(container: InputContainer, stream: AudioStream, path: Path) -> Iterator[av.AudioFrame]:
    """Frames in order; damaged packets are left out, a file that breaks off ends there."""
    packets = container.demux(stream)
    failure: FFmpegError | None = None
    some = False
    while True:
        try:
            packet = next(packets)
        except (StopIteration, FFmpegError):
            break
        try:
            frames = packet.decode()
        except FFmpegError as error:
            failure = error
            continue
        some = some or bool(frames)
        yield from frames
    if not some and failure is not None:
        raise InputError(f"{path} has sound that cannot be decoded ({reason(failure)}): convert it to wav") from failure


def _native_blocks(path: Path) -> Iterator[NDArray[np.float32]]:
    """float32 [N, 1 or 2] at the stored rate, with silence where the track starts late or has a hole."""
    with open_media(path) as container:
        stream = _sound_stream(container, path)
        rate = stream.codec_context.sample_rate
        origin = _origin(container)
        position = 0
        layout: AudioLayout | None = None
        converter: AudioResampler | None = None
        shape: tuple[str, str, int] | None = None
        for frame in _decoded(container, stream, path):
            now = (frame.format.name, frame.layout.name, frame.sample_rate)
            layout = layout or frame.layout
            if now != shape:
                converter, shape = AudioResampler(format="fltp", layout=layout, rate=rate), now
            if frame.time is not None:
                ahead = round((frame.time - origin) * rate) - position
                if ahead > _GAP * rate:
                    channels = min(layout.nb_channels, 2)
                    yield from _silence(ahead, channels, rate)
                    position += ahead
            assert converter is not None
            names = [channel.name for channel in layout.channels]
            for converted in converter.resample(frame):
                block = _at_most_stereo(np.asarray(converted.to_ndarray(), dtype=np.float32), names)
                position += len(block)
                yield block


def _origin(container: InputContainer) -> float:
    """Seconds at which the earliest picture or sound of the file starts."""
    starts: list[float] = []
    for stream in (*container.streams.video, *container.streams.audio):
        if not stream.disposition & Disposition.attached_pic:
            starts.append(float((stream.start_time or 0) * (stream.time_base or 0)))
    return min(starts)


def _silence(samples: int, channels: int, rate: int) -> Iterator[NDArray[np.float32]]:
    while samples > 0:
        count = min(samples, rate)
        yield np.zeros((count, channels), dtype=np.float32)
        samples -= count


def _at_most_stereo(planar: NDArray[np.float32], names: list[str]) -> NDArray[np.float32]:
    if planar.shape[0] <= 2:
        return np.ascontiguousarray(planar.T)
    shares = np.array([_MIX.get(name, (0.0, 0.0)) for name in names], dtype=np.float32)
    if not shares.any():
        shares = np.ones((planar.shape[0], 2), dtype=np.float32)
    return np.ascontiguousarray(planar.T @ (shares / shares.sum(axis=0)))


def _resampled(blocks: Iterator[NDArray[np.float32]], rate: int, target: int) -> Iterator[NDArray[np.float32]]:
    """The same sound at another rate, without delay against it (libswresample)."""
    resampler: AudioResampler | None = None
    position = 0
    for block in blocks:
        layout = "mono" if block.shape[1] == 1 else "stereo"
        if resampler is None:
            resampler = AudioResampler(format="fltp", layout=layout, rate=target)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block.T), format="fltp", layout=layout)
        frame.sample_rate = rate
        frame.pts = position
        position += len(block)
        for converted in resampler.resample(frame):
            yield np.ascontiguousarray(np.asarray(converted.to_ndarray(), dtype=np.float32).T)
    if resampler is not None:
        for converted in resampler.resample(None):
            yield np.ascontiguousarray(np.asarray(converted.to_ndarray(), dtype=np.float32).T)
