"""Streaming mix of placed sounds over background sounds, such as speeches over the original sound of a video.

Memory usage does not depend on the duration. A background sound is multiplied by exactly 1 outside the ducked spans, so
that its samples there are identical to the decoded samples if its gain is 0 dB and its sample rate and channel layout
are those of the mix.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retalkit.media.sound import SoundSource, channel_names, convert_channels, resample

FADE = 0.008
"""Duration in seconds of the fade at each end of a placed sound, and of a muted span of a background sound. The fades
lie inside the placement or the span."""
MUTE = -math.inf
"""Gain in dB of silence."""
_BLOCK = 16384
"""Samples per block of the mix."""

Span = tuple[float, float]
"""Start and end in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Part of a sound that starts at a time of the output. It fades in and out over ``fade`` seconds."""

    source: SoundSource
    start: float = 0.0
    """Start in the output in seconds. The part of the sound before output time 0 is not audible."""
    offset: float = 0.0
    """Position in the sound in seconds at which the part starts."""
    duration: float | None = None
    """Duration in seconds, or None for the sound up to its end."""
    gain: float = 0.0
    """Gain in dB."""
    fade: float = FADE

    @property
    def end(self) -> float:
        """End in the output in seconds."""
        length = max(self.source.duration - self.offset, 0.0)
        return self.start + (length if self.duration is None else min(self.duration, length))


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """Sound that continues below the placed sounds. Its gain changes by ``ducking`` dB within the ducked spans."""

    source: SoundSource
    start: float = 0.0
    """Start in the output in seconds."""
    offset: float = 0.0
    """Position in the sound in seconds at which the background starts."""
    gain: float = 0.0
    """Gain in dB."""
    ducking: float = 0.0
    """Additional gain in dB within the spans, at most 0. ``MUTE`` silences the sound."""
    spans: tuple[Span, ...] = ()
    """Ducked spans in output seconds."""
    ramp: float = FADE
    """Duration in seconds of the transition at each end of a span. The transitions lie inside the span."""


class SoundMix:
    """Mix of background sounds and placed sounds, which has a sample rate, a channel layout and a duration.

    The samples may exceed [-1, 1] if the sum of the sounds does.
    """

    def __init__(
        self,
        placements: Sequence[Placement],
        backgrounds: Sequence[Background] = (),
        *,
        duration: float,
        rate: int | None = None,
        layout: str | None = None,
    ) -> None:
        """Initialise the mix. No file is opened.

        ``duration``: duration of the mix in seconds. ``rate``: sample rate in hertz. ``layout``: FFmpeg name of the
        channel layout. By default, both are those of the first background sound, or of the first placed sound if there
        is no background sound.

        Raises:
            ValueError: there is no sound, or ``ducking`` is positive.
        """
        first = next(iter((*backgrounds, *placements)), None)
        if first is None:
            raise ValueError("a mix requires at least one sound")
        if any(background.ducking > 0 for background in backgrounds):
            raise ValueError("ducking must not be positive")
        self.placements = tuple(sorted(placements, key=lambda placement: placement.start))
        self.backgrounds = tuple(backgrounds)
        self.rate = rate or first.source.rate
        self.layout = layout or first.source.layout
        self.samples = round(duration * self.rate)

    @property
    def duration(self) -> float:
        return self.samples / self.rate

    def length_at(self, rate: int) -> int:
        """Return the total number of samples that ``native_chunks(rate)`` yields."""
        return round(self.samples * rate / self.rate)

    def native_chunks(self, rate: int) -> Iterator[NDArray[np.float32]]:
        """Yield ``length_at(rate)`` samples, float32 [N, channels of ``layout``].

        Raises:
            InputError: a file can no longer be decoded.
        """
        blocks = self._blocks()
        if rate != self.rate:
            blocks = resample(blocks, self.rate, rate, self.layout)
        remaining = self.length_at(rate)
        for block in blocks:
            block = block[:remaining]
            remaining -= len(block)
            if len(block):
                yield block
        if remaining:
            yield np.zeros((remaining, len(channel_names(self.layout))), dtype=np.float32)

    def _blocks(self) -> Iterator[NDArray[np.float32]]:
        channels = len(channel_names(self.layout))
        with ExitStack() as stack:
            readers = stack.enter_context(closing(_Readers(self.rate, self.layout)))
            backgrounds = [_OpenBackground(background, self.rate, readers) for background in self.backgrounds]
            waiting = list(self.placements)
            playing: list[_OpenPlacement] = []
            for first in range(0, self.samples, _BLOCK):
                count = min(_BLOCK, self.samples - first)
                block = np.zeros((count, channels), dtype=np.float32)
                for background in backgrounds:
                    background.add_to(block, first)
                while waiting and round(waiting[0].start * self.rate) < first + count:
                    playing.append(_OpenPlacement(waiting.pop(0), self.rate, readers))
                playing = [placement for placement in playing if placement.add_to(block, first)]
                yield block


class _Reader:
    """Sequential reader for the samples of one sound at the mix's sample rate and channel layout."""

    def __init__(self, source: SoundSource, rate: int, layout: str) -> None:
        self._source = source
        self._layout = layout
        self._chunks = source.native_chunks(rate)
        self._held: NDArray[np.float32] = np.zeros((0, len(channel_names(layout))), dtype=np.float32)
        self.position = 0

    def skip_to(self, position: int) -> None:
        """Discard the samples before ``position``."""
        while self.position < position:
            if not len(self._held) and not self._advance():
                self.position = position
                return
            count = min(len(self._held), position - self.position)
            self._held = self._held[count:]
            self.position += count

    def read(self, count: int) -> NDArray[np.float32]:
        """Return the next samples, float32 [up to ``count``, channels], fewer only at the end of the sound."""
        parts: list[NDArray[np.float32]] = []
        while count > 0 and (len(self._held) or self._advance()):
            part = self._held[:count]
            parts.append(part)
            self._held = self._held[len(part) :]
            self.position += len(part)
            count -= len(part)
        return np.concatenate(parts) if parts else self._held[:0]

    def close(self) -> None:
        if isinstance(self._chunks, Generator):
            self._chunks.close()

    def _advance(self) -> bool:
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        self._held = convert_channels(chunk, self._source.layout, self._layout)
        return True


class _Readers:
    """Pool of open readers.

    Placements with ascending offsets in one file continue with one reader, so the file is decoded only once.
    """

    def __init__(self, rate: int, layout: str) -> None:
        self._rate, self._layout = rate, layout
        self._idle: list[tuple[SoundSource, _Reader]] = []
        self._opened: list[_Reader] = []

    def open(self, source: SoundSource, position: int) -> _Reader:
        """Return a reader at ``position``, which is a sample index of the sound at the mix's sample rate."""
        for number, (known, reader) in enumerate(self._idle):
            same = (known.path, known.track) == (source.path, source.track)
            if same and reader.position <= position:
                del self._idle[number]
                break
        else:
            reader = _Reader(source, self._rate, self._layout)
            self._opened.append(reader)
        reader.skip_to(position)
        return reader

    def release(self, source: SoundSource, reader: _Reader) -> None:
        self._idle.append((source, reader))

    def close(self) -> None:
        for reader in self._opened:
            reader.close()


class _OpenPlacement:
    def __init__(self, placement: Placement, rate: int, readers: _Readers) -> None:
        self._source, self._readers = placement.source, readers
        self._first = round(placement.start * rate)
        self._count = max(round(placement.end * rate) - self._first, 0)
        self._fade = min(round(placement.fade * rate), self._count // 2)
        self._gain = np.float32(_factor(placement.gain))
        hidden = max(-self._first, 0)
        self._reader = readers.open(placement.source, round(placement.offset * rate) + hidden)

    def add_to(self, block: NDArray[np.float32], first: int) -> bool:
        """Add the part of the placement inside the block. Return False after the end of the placement."""
        start, stop = max(self._first, first), min(self._first + self._count, first + len(block))
        samples = self._reader.read(stop - start) if stop > start else block[:0]
        if len(samples):
            positions = np.arange(start - self._first, start - self._first + len(samples))
            envelope = self._gain * _edges(positions, self._count, self._fade)
            block[start - first : start - first + len(samples)] += samples * envelope[:, None]
        if self._first + self._count > first + len(block):
            return True
        self._readers.release(self._source, self._reader)
        return False


class _OpenBackground:
    def __init__(self, background: Background, rate: int, readers: _Readers) -> None:
        self._first = round(background.start * rate)
        self._gain = np.float32(_factor(background.gain))
        self._ducked = np.float32(_factor(background.ducking))
        self._ramp = round(background.ramp * rate)
        merged = merge_spans(background.spans, 1.5 / rate)
        self._spans = [(round(start * rate), round(end * rate)) for start, end in merged]
        self._reader = readers.open(background.source, round(background.offset * rate) + max(-self._first, 0))

    def add_to(self, block: NDArray[np.float32], first: int) -> None:
        start = max(self._first, first)
        samples = self._reader.read(first + len(block) - start) if start < first + len(block) else block[:0]
        if not len(samples):
            return
        stop = start + len(samples)
        samples = samples * self._gain if self._gain != 1 else samples
        while self._spans and self._spans[0][1] <= start:
            del self._spans[0]
        for begin, end in self._spans:
            if begin >= stop:
                break
            inside = slice(max(begin, start) - start, min(end, stop) - start)
            positions = np.arange(inside.start, inside.stop) + start - begin
            depth = _edges(positions, end - begin, min(self._ramp, (end - begin) // 2))
            ducked = samples[inside] * (1 + (self._ducked - 1) * depth)[:, None]
            samples = np.concatenate([samples[: inside.start], ducked, samples[inside.stop :]])
        block[start - first : stop - first] += samples


def merge_spans(spans: Sequence[Span], gap: float = 0.0) -> list[Span]:
    """Return the spans in ascending order. Spans that overlap or are at most ``gap`` seconds apart are merged."""
    merged: list[Span] = []
    for start, end in sorted(span for span in spans if span[1] > span[0]):
        if merged and start <= merged[-1][1] + gap:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _factor(gain: float) -> float:
    return 10.0 ** (gain / 20.0)


def _edges(positions: NDArray[np.int64], count: int, fade: int) -> NDArray[np.float32]:
    """Return a window of ``count`` samples at the given positions, float32: 1 with raised-cosine edges of ``fade``
    samples."""
    if fade <= 0:
        return np.ones(len(positions), dtype=np.float32)
    nearest = np.minimum(positions + 0.5, count - positions - 0.5)
    return (0.5 - 0.5 * np.cos(np.pi * np.clip(nearest / fade, 0.0, 1.0))).astype(np.float32)
