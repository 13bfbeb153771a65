"""Encoding of the output's audio track."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import OutputContainer
from numpy.typing import NDArray

from retalkit.media.codec_names import AudioCodec
from retalkit.media.sound import channel_names, convert_channels
from retalkit.media.track_source import TrackSource

_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_AUDIO_FRAME = 1024
"""Samples per frame. AAC requires this number."""
_AAC_CHANNELS = 8
"""Maximum number of channels. Audio with more channels is downmixed to stereo."""
_AUDIO_ENCODERS = {"aac": "aac", "pcm": "pcm_s24le", "flac": "flac"}
AUDIO_BIT_RATE = 192_000
"""Maximum AAC bit rate of two channels in bits per second. AAC requires a lower bit rate at low sample rates."""


@dataclass(frozen=True, slots=True)
class SoundTrack:
    """Audio track of the output. The track contains the original speech, whereas denoised speech drives the mouth."""

    source: TrackSource
    duration: float | None = None
    """Duration in seconds, or None for the complete audio."""
    codec: AudioCodec = "aac"


class EncodedSound:
    """Audio track and its encoded packets in decoding order, which can be read once."""

    def __init__(self, track: SoundTrack, packets: Iterator[av.Packet[AudioStream]] | None = None) -> None:
        """Initialise the sound. ``packets``: packets of ``encode``. By default, they are encoded when they are read."""
        self.track = track
        self.packets = encode(track) if packets is None else packets


def add_audio_stream(target: OutputContainer, track: SoundTrack) -> AudioStream:
    """Add a stream for the packets of ``encode(track)``."""
    rate, _ = _format(track)
    stream = target.add_stream(_AUDIO_ENCODERS[track.codec], rate=rate)
    assert isinstance(stream, AudioStream)
    _configure(stream.codec_context, track)
    return stream


def encode(track: SoundTrack) -> Iterator[av.Packet[AudioStream]]:
    """Yield the encoded packets of a track, whose stream is not set.

    Raises InputError if the audio can no longer be decoded, and FFmpegError if it cannot be encoded.
    """
    context = av.CodecContext.create(_AUDIO_ENCODERS[track.codec], "w")
    assert isinstance(context, AudioCodecContext)
    rate, layout = _format(track)
    context.sample_rate = rate
    _configure(context, track)
    source = track.source
    remaining = source.length_at(rate)
    if track.duration is not None:
        remaining = min(remaining, round(track.duration * rate))
    position = 0
    for block in source.native_chunks(rate):
        block = convert_channels(block, source.layout, layout)
        for start in range(0, min(len(block), remaining), _AUDIO_FRAME):
            piece = block[start : min(start + _AUDIO_FRAME, remaining)]
            frame = _audio_frame(piece, layout, track.codec)
            frame.sample_rate = rate
            frame.time_base = Fraction(1, rate)
            frame.pts = position
            position += len(piece)
            yield from context.encode(frame)
        remaining -= min(len(block), remaining)
        if not remaining:
            break
    yield from context.encode(None)


def _format(track: SoundTrack) -> tuple[int, str]:
    """Return the sample rate in hertz and the channel layout of the encoded track."""
    rate, layout = track.source.rate, track.source.layout
    if track.codec == "aac":
        rate = next((known for known in _AAC_RATES if known >= rate), _AAC_RATES[-1])
        layout = layout if len(channel_names(layout)) <= _AAC_CHANNELS else "stereo"
    return rate, layout


def _configure(context: AudioCodecContext, track: SoundTrack) -> None:
    rate, layout = _format(track)
    context.layout = layout
    if track.codec == "aac":
        # AAC allows at most 6144 bits per channel in a frame of 1024 samples.
        channels = len(channel_names(layout))
        context.bit_rate = min(AUDIO_BIT_RATE * max(channels, 2) // 2, 6 * rate * channels)
        context.format = "fltp"
    else:
        context.format = "s32"
    context.time_base = Fraction(1, rate)


def _audio_frame(samples: NDArray[np.float32], layout: str, codec: AudioCodec) -> av.AudioFrame:
    """Return a frame of the samples, float32 [N, channels], in the sample format of the codec."""
    if codec == "aac":
        return av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=layout)
    # Samples of 24 bits represent 16-bit and 24-bit input exactly.
    limit = 2**23
    whole = np.clip(np.rint(samples.astype(np.float64) * limit), -limit, limit - 1).astype(np.int32) * 256
    return av.AudioFrame.from_ndarray(np.ascontiguousarray(whole).reshape(1, -1), format="s32", layout=layout)
