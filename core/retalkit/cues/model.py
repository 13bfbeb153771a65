"""Cue and cue sheet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from retalkit.persons.selectors import LARGEST, PersonSelector

DEFAULT_PERSON = "largest"
"""Name of the person of a cue that names no person."""

Listeners = Literal["original", "rest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """Part of a video in which one person speaks new audio."""

    start: float = 0.0
    """Start time in the video in seconds."""
    stop: float | None = None
    """Stop time in the video in seconds, or None for the end of the speech or of the video, whichever comes first."""
    person: str = DEFAULT_PERSON
    """Name of the person, which is a key of ``CueSheet.persons``."""
    speech: Path
    """Audio file, or a video with an audio track."""
    offset: float = 0.0
    """Time in seconds in ``speech`` that is played at ``start``."""
    gain: float = 0.0
    """Gain of the speech in the output's sound in dB. The gain does not change the mouth motion."""
    origin: str = ""
    """Source of the cue for messages, such as ``cues.yaml:4``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CueSheet:
    """Cues of one run and the persons that the cues name."""

    cues: tuple[Cue, ...]
    persons: Mapping[str, PersonSelector] = field(default_factory=lambda: {DEFAULT_PERSON: LARGEST})
    """Mapping from person name to selector."""
    listeners: Listeners = "original"
    """Mouths of the sheet's persons from the first to the last cue while they do not speak. ``original``: unchanged.
    ``rest``: at rest, which is required if the cues replace the voices of a conversation."""
    origin: str = ""
    """Path of the sheet for messages, or an empty string."""

    def of_person(self, name: str) -> tuple[Cue, ...]:
        """Return the cues of one person in order of time."""
        return tuple(sorted((cue for cue in self.cues if cue.person == name), key=lambda cue: cue.start))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the persons that have cues, in order of their first cue in the sheet."""
        return tuple(dict.fromkeys(cue.person for cue in self.cues))
