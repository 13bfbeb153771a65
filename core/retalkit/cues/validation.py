"""Validation of cues against the video and the speech files, before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from retalkit.cues.faults import Faults
from retalkit.cues.model import Cue, CueSheet
from retalkit.errors import CueError, InputError
from retalkit.media.containers import check_file
from retalkit.media.sound import SoundSource, open_sound

TOLERANCE: Final = 0.05
"""Time in seconds by which a cue may end after the video. Editors round times to frames."""
SHORTEST: Final = 0.1
"""Minimum duration of a cue in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedCues:
    """Sheet whose cues all have a stop time, with the opened speech files."""

    sheet: CueSheet
    sounds: Mapping[Path, SoundSource]
    notes: tuple[str, ...]
    """Notes for the user, one sentence each."""

    @property
    def first(self) -> float:
        """Start time of the first cue in seconds."""
        return min(cue.start for cue in self.sheet.cues)

    @property
    def last(self) -> float:
        """Stop time of the last cue in seconds."""
        return max(cue.stop or 0.0 for cue in self.sheet.cues)


def check_cues(sheet: CueSheet, video_seconds: float | None, track: int | None = None) -> CheckedCues:
    """Validate a sheet and complete the stop times.

    ``video_seconds``: duration of the video, or None for a still image, which can have any duration. ``track``:
    audio track of the speech files, or None for the default track of each file. Raises CueError
    with the first fault: a cue outside the video, an overlap of two cues of one person, an unusable speech file or
    reference image, or an offset after the end of the speech.
    """
    faults = Faults()
    if not sheet.cues:
        faults.add(CueError(f"{sheet.origin or 'cues'}: the sheet has no cue; add at least one", code="empty-list"))
    sounds: dict[Path, SoundSource] = {}
    for name, selector in sheet.persons.items():
        if selector.image is not None and name in sheet.names:
            _check_image(name, selector.image, sheet, faults)
    notes: list[str] = []
    done: list[Cue] = []
    unusable: set[Path] = set()
    for cue in sheet.cues:
        if cue.speech not in sounds and cue.speech not in unusable:
            try:
                sounds[cue.speech] = open_sound(cue.speech, track)
            except InputError as error:
                unusable.add(cue.speech)
                faults.add(CueError(f"{_origin(cue)}speech: {error}", code=error.code))
        if cue.speech in unusable:
            continue
        try:
            done.append(_complete(cue, sounds[cue.speech].duration, video_seconds, notes))
        except CueError as error:
            faults.add(error)
    checked = replace(sheet, cues=tuple(done))
    for name in checked.names:
        for before, after in zip(checked.of_person(name), checked.of_person(name)[1:], strict=False):
            if after.start < (before.stop or 0.0) - 1e-9:
                text = (
                    f"{_origin(after)}the cue starts at {after.start:g} s, but {before.origin or 'the previous cue'} "
                    f"of the same person ('{name}') ends at {before.stop:g} s; cues of one person must not overlap"
                )
                faults.add(CueError(text, code="overlapping-cues"))
    faults.check()
    return CheckedCues(sheet=checked, sounds=sounds, notes=tuple(notes))


def _complete(cue: Cue, speech_seconds: float, video_seconds: float | None, notes: list[str]) -> Cue:
    origin = _origin(cue)
    if cue.offset >= speech_seconds:
        raise CueError(
            f"{origin}the offset {cue.offset:g} s is after the end of {cue.speech} ({speech_seconds:.2f} s); reduce "
            "the offset",
            code="offset-after-end",
        )
    if video_seconds is not None and cue.start >= video_seconds:
        raise CueError(
            f"{origin}the cue starts at {cue.start:g} s, but the video ends at {video_seconds:.2f} s",
            code="cue-after-end",
        )
    if video_seconds is not None and cue.stop is not None and cue.stop > video_seconds + TOLERANCE:
        raise CueError(
            f"{origin}the cue ends at {cue.stop:g} s, but the video ends at {video_seconds:.2f} s; shorten the cue",
            code="cue-after-end",
        )
    spoken = speech_seconds - cue.offset
    end = cue.start + spoken if video_seconds is None else min(cue.start + spoken, video_seconds)
    stop = end if cue.stop is None else cue.stop if video_seconds is None else min(cue.stop, video_seconds)
    if stop - cue.start < SHORTEST:
        raise CueError(
            f"{origin}the cue lasts {stop - cue.start:.3f} s; expected at least {SHORTEST:g} s", code="cue-too-short"
        )
    if spoken - (stop - cue.start) > TOLERANCE and cue.stop is None:
        cut = spoken - (stop - cue.start)
        notes.append(f"The video ends {cut:.2f} s before the end of {cue.speech.name}, so the rest is not used.")
    return replace(cue, stop=stop)


def _check_image(name: str, image: Path, sheet: CueSheet, faults: Faults) -> None:
    origin = next((cue.origin for cue in sheet.cues if cue.person == name and cue.origin), sheet.origin)
    try:
        check_file(image)
    except InputError as error:
        faults.add(CueError(f"{origin + ': ' if origin else ''}person: {error}", code=error.code))


def _origin(cue: Cue) -> str:
    return f"{cue.origin}: " if cue.origin else ""
