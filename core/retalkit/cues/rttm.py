"""Reader for speaker diarisations in RTTM (NIST Rich Transcription Time Marked)."""

from __future__ import annotations

from pathlib import Path

from retalkit.cues.faults import Faults
from retalkit.cues.rows import Row, Sheet
from retalkit.cues.segments import Segment, merge_segments
from retalkit.cues.text_file import read_text
from retalkit.cues.times import parse_time
from retalkit.errors import CueError

_SPEAKER = "SPEAKER"
_FIELDS = 8
"""Minimum number of fields up to the speaker name."""
_OTHER_TYPES = frozenset(
    {
        "NOSCORE",
        "NO_RT_METADATA",
        "SEGMENT",
        "LEXEME",
        "NON-LEX",
        "NON-SPEECH",
        "FILLER",
        "EDIT",
        "IP",
        "SU",
        "CB",
        "A/P",
    }
    | {"SPKR-INFO"}
)
"""Record types of the format that describe no speaker segment."""


def read_rttm(path: Path, faults: Faults) -> Sheet:
    """Return the rows of an RTTM file. Raises CueError if the file contains no speaker segment, or segments of several
    recordings."""
    segments: list[Segment] = []
    recordings: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        fields = line.split()
        if not fields or line.lstrip().startswith((";", "#")) or fields[0] in _OTHER_TYPES:
            continue
        origin = f"{path}:{number}"
        try:
            segments.append(_segment(fields, origin))
            recordings.setdefault(fields[1], origin)
        except ValueError as error:
            faults.add(CueError(f"{origin}: {error}", code="invalid-file"))
    if not segments and not faults.errors:
        raise CueError(f"{path}: the file contains no SPEAKER line", code="empty-file")
    if len(recordings) > 1:
        (first, _), (other, origin) = list(recordings.items())[:2]
        text = (
            f"{origin}: the recording '{other}' differs from '{first}' in the lines above; keep one recording per file"
        )
        raise CueError(text, code="several-recordings")
    rows = [Row(origin=s.origin, start=s.start, stop=s.stop, person=s.speaker) for s in merge_segments(segments)]
    return Sheet(path=path, rows=rows, persons={}, listeners="rest", names_persons=True)


def _segment(fields: list[str], origin: str) -> Segment:
    if fields[0] != _SPEAKER:
        raise ValueError(f"unknown record type '{fields[0]}'; expected SPEAKER")
    if len(fields) < _FIELDS:
        raise ValueError(f"expected at least {_FIELDS} fields up to the speaker name, got {len(fields)}")
    start, length = parse_time(fields[3]), parse_time(fields[4])
    if length <= 0:
        raise ValueError(f"the duration is {length:g} s; expected more than 0 s")
    return Segment(fields[7], start, start + length, origin)
