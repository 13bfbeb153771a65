"""Streaming audio decoder that returns float samples and supports every FFmpeg input format."""

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

SILENT = "contains only silence"
"""Phrase in the warning about silent audio."""
_GAP = 0.02
"""Minimum length in seconds of a timestamp gap that is filled with silence."""
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
"""Left and right gains of each channel for a stereo downmix (ITU-R BS.775). Channels that are not listed, such as LFE,
are dropped.
"""


class SoundSource:
    """Audio source for an audio file or a video's audio track.

    Time 0 is the start of the file. Silence is inserted before a late start and in gaps. Instances have a small pickled
    size because samples are not stored.
    """

    def __init__(self, path: Path, rate: int, channels: int, samples: int, silent: bool) -> None:
        self.path = path
        self.rate = rate
        """Stored sample rate in hertz."""
        self.channels = channels
        """Channel count, 1 or 2. Audio with more channels is downmixed to stereo."""
        self.samples = samples
        """Sample count at ``rate``, determined by decoding."""
        self.warnings: list[str] = []
        if silent:
            self.warnings.append(f"{path.name} {SILENT}, so the mouth stays at rest")

    @property
    def duration(self) -> float:
        """Exact duration in seconds."""
        return self.samples / self.rate

    def length_at(self, rate: int) -> int:
        """Return the total number of samples that ``chunks(rate)`` yields."""
        return round(self.samples * rate / self.rate)

    def chunks(self, rate: int, mono: bool = True) -> Iterator[NDArray[np.float32]]:
        """Yield ``length_at(rate)`` samples in float32 chunks.

        Values are in [-1, 1] unless the file contains samples outside [-1, 1]. Chunks have the shape [N] if ``mono`` is
        True (channel mean), otherwise [N, channels].

        Raises:
            InputError: the file can no longer be decoded.
        """
        blocks = _native_blocks(self.path)
        if mono and self.channels > 1:
            blocks = (block.mean(axis=1, keepdims=True, dtype=np.float32) for block in blocks)
        if rate != self.rate:
            blocks = _resample(blocks, self.rate, rate)
        remaining = self.length_at(rate)
        for block in blocks:
            block = block[:remaining]
            remaining -= len(block)
            if len(block):
                yield block[:, 0] if mono else block
        if remaining:
            yield np.zeros(remaining if mono else (remaining, self.channels), dtype=np.float32)


def open_sound(path: Path) -> SoundSource:
    """Open the first audio stream of a file and count its samples.

    Raises:
        InputError: the path is missing, a directory or empty, the file is not a media file, the file has no audio, or
            the audio is empty or cannot be decoded.
    """
    path = Path(path)
    with open_media(path) as container:
        stream = _audio_stream(container, path)
        rate = stream.codec_context.sample_rate
    samples, channels, silent = 0, 1, True
    for block in _native_blocks(path):
        samples += len(block)
        channels = block.shape[1]
        silent = silent and not block.any()
    if not samples:
        raise InputError(f"{path}: the audio is empty or cannot be decoded; record the audio again", code="empty-audio")
    return SoundSource(path, rate, channels, samples, silent)


def pcm(path: Path) -> NDArray[np.float32]:
    """Return the complete audio of a file, float32 [N], mono at 16 kHz.

    Raises:
        InputError: ``open_sound`` cannot open the file.
    """
    chunks = list(open_sound(path).chunks(SPEECH_RATE))
    return np.concatenate(chunks) if chunks else np.zeros(0, np.float32)


def _audio_stream(container: InputContainer, path: Path) -> AudioStream:
    if not container.streams.audio:
        raise InputError(
            f"{path}: the file has no audio stream; use an audio file or a video with audio as SPEECH",
            code="no-audio-stream",
        )
    return container.streams.audio[0]


def _decode_frames(container: InputContainer, stream: AudioStream, path: Path) -> Iterator[av.AudioFrame]:
    """Yield decoded audio frames in order.

    Damaged packets are skipped, and decoding stops where a truncated file ends.
    """
    packets = container.demux(stream)
    failure: FFmpegError | None = None
    any_decoded = False
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
        any_decoded = any_decoded or bool(frames)
        yield from frames
    if not any_decoded and failure is not None:
        raise InputError(
            f"{path}: the audio cannot be decoded ({reason(failure)}); convert the file to wav",
            code="undecodable-audio",
        ) from failure


def _native_blocks(path: Path) -> Iterator[NDArray[np.float32]]:
    """Yield audio blocks float32 [N, 1 or 2] at the stored rate, with silence before a late start and in gaps."""
    with open_media(path) as container:
        stream = _audio_stream(container, path)
        rate = stream.codec_context.sample_rate
        origin = _origin(container)
        position = 0
        layout: AudioLayout | None = None
        converter: AudioResampler | None = None
        shape: tuple[str, str, int] | None = None
        for frame in _decode_frames(container, stream, path):
            current = (frame.format.name, frame.layout.name, frame.sample_rate)
            layout = layout or frame.layout
            if current != shape:
                converter, shape = AudioResampler(format="fltp", layout=layout, rate=rate), current
            if frame.time is not None:
                ahead = round((frame.time - origin) * rate) - position
                if ahead > _GAP * rate:
                    channels = min(layout.nb_channels, 2)
                    yield from _silence(ahead, channels, rate)
                    position += ahead
            assert converter is not None
            names = [channel.name for channel in layout.channels]
            for converted in converter.resample(frame):
                block = _downmix(np.asarray(converted.to_ndarray(), dtype=np.float32), names)
                position += len(block)
                yield block


def _origin(container: InputContainer) -> float:
    """Return the start time in seconds of the earliest video or audio stream."""
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


def _downmix(planar: NDArray[np.float32], names: list[str]) -> NDArray[np.float32]:
    if planar.shape[0] <= 2:
        return np.ascontiguousarray(planar.T)
    gains = np.array([_MIX.get(name, (0.0, 0.0)) for name in names], dtype=np.float32)
    if not gains.any():
        gains = np.ones((planar.shape[0], 2), dtype=np.float32)
    return np.ascontiguousarray(planar.T @ (gains / gains.sum(axis=0)))


def _resample(blocks: Iterator[NDArray[np.float32]], rate: int, target: int) -> Iterator[NDArray[np.float32]]:
    """Resample audio blocks with libswresample. The output has no delay."""
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
