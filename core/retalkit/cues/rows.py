"""Conversion of the rows of a sheet into cues. The readers of all formats return rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from retalkit.cues.faults import Faults
from retalkit.cues.model import DEFAULT_PERSON, Cue, CueSheet, Listeners
from retalkit.cues.times import parse_number, parse_time
from retalkit.errors import CueError
from retalkit.paths import expand_home
from retalkit.persons.selectors import LARGEST, PersonSelector, parse_selector
from retalkit.plugins.registry import nearest

GAIN_RANGE: Final = (-60.0, 30.0)
"""Range of a cue's gain in dB."""
LONGEST_OFFSET: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Cue as written in a sheet. Values are not converted, and None stands for a value that is not given."""

    origin: str
    start: object = None
    stop: object = None
    person: object = None
    speech: object = None
    offset: object = None
    gain: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Content of a sheet before conversion."""

    path: Path
    rows: Sequence[Row]
    persons: Mapping[str, tuple[str, str]]
    """Mapping from person name to selector text and origin."""
    speech: tuple[str, str] | None = None
    """Default speech file and its origin."""
    listeners: Listeners = "original"
    names_persons: bool = False
    """Whether the format's person names are plain names, which must be bound to selectors, such as in RTTM files."""


def build_sheet(sheet: Sheet, speech: Path | None, bindings: Mapping[str, PersonSelector], faults: Faults) -> CueSheet:
    """Convert rows to cues. Faulty rows are left out and added to ``faults``.

    A cue without a speech file plays ``speech``, or the sheet's default speech, at the cue's own times. ``bindings``:
    mapping from person name to selector, from the command line.
    """
    folder = sheet.path.parent
    selectors = dict(bindings)
    for name, (text, origin) in sheet.persons.items():
        if name in bindings:
            continue
        try:
            selectors[name] = parse_selector(text, folder)
        except ValueError as error:
            faults.add(CueError(f"{origin}: persons.{name}: {error}", code="invalid-person"))
            selectors[name] = LARGEST
    default = speech
    if default is None and sheet.speech is not None:
        default = folder / expand_home(sheet.speech[0])
    used: dict[str, PersonSelector] = {}
    cues: list[Cue] = []
    for row in sheet.rows:
        try:
            cue = _cue(row, folder, default)
            used[cue.person] = _selector(cue, selectors, sheet, folder)
        except CueError as error:
            faults.add(error)
        else:
            cues.append(cue)
    unused = [name for name in bindings if name not in used and not faults.errors]
    if unused:
        known = nearest(unused[0], used) or f"; the sheet names {', '.join(sorted(used))}"
        message = f"--person {bindings[unused[0]]}={unused[0]}: {sheet.path} has no cue of '{unused[0]}'{known}"
        faults.add(CueError(message, code="unknown-person"))
    return CueSheet(cues=tuple(cues), persons=used, listeners=sheet.listeners, origin=str(sheet.path))


def _cue(row: Row, folder: Path, default: Path | None) -> Cue:
    start = _converted(row, "from", row.start, 0.0)
    stop = None if row.stop is None else _converted(row, "to", row.stop, 0.0)
    if stop is not None and stop <= start:
        raise CueError(
            f"{row.origin}: the cue ends at {stop:g} s but starts at {start:g} s; `to` must be after `from`",
            code="invalid-time",
        )
    person = DEFAULT_PERSON if row.person is None else row.person
    if isinstance(person, int) and not isinstance(person, bool):
        person = str(person)
    if not isinstance(person, str) or not person.strip():
        raise CueError(f"{row.origin}: person: expected a name or a selector, got {person!r}", code="invalid-person")
    if row.speech is not None and (not isinstance(row.speech, str) or not row.speech.strip()):
        raise CueError(
            f"{row.origin}: speech: expected the path of an audio file, got {row.speech!r}", code="invalid-option"
        )
    if row.speech is None and default is None:
        raise CueError(
            f"{row.origin}: the cue has no speech; add `speech: FILE`, or pass SPEECH on the command line",
            code="missing-speech",
        )
    own = folder / expand_home(row.speech) if isinstance(row.speech, str) else None
    # A default speech has the sheet's times, so that a cue plays the words that are at the cue's times.
    offset = _number(row, "offset", row.offset, 0.0 if own is not None else start, (0.0, LONGEST_OFFSET), "s")
    gain = _number(row, "gain", row.gain, 0.0, GAIN_RANGE, "dB")
    used = own if own is not None else default
    assert used is not None
    return Cue(start=start, stop=stop, person=person.strip(), speech=used, offset=offset, gain=gain, origin=row.origin)


def _converted(row: Row, key: str, value: object, default: float) -> float:
    try:
        return default if value is None else parse_time(value)
    except ValueError as error:
        raise CueError(f"{row.origin}: {key}: {error}", code="invalid-time") from error


def _number(row: Row, key: str, value: object, default: float, limits: tuple[float, float], unit: str) -> float:
    try:
        return default if value is None else parse_number(value, *limits, unit)
    except ValueError as error:
        raise CueError(f"{row.origin}: {key}: {error}", code="invalid-option") from error


def _selector(cue: Cue, known: Mapping[str, PersonSelector], sheet: Sheet, folder: Path) -> PersonSelector:
    if cue.person in known:
        return known[cue.person]
    if cue.person == DEFAULT_PERSON:
        return LARGEST
    try:
        return parse_selector(cue.person, folder)
    except ValueError as error:
        if sheet.names_persons:
            text = f"the speaker '{cue.person}' is not bound to a person; add --person left={cue.person}"
        else:
            remedy = nearest(cue.person, known) or f"; add it to `persons:`, or {_usage(error)}"
            text = f"unknown person '{cue.person}'{remedy}"
        raise CueError(f"{cue.origin}: {text}", code="unknown-person") from error


def _usage(error: ValueError) -> str:
    return str(error).rpartition("; ")[2]
