"""Reader for cue sheets in SubRip and WebVTT with speaker names.

A speaker is named by ``<v Anna>`` (WebVTT), ``ANNA:`` or ``[Anna]`` at the start of a subtitle.
"""

from __future__ import annotations

import re
from pathlib import Path

from retalkit.cues.faults import Faults
from retalkit.cues.rows import Row, Sheet
from retalkit.cues.segments import Segment, merge_segments
from retalkit.cues.text_file import read_text
from retalkit.errors import CueError
from retalkit.media.subtitles import SubtitleError, parse_subtitles

_VOICE = re.compile(r"\s*<v(?:\.[^\s>]*)?\s+([^>]+)>")
_BRACKETS = re.compile(r"\s*(?:-\s*)?\[([^\[\]]+)\]\s*:?\s*\S")
_COLON = re.compile(r"\s*(?:-\s*)?(?:<[^<>]*>)*([^\W\d_][\w .'-]{0,39}?)\s*:\s+\S")


def read_subtitle_sheet(path: Path, faults: Faults) -> Sheet:
    """Return the rows of a subtitle file. Raises CueError if the file is invalid, or if only some of the subtitles
    name a speaker."""
    try:
        subtitles = parse_subtitles(read_text(path))
    except SubtitleError as error:
        raise CueError(f"{path}:{error.line}: {error}", code="invalid-file") from error
    if not subtitles:
        raise CueError(
            f"{path}: the file contains no cue with times such as 00:00:01,500 --> 00:00:03,000", code="empty-file"
        )
    speakers = [_speaker(subtitle.text) for subtitle in subtitles]
    named = any(speakers)
    segments: list[Segment] = []
    for subtitle, speaker in zip(subtitles, speakers, strict=True):
        origin = f"{path}:{subtitle.line}"
        if named and speaker is None:
            text = f"{origin}: the subtitle names no speaker, but other subtitles do; add a name such as 'ANNA: '"
            faults.add(CueError(text, code="missing-speaker"))
            continue
        segments.append(Segment(speaker, subtitle.start, subtitle.stop, origin))
    rows = [Row(origin=s.origin, start=s.start, stop=s.stop, person=s.speaker) for s in merge_segments(segments)]
    return Sheet(path=path, rows=rows, persons={}, listeners="rest", names_persons=True)


def _speaker(text: str) -> str | None:
    for pattern in (_VOICE, _BRACKETS, _COLON):
        if found := pattern.match(text):
            return found[1].strip()
    return None
