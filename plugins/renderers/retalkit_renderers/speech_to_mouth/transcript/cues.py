"""Parser for transcripts in plain text and for subtitles with times (SubRip ``.srt``, WebVTT ``.vtt``)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from retalkit.errors import ConfigError

SUFFIXES: Final = (".txt", ".srt", ".vtt")

_TIMES = re.compile(r"^\s*((?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3})\s*-->\s*((?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3})(?:\s.*)?$")
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
    """Return the cues of a subtitle file. The text of a cue follows the line with the cue's times."""
    cues: list[Cue] = []
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if "-->" not in line:
            continue
        where = f"transcript {path}, line {number}"
        found = _TIMES.match(line)
        if found is None:
            raise ConfigError(
                f"{where}: invalid times '{line.strip()}'; expected the format 00:00:01,500 --> 00:00:03,000",
                code="invalid-file",
            )
        start, stop = _seconds(found[1]), _seconds(found[2])
        if stop <= start:
            raise ConfigError(
                f"{where}: the cue ends at {stop:g} s but starts at {start:g} s; expected an end after the start",
                code="invalid-file",
            )
        content: list[str] = []
        while number < len(lines) and lines[number].strip() and "-->" not in lines[number]:
            content.append(lines[number])
            number += 1
        cues.append(Cue(_spoken("\n".join(content)), start, stop))
    return cues


def _spoken(text: str) -> str:
    return " ".join(_NOTE.sub(" ", _MARKUP.sub(" ", text.replace("\r", "\n"))).split())


def _seconds(time: str) -> float:
    *minutes, seconds = time.replace(",", ".").split(":")
    total = 0.0
    for part in minutes:
        total = 60.0 * (total + int(part))
    return total + float(seconds)
