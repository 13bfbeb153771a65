"""Cue sheets from command line options: ``--cues``, ``--from``, ``--to`` and ``--person``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retalkit.cues.model import DEFAULT_PERSON, Cue, CueSheet
from retalkit.cues.sheet_file import read_sheet
from retalkit.cues.times import parse_time
from retalkit.errors import CueError
from retalkit.persons.selectors import LARGEST, PersonSelector, parse_selector


def sheet_from_options(
    speech: Path | None,
    *,
    cues: Path | None = None,
    start: str | None = None,
    stop: str | None = None,
    persons: Sequence[str] = (),
) -> CueSheet | None:
    """Return the cue sheet that the options describe, or None if only ``speech`` is given.

    ``persons``: values ``SELECTOR=SPEECH_FILE``, ``SELECTOR`` together with ``speech``, or ``SELECTOR=NAME`` together
    with ``cues``. Raises CueError or ConfigError.
    """
    given = [_parse_person(text) for text in persons]
    names = [str(selector) for selector, _ in given]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise CueError(
            f"--person {repeated}: the person is given twice; remove one of the options", code="duplicate-person"
        )
    if cues is not None:
        if start is not None or stop is not None:
            raise CueError(
                "--from and --to cannot be combined with --cues; set the times in the sheet", code="unused-option"
            )
        return read_sheet(cues, speech, _bindings(given))
    first = 0.0 if start is None else _time("--from", start)
    last = None if stop is None else _time("--to", stop)
    if last is not None and last <= first:
        raise CueError(f"--to {last:g}: the cue starts at {first:g} s; --to must be after --from", code="invalid-time")
    if not given:
        if start is None and stop is None:
            return None
        given = [(LARGEST, None)]
    made: list[Cue] = []
    for selector, file in given:
        own = speech if file is None else Path(file)
        if own is None:
            option = f"--person {selector}" if persons else "--from" if start is not None else "--to"
            remedy = f"use --person {selector}=FILE, or pass SPEECH" if persons else "pass SPEECH"
            raise CueError(
                f"{option}: no speech is given; {remedy}",
                code="missing-speech",
            )
        name = DEFAULT_PERSON if selector == LARGEST else str(selector)
        made.append(Cue(start=first, stop=last, person=name, speech=own, origin=f"--person {selector}"))
    if speech is not None and all(file is not None for _, file in given):
        raise CueError(
            f"{speech}: SPEECH is not used, because every --person has a file; remove SPEECH", code="unused-option"
        )
    return CueSheet(cues=tuple(made), persons={cue.person: one for cue, (one, _) in zip(made, given, strict=True)})


def _parse_person(text: str) -> tuple[PersonSelector, str | None]:
    selector, equals, value = text.partition("=")
    if equals and not value.strip():
        raise CueError(f"--person {text}: expected SELECTOR=FILE, such as left=anna.wav", code="invalid-person")
    try:
        return parse_selector(selector), value.strip() if equals else None
    except ValueError as error:
        raise CueError(f"--person {text}: {error}", code="invalid-person") from error


def _bindings(given: Sequence[tuple[PersonSelector, str | None]]) -> dict[str, PersonSelector]:
    bindings: dict[str, PersonSelector] = {}
    for selector, name in given:
        if name is None:
            text = f"--person {selector}: with --cues, expected SELECTOR=NAME, such as left=anna"
            raise CueError(text, code="invalid-person")
        if name in bindings:
            text = f"--person {selector}={name}: the name is bound twice; remove one of the options"
            raise CueError(text, code="duplicate-person")
        bindings[name] = selector
    return bindings


def _time(option: str, text: str) -> float:
    try:
        return parse_time(text)
    except ValueError as error:
        raise CueError(f"{option}: {error}", code="invalid-time") from error
