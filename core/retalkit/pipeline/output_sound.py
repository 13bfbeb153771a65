"""Sound of the output: speeches in their places, the original sound, additional files and the loudness target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retalkit.config.output import OriginalSound, SoundConfig
from retalkit.errors import InputError
from retalkit.media.codec_names import AudioCodec
from retalkit.media.sound import SoundSource, channel_names, has_sound, open_sound
from retalkit.media.sound_encoding import SoundTrack
from retalkit.media.sound_mix import FADE, MUTE, Background, Placement, SoundMix, Span, merge_spans
from retalkit.media.track_source import TrackSource
from retalkit.speech.speech_track import SpeechTrack

_DUCKING = -12.0
"""Default ducking in dB of the original sound in a run without cues."""
_DUCKING_RAMP = 0.25
_ACTIVE = 0.5
_PAUSE = 0.8
"""Longest pause in seconds between words in which the background stays ducked."""
_PADDING = 0.15
_STEP = 0.05
_MIX_TOLERANCE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedSpeech:
    """Speech at its place in the output."""

    source: SoundSource
    start: float = 0.0
    """Start in the output in seconds."""
    offset: float = 0.0
    """Position in the file in seconds at which the speech starts."""
    duration: float | None = None
    """Duration in seconds, or None for the speech up to its end."""
    gain: float = 0.0
    """Gain in dB in addition to ``sound.speech``."""
    speech: SpeechTrack | None = None
    """Analysed speech, which determines when backgrounds are ducked. None ducks for the whole duration."""


class OutputSound:
    """Sound of the output. All files are opened and checked before other work starts."""

    def __init__(self, options: SoundConfig, video: Path, video_start: float, *, cued: bool = False) -> None:
        """Open the files.

        ``video``: the source video or still image. ``video_start``: time in seconds of the clip's time 0 on the
        video container's clock. ``cued``: whether the run has cues, so that the original sound is kept outside the
        cues.

        Raises:
            InputError: a file cannot be used, or the original sound is requested but the video has no sound.
        """
        self._options = options
        self._cued = cued
        self.notes: list[str] = []
        self._mix = None if options.mix is None else self._open(options.mix)
        self._files = [(each, self._open(each.file, each.track)) for each in options.files]
        self._original: Background | None = None
        original = options.original
        if self._mix is None and (isinstance(original, OriginalSound) or (original == "auto" and cued)):
            self._open_original(original if isinstance(original, OriginalSound) else None, video, video_start)

    @property
    def files(self) -> list[Path]:
        """Paths of the additional files that the options name."""
        return [*([self._options.mix] if self._options.mix else []), *(each.file for each, _ in self._files)]

    def track(
        self,
        speeches: Sequence[PlacedSpeech],
        duration: float,
        codec: AudioCodec = "aac",
        cancelled: Callable[[], bool] = lambda: False,
        replaced: Sequence[Span] | None = None,
    ) -> SoundTrack | None:
        """Return the audio track of an output of ``duration`` seconds, or None if there is no sound at all.

        ``replaced``: time ranges in seconds in which a muted original sound is silent. The default is the extent of
        each speech. Raises RunCancelledError while the loudness is measured if ``cancelled()`` returns True.
        """
        sound = self._sound(speeches, duration, replaced)
        if sound is None:
            return None
        if self._options.loudness is not None:
            # The limiter depends on scipy.signal, which runs without a loudness target do not need.
            from retalkit.pipeline.output_loudness import at_loudness

            sound, note = at_loudness(sound, self._options.loudness, duration, cancelled)
            self.notes.append(note)
        return SoundTrack(sound, duration, codec)

    def _sound(
        self, speeches: Sequence[PlacedSpeech], duration: float, replaced: Sequence[Span] | None
    ) -> TrackSource | None:
        if self._mix is not None:
            difference = duration - self._mix.duration
            if abs(difference) > _MIX_TOLERANCE:
                relation = "shorter" if difference > 0 else "longer"
                self.notes.append(
                    f"The mix {self._mix.path.name} is {abs(difference):.2f} s {relation} than the output."
                )
            return self._mix
        plain = not (self._cued or self._original or self._files or self._options.speech)
        if plain and len(speeches) == 1 and (speeches[0].start, speeches[0].offset, speeches[0].gain) == (0, 0, 0):
            return speeches[0].source
        placements = [
            Placement(
                source=each.source,
                start=each.start,
                offset=each.offset,
                duration=each.duration,
                gain=each.gain + self._options.speech,
                # The start of a recording is not cut off.
                fade=FADE if self._original is not None else 0.0,
            )
            for each in speeches
        ]
        extents = [(placement.start, placement.end) for placement in placements]
        active = [
            span
            for each, (start, end) in zip(speeches, extents, strict=True)
            for span in active_spans(each.speech, start, end, each.offset)
        ]
        backgrounds: list[Background] = []
        if self._original is not None:
            muted = self._original.ducking == MUTE
            spans, ramp = (
                (extents if replaced is None else replaced, FADE)
                if muted
                else (merge_spans(active, _PAUSE), _DUCKING_RAMP)
            )
            backgrounds.append(_with_spans(self._original, spans, ramp))
        for options, source in self._files:
            background = Background(
                source=source, start=options.start, offset=options.offset, gain=options.gain, ducking=options.ducking
            )
            backgrounds.append(_with_spans(background, merge_spans(active, _PAUSE), _DUCKING_RAMP))
        if not placements and not backgrounds:
            return None
        rate, layout = self._format([each.source for each in speeches])
        return SoundMix(placements, backgrounds, duration=duration, rate=rate, layout=layout)

    def _format(self, speeches: Sequence[SoundSource]) -> tuple[int, str]:
        """Return the sample rate and layout: those of the original sound, otherwise the highest of all sounds."""
        if self._original is not None:
            return self._original.source.rate, self._original.source.layout
        sources = [*speeches, *(source for _, source in self._files)]
        layout = max((source.layout for source in sources), key=lambda name: len(channel_names(name)))
        return max(source.rate for source in sources), layout

    def _open(self, path: Path, track: int | None = None) -> SoundSource:
        source = open_sound(path, track)
        # The mouth does not follow this sound.
        self.notes += [warning.partition(", so the mouth ")[0] for warning in source.warnings]
        return source

    def _open_original(self, requested: OriginalSound | None, video: Path, video_start: float) -> None:
        if not has_sound(video):
            if requested is None:
                return
            raise InputError(
                f"sound.original: {video} has no audio track; remove the option, or add the sound as sound.files",
                code="no-audio-stream",
            )
        options = requested or OriginalSound()
        source = open_sound(video, options.track)
        ducking = options.ducking
        if ducking == "auto":
            ducking = "mute" if self._cued else _DUCKING
        offset = video_start - source.origin
        self._original = Background(
            source=source,
            start=max(-offset, 0.0),
            offset=max(offset, 0.0),
            gain=options.gain,
            ducking=MUTE if ducking == "mute" else ducking,
        )


def active_spans(speech: SpeechTrack | None, start: float, end: float, offset: float) -> list[Span]:
    """Return the output times in seconds at which a speech that is placed from ``start`` to ``end`` is active.

    ``offset``: position in the speech in seconds at ``start``. Without an analysed speech, the whole extent is active.
    """
    if speech is None:
        return [(start, end)]
    spans: list[Span] = []
    for first in np.arange(start, end, 60.0):
        times = np.arange(first, min(first + 60.0, end), _STEP)
        active = speech.activity(times - start + offset) > _ACTIVE
        edges = np.flatnonzero(np.diff(np.concatenate([[0], active.astype(np.int8), [0]])))
        for begin, stop in zip(edges[::2], edges[1::2], strict=True):
            span = (float(times[begin]) - _PADDING, float(times[stop - 1]) + _STEP + _PADDING)
            spans.append((max(span[0], start), min(span[1], end)))
    return merge_spans(spans, 2 * _STEP)


def _with_spans(background: Background, spans: Sequence[Span], ramp: float) -> Background:
    if not background.ducking:
        return background
    return Background(
        source=background.source,
        start=background.start,
        offset=background.offset,
        gain=background.gain,
        ducking=background.ducking,
        spans=tuple(spans),
        ramp=ramp,
    )
