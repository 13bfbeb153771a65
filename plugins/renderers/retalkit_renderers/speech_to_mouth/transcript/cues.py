"""Parser for transcripts in plain text and for subtitles with times (SubRip ``.srt``, WebVTT ``.vtt``)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from retalkit.errors import ConfigError
from retalkit.media.subtitles import SubtitleError, parse_subtitles

SUFFIXES: Final = (".txt", ".srt", ".vtt")

_MARKUP = re.compile(r"<[^<>]*>|\{[^{}]*\}|\[[^\[\]]*\]|♪")
"""Text that is not spoken: tags such as ``<i>`` and ``{\\an8}``, notes such as ``[door slams]``, and music signs."""

_NOTE = re.compile(r"^[ \t]*-?[ \t]*\([^()\n]*\)[ \t]*$", re.MULTILINE)
"""Line that consists of a note in parentheses, such as ``(door slams)``."""


@dataclass(frozen=True, slots=True)
class Cue:
    """Text with an optional time range."""

    text: str
    start: float | None = None
    """Start time in seconds of the audio, or None if the time is unknown."""
    stop: float | None = None
    """Stop time in seconds of the audio, or None if the time is unknown."""


def read_transcript(path: Path) -> tuple[Cue, ...]:
    """Return the cues of a transcript in order of time. A plain text file is one cue without times.

    Raises ConfigError if the file is invalid. The message contains the path, the line and the problem.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise ConfigError(
            f"transcript {path}: unknown suffix '{path.suffix}'; expected one of {known}", code="wrong-suffix"
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"transcript {path}: cannot read the file: {reason}", code="unreadable-file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"transcript {path}: the file is not encoded in UTF-8; save the file as UTF-8", code="unreadable-file"
        ) from error
    if "\0" in text:
        message = f"transcript {path}: the file contains NUL characters; save the file as UTF-8 text"
        raise ConfigError(message, code="unreadable-file")
    cues = [Cue(_spoken(text))] if suffix == ".txt" else _subtitles(text, path)
    if not cues:
        message = f"transcript {path}: the file contains no cue with times such as 00:00:01,500 --> 00:00:03,000"
        raise ConfigError(message, code="empty-file")
    cues = [cue for cue in cues if any(character.isalnum() for character in cue.text)]
    if not cues:
        raise ConfigError(f"transcript {path}: the file contains no words", code="empty-file")
    return tuple(sorted(cues, key=lambda cue: cue.start or 0.0))


def _subtitles(text: str, path: Path) -> list[Cue]:
    try:
        found = parse_subtitles(text)
    except SubtitleError as error:
        raise ConfigError(f"transcript {path}, line {error.line}: {error}", code="invalid-file") from error
    return [Cue(_spoken(subtitle.text), subtitle.start, subtitle.stop) for subtitle in found]


def _spoken(text: str) -> str:
    return " ".join(_NOTE.sub(" ", _MARKUP.sub(" ", text.replace("\r", "\n"))).split())
