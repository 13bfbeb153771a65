"""Parser for subtitles in SubRip (``.srt``) and WebVTT (``.vtt``)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TIME = r"((?:\d{1,6}:)?\d{1,2}:\d{2}[.,]\d{1,3})"
_TIMES = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?$")


@dataclass(frozen=True, slots=True)
class Subtitle:
    """Text with its time range and its line in the file."""

    start: float
    """Start time in seconds."""
    stop: float
    text: str
    """Text with markup, with one line break between lines."""
    line: int
    """Number of the line with the times, from 1."""


class SubtitleError(ValueError):
    """Error in a subtitle file. ``line`` is the number of the faulty line, from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def parse_subtitles(text: str) -> list[Subtitle]:
    """Return all subtitles in the order of the file. The text of a subtitle follows the line with its times.

    Raises SubtitleError if a line with ``-->`` contains no valid times, or if the stop time is not after the start
    time.
    """
    found: list[Subtitle] = []
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if "-->" not in line:
            continue
        times, where = _TIMES.match(line), number
        if times is None:
            raise SubtitleError(
                where, f"invalid times '{line.strip()}'; expected the format 00:00:01,500 --> 00:00:03,000"
            )
        start, stop = _seconds(times[1]), _seconds(times[2])
        if stop <= start:
            raise SubtitleError(
                where, f"the cue ends at {stop:g} s but starts at {start:g} s; expected an end after the start"
            )
        content: list[str] = []
        while number < len(lines) and lines[number].strip() and "-->" not in lines[number]:
            content.append(lines[number])
            number += 1
        found.append(Subtitle(start, stop, "\n".join(content), where))
    return found


def _seconds(time: str) -> float:
    *minutes, seconds = time.replace(",", ".").split(":")
    total = 0.0
    for part in minutes:
        total = 60.0 * (total + int(part))
    return total + float(seconds)
