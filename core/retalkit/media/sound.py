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
from retalkit.media.clip_clock import ClipClock, read_clock
from retalkit.media.containers import demux, has_decoder, open_media, reason
from retalkit.media.image_files import file_kind
from retalkit.stages import SPEECH_RATE

SILENT = "contains only silence"
"""Phrase in the warning about silent audio."""
_PACKED = "flt"
"""FFmpeg sample format with interleaved channels. PyAV reads at most eight channels from formats with planes."""
_RATES = (1000, 1_000_000)
"""Lowest and highest supported sample rates in Hz. Resampling damaged files with other rates exhausts the memory."""
_MOST_CHANNELS = 64
"""Largest number of channels that FFmpeg converts."""
_GAP = 0.02
"""Minimum length in seconds of a timestamp gap after the start that is filled with silence."""
CHANNEL_MEAN = (0.5, 0.5)
_LARGEST = 1e5
"""Largest magnitude of a valid sample. Encoders reject larger values, infinities and values that are not numbers."""
_SILENT_CHANNEL = 1e-4
"""Energy relative to the other channel below which a channel is silent (-40 dB)."""
_CANCELLED = 0.1
"""Energy of the channels' sum relative to that of uncorrelated channels, below which the channels have opposite
phases. The ratio is 2 for equal channels, 1 for uncorrelated channels and 0 for inverted channels."""
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

_PARTNERS = {"SL": "BL", "SR": "BR", "BL": "SL", "BR": "SR"}
"""Side and back channels that replace each other in layouts that contain only one of the pairs."""
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""FFmpeg's default layouts by channel count."""


class SoundSource:
    """Audio source for an audio file or a video's audio track.

    Time 0 is the start of the file's earliest stream (``retalkit.media.clip_clock``). Silence is inserted before a late
    start and in gaps. Instances have a small pickled
    size because samples are not stored.
    """

    def __init__(
        self,
        path: Path,
        rate: int,
        channels: int,
        samples: int,
        silent: bool,
        *,
        layout: str = "",
        track: int | None = None,
        labelled: bool = True,
        clock: ClipClock | None = None,
        mono: tuple[float, float] = CHANNEL_MEAN,
        channel: int | None = None,
        invalid: int = 0,
        other_tracks: int = 0,
    ) -> None:
        self.path = path
        self.track = track
        """Index of the audio stream among the file's audio streams, or None for the file's default audio stream."""
        self.rate = rate
        """Stored sample rate in hertz."""
        self.channels = channels
        """Channel count of ``chunks``, 1 or 2. ``chunks`` downmixes audio with more channels to stereo."""
        self.layout = layout or ("mono" if channels == 1 else "stereo")
        """FFmpeg name of the stored channel layout, such as ``stereo`` or ``5.1``. Files that do not declare a layout
        have FFmpeg's default layout for the number of channels."""
        self._labelled = labelled
        self._clock = clock or read_clock(path, track)
        self.samples = samples
        """Sample count at ``rate``, determined by decoding."""
        self.warnings: list[str] = list(self._clock.warnings)
        self.mono = mono
        """Gains of the two channels in the mono downmix. The channel mean would cancel channels of opposite phase, and
        would halve the level if one channel is silent."""
        self.channel = channel
        """Index of the stored channel that replaces the mono downmix because the downmix cancels the channels, or
        None."""
        if invalid:
            self.warnings.append(f"{path.name}: {invalid} samples are not valid numbers and are replaced by silence")
        if mono[1] < 0:
            self.warnings.append(
                f"{path.name}: the channels have opposite phases, so the mouth follows the difference between them"
            )
        if channel is not None:
            self.warnings.append(
                f"{path.name}: the channels cancel each other in a mono downmix, so the mouth follows "
                f"channel {channel + 1} ({channel_names(self.layout)[channel]})"
            )
        if silent:
            self.warnings.append(f"{path.name} {SILENT}, so the mouth stays at rest{_track_hint(other_tracks)}")

    @property
    def origin(self) -> float:
        """Time of the first sample in seconds on the container's clock."""
        return float(self._clock.origin)

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
        True (channel mean, or the gains in ``self.mono``), otherwise [N, channels].

        Raises:
            InputError: the file can no longer be decoded.
        """
        names = channel_names(self.layout) if self._labelled else []
        blocks = _native_blocks(self.path, self.track, self._clock)
        channel = self.channel
        if mono and channel is not None:
            blocks = (block[:, channel : channel + 1] for block in blocks)
        else:
            blocks = (_downmix(block, names) for block in blocks)
        layout = "mono" if self.channels == 1 else "stereo"
        if mono and channel is not None:
            layout = "mono"
        elif mono and self.channels > 1:
            blocks = (_to_mono(block, self.mono) for block in blocks)
            layout = "mono"
        for block in self._exact(blocks, rate, layout):
            yield block[:, 0] if mono else block

    def native_chunks(self, rate: int) -> Iterator[NDArray[np.float32]]:
        """Yield ``length_at(rate)`` samples with all stored channels, float32 [N, channels of ``layout``].

        At the stored rate, the samples are the decoded samples without any conversion other than to float.

        Raises:
            InputError: the file can no longer be decoded.
        """
        return self._exact(_native_blocks(self.path, self.track, self._clock), rate, self.layout)

    def _exact(self, blocks: Iterator[NDArray[np.float32]], rate: int, layout: str) -> Iterator[NDArray[np.float32]]:
        """Resample the blocks, and truncate or pad the result to ``length_at(rate)`` samples."""
        if rate != self.rate:
            blocks = resample(blocks, self.rate, rate, layout)
        remaining = self.length_at(rate)
        for block in blocks:
            block = block[:remaining]
            remaining -= len(block)
            if len(block):
                yield block
        if remaining:
            yield np.zeros((remaining, len(channel_names(layout))), dtype=np.float32)


def open_sound(path: Path, track: int | None = None) -> SoundSource:
    """Open an audio stream of a file and count its samples.

    ``track``: index among the file's audio streams, from 0. By default, the stream that the file marks as the default
    is used, or the first stream if no stream is marked.

    Raises:
        InputError: the path is missing, a directory or empty, the file is not a media file, the file has no such audio
            stream, or the audio is empty or cannot be decoded.
    """
    path = Path(path)
    with open_media(path) as container:
        stream = audio_stream(container, path, track)
        others = len(container.streams.audio) - 1
        rate = stream.codec_context.sample_rate
        layout, labelled = _layout_name(stream.codec_context.layout)
        declared = stream.codec_context.layout.nb_channels
    if rate <= 0:
        raise InputError(f"{path}: the audio has no sample rate; convert the audio to wav", code="unsupported-codec")
    if not _RATES[0] <= rate <= _RATES[1]:
        raise InputError(
            f"{path}: the audio has a sample rate of {rate} Hz, but only rates of 1 to 1000 kHz are supported; convert "
            "the audio to wav with 48 kHz",
            code="unsupported-sample-rate",
        )
    if declared > _MOST_CHANNELS:
        raise InputError(
            f"{path}: the audio has {declared} channels, but at most {_MOST_CHANNELS} channels are supported; convert "
            "the audio to mono or stereo",
            code="too-many-channels",
        )
    clock = read_clock(path, track)
    samples, silent, channels = 0, True, 0
    names = channel_names(layout) if labelled else []
    phases, invalid = _ChannelStatistics(), [0]
    for block in _native_blocks(path, track, clock, invalid):
        samples += len(block)
        channels = channels or block.shape[1]
        silent = silent and not block.any()
        if channels > 1:
            phases.add(block, names if len(names) == block.shape[1] else [])
    if not samples:
        raise InputError(f"{path}: the audio is empty or cannot be decoded; record the audio again", code="empty-audio")
    if channels != len(channel_names(layout)):
        layout, labelled = _layout_with(channels), False
    return SoundSource(
        path,
        rate,
        min(channels, 2),
        samples,
        silent,
        layout=layout,
        track=track,
        labelled=labelled,
        clock=clock,
        mono=phases.gains(),
        channel=phases.channel(),
        invalid=invalid[0],
        other_tracks=others,
    )


def has_sound(path: Path) -> bool:
    """Return whether the media file has an audio stream. Raises InputError if the file cannot be opened."""
    if file_kind(path) != "video":
        return False
    with open_media(path) as container:
        return any(has_decoder(stream) for stream in container.streams.audio)


def pcm(path: Path) -> NDArray[np.float32]:
    """Return the complete audio of a file, float32 [N], mono at 16 kHz.

    Raises:
        InputError: ``open_sound`` cannot open the file.
    """
    chunks = list(open_sound(path).chunks(SPEECH_RATE))
    return np.concatenate(chunks) if chunks else np.zeros(0, np.float32)


def audio_stream(container: InputContainer, path: Path, track: int | None = None) -> AudioStream:
    """Return an audio stream of an open file, see ``open_sound``.

    Raises:
        InputError: the file has no such audio stream.
    """
    streams = container.streams.audio
    if not streams:
        raise InputError(
            f"{path}: the file has no audio stream; use an audio file or a video with audio as SPEECH",
            code="no-audio-stream",
        )
    decoded = [stream for stream in streams if has_decoder(stream)]
    if not decoded or (track is not None and 0 <= track < len(streams) and not has_decoder(streams[track])):
        raise InputError(
            f"{path}: FFmpeg cannot decode the format of the audio; convert the audio to wav", code="unsupported-codec"
        )
    if track is None:
        return next((stream for stream in decoded if stream.disposition & Disposition.default), decoded[0])
    if not 0 <= track < len(streams):
        raise InputError(
            f"{path}: there is no audio track {track}; the file has {len(streams)} audio "
            f"track{'s' if len(streams) > 1 else ''}, counted from 0",
            code="no-audio-track",
        )
    return streams[track]


def _decode_frames(
    container: InputContainer, stream: AudioStream, path: Path, clock: ClipClock
) -> Iterator[av.AudioFrame]:
    """Yield decoded audio frames in order, with continuous timestamps.

    Damaged packets are skipped, and decoding stops where a truncated file ends.
    """
    packets = clock.continuous(demux(container, stream), stream)
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


def _native_blocks(
    path: Path, track: int | None, clock: ClipClock, invalid: list[int] | None = None
) -> Iterator[NDArray[np.float32]]:
    """Yield audio blocks float32 [N, stored channels] at the stored rate, with silence before a late start and in gaps.

    Invalid samples are replaced by 0, and their number is added to ``invalid[0]``.
    """
    with open_media(path) as container:
        stream = audio_stream(container, path, track)
        rate = stream.codec_context.sample_rate
        origin, position = float(clock.origin), 0
        layout: AudioLayout | None = None
        converter: AudioResampler | None = None
        shape: tuple[str, str, int] | None = None
        for frame in _decode_frames(container, stream, path, clock):
            current = (frame.format.name, frame.layout.name, frame.sample_rate)
            layout = layout or frame.layout
            if current != shape:
                converter, shape = AudioResampler(format=_PACKED, layout=layout, rate=rate), current
            if frame.time is not None:
                ahead = round((frame.time - origin) * rate) - position
                # The start is exact. Later timestamps can be rounded, for example to 1 ms in mkv files.
                if ahead > (_GAP * rate if position else 0):
                    yield from _silence(ahead, layout.nb_channels, rate)
                    position += ahead
            assert converter is not None
            for block in _converted(converter, frame, path):
                position += len(block)
                # The comparison is also False for values that are not numbers.
                valid = np.abs(block) <= _LARGEST
                if not valid.all():
                    block = np.where(valid, block, np.float32(0))
                    if invalid is not None:
                        invalid[0] += int(valid.size - np.count_nonzero(valid))
                yield block


def _converted(converter: AudioResampler, frame: av.AudioFrame, path: Path) -> Iterator[NDArray[np.float32]]:
    """Yield the samples of a frame in the converter's format. Raises InputError if FFmpeg cannot convert the frame."""
    try:
        yield from map(_samples, converter.resample(frame))
    except FFmpegError as error:
        raise InputError(
            f"{path}: FFmpeg cannot convert the audio ({frame.layout.name}, {frame.sample_rate} Hz): {reason(error)}; "
            "convert the file to wav with 48 kHz",
            code="undecodable-audio",
        ) from error


class _ChannelStatistics:
    """Energies of the stored channels, of the stereo downmix and of its sum, which determine the mono downmix."""

    def __init__(self) -> None:
        self._left = self._right = self._product = 0.0
        self._stored: NDArray[np.float64] = np.zeros(1)
        self._downmix: NDArray[np.float64] = np.zeros((0, 2))

    def add(self, block: NDArray[np.float32], names: list[str]) -> None:
        """Add a block, float32 [N, stored channels]. ``names``: see ``_downmix``."""
        stereo = _downmix(block, names).astype(np.float64)
        left, right = stereo[:, 0], stereo[:, 1]
        self._left += float(left @ left)
        self._right += float(right @ right)
        self._product += float(left @ right)
        if block.shape[1] > 2:
            self._stored = self._stored + np.square(block, dtype=np.float64).sum(axis=0)
            self._downmix = _downmix(np.eye(block.shape[1], dtype=np.float32), names).astype(np.float64)

    def channel(self) -> int | None:
        """Return the loudest of more than two channels if the mono downmix cancels or omits it, otherwise None."""
        if not self._stored.any():
            return None
        left, right = self.gains()
        mixed = left**2 * self._left + right**2 * self._right + 2 * left * right * self._product
        uncorrelated = float(np.square(self._downmix @ (left, right)) @ self._stored)
        loudest = int(self._stored.argmax())
        lost = mixed < _CANCELLED * uncorrelated or mixed < _SILENT_CHANNEL * self._stored[loudest]
        return loudest if lost else None

    def gains(self) -> tuple[float, float]:
        """Return the gains of the channels."""
        if self._left < _SILENT_CHANNEL * self._right:
            return 0.0, 1.0
        if self._right < _SILENT_CHANNEL * self._left:
            return 1.0, 0.0
        total = self._left + self._right
        if total + 2 * self._product < _CANCELLED * total:
            return 0.5, -0.5
        return CHANNEL_MEAN


def _track_hint(others: int) -> str:
    if not others:
        return ""
    return f"; the file has {others} other audio track{'s' if others > 1 else ''}, which --track selects"


def _to_mono(block: NDArray[np.float32], gains: tuple[float, float]) -> NDArray[np.float32]:
    if gains == CHANNEL_MEAN:
        return block.mean(axis=1, keepdims=True, dtype=np.float32)
    return block @ np.array(gains, np.float32)[:, None]


def _silence(samples: int, channels: int, rate: int) -> Iterator[NDArray[np.float32]]:
    while samples > 0:
        count = min(samples, rate)
        yield np.zeros((count, channels), dtype=np.float32)
        samples -= count


def channel_names(layout: str) -> list[str]:
    """Return the FFmpeg names of a layout's channels, such as ``FL`` and ``FR`` for ``stereo``."""
    return [channel.name for channel in AudioLayout(layout).channels]


def convert_channels(block: NDArray[np.float32], layout: str, target: str) -> NDArray[np.float32]:
    """Convert float32 [N, channels of ``layout``] to the channels of the layout ``target``.

    Equal layouts return the input array. Mono is copied to both channels of stereo, and to the centre channel of a
    surround layout. Surround layouts are downmixed to stereo according to ITU-R BS.775.
    """
    if layout == target:
        return block
    names, wanted = channel_names(layout), channel_names(target)
    if len(wanted) == 1:
        return _downmix(block, names).mean(axis=1, keepdims=True, dtype=np.float32)
    if len(wanted) == 2:
        stereo = _downmix(block, names)
        return np.repeat(stereo, 2, axis=1) if stereo.shape[1] == 1 else stereo
    gains = np.zeros((len(names), len(wanted)), dtype=np.float32)
    for row, name in enumerate(names):
        if len(names) == 1:
            name = "FC"
        same = next((each for each in (name, _PARTNERS.get(name, "")) if each in wanted), "")
        if same:
            gains[row, wanted.index(same)] = 1.0
            continue
        for side, gain in zip(("FL", "FR"), _MIX.get(name, (0.0, 0.0)), strict=True):
            if side in wanted:
                gains[row, wanted.index(side)] = gain
    return block @ gains


def _layout_name(layout: AudioLayout) -> tuple[str, bool]:
    """Return the layout's name and True, or FFmpeg's default layout and False if the file declares no known layout."""
    if any(channel.name == "NONE" for channel in layout.channels):
        return _layout_with(layout.nb_channels), False
    try:
        AudioLayout(layout.name)
    except ValueError:
        return _layout_with(layout.nb_channels), False
    return layout.name, True


def _layout_with(channels: int) -> str:
    return _LAYOUTS.get(channels, f"{channels}C")


def _downmix(block: NDArray[np.float32], names: list[str]) -> NDArray[np.float32]:
    if block.shape[1] <= 2:
        return block
    gains = np.array([_MIX.get(name, (0.0, 0.0)) for name in names], dtype=np.float32)
    if not gains.any():
        gains = np.ones((block.shape[1], 2), dtype=np.float32)
    return np.ascontiguousarray(block @ (gains / gains.sum(axis=0)))


def _samples(frame: av.AudioFrame) -> NDArray[np.float32]:
    """Return the samples of a frame in the format ``_PACKED``, float32 [N, channels]."""
    return np.array(frame.to_ndarray(), dtype=np.float32).reshape(-1, frame.layout.nb_channels)


def resample(
    blocks: Iterator[NDArray[np.float32]], rate: int, target: int, layout: str
) -> Iterator[NDArray[np.float32]]:
    """Resample audio blocks, float32 [N, channels of ``layout``], with libswresample. The output has no delay."""
    resampler: AudioResampler | None = None
    position = 0
    for block in blocks:
        if resampler is None:
            resampler = AudioResampler(format=_PACKED, layout=layout, rate=target)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block).reshape(1, -1), format=_PACKED, layout=layout)
        frame.sample_rate = rate
        frame.pts = position
        position += len(block)
        for converted in resampler.resample(frame):
            yield _samples(converted)
    if resampler is not None:
        for converted in resampler.resample(None):
            yield _samples(converted)
