"""Reader for cue sheets in YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from retalkit.config import yaml_io
from retalkit.config.yaml_io import KeyPath
from retalkit.cues.faults import Faults
from retalkit.cues.rows import Row, Sheet
from retalkit.errors import CueError
from retalkit.plugins.registry import nearest

KEYS: Final = ("cues", "persons", "speech", "listeners")
CUE_KEYS: Final = ("from", "to", "person", "speech", "offset", "gain")
SPEECH_KEYS: Final = ("file", "offset", "gain")
LISTENERS: Final = ("original", "rest")


def read_yaml(path: Path, faults: Faults) -> Sheet:
    """Return the rows of a YAML sheet. Raises ConfigError if the file is not valid YAML, or CueError if it has no
    cues."""
    data, lines = yaml_io.read_file(path)

    def origin(*key_path: str | int) -> str:
        known = (lines[key_path[:length]] for length in range(len(key_path), -1, -1) if key_path[:length] in lines)
        return f"{path}:{next(known, 1)}"

    _check_keys(data, KEYS, origin, (), faults)
    persons: dict[str, tuple[str, str]] = {}
    for name, value in _mapping(data, "persons", origin, faults).items():
        if isinstance(value, str | int) and not isinstance(value, bool):
            persons[name] = (str(value), origin("persons", name))
        else:
            text = f"{origin('persons', name)}: persons.{name}: expected a selector such as left, got {value!r}"
            faults.add(CueError(text, code="invalid-person"))
            persons[name] = ("largest", "")
    listeners = data.get("listeners", "original")
    if listeners not in LISTENERS:
        text = f"{origin('listeners')}: listeners: expected original or rest, got {listeners!r}"
        faults.add(CueError(text, code="invalid-option"))
        listeners = "original"
    speech = data.get("speech")
    if speech is not None and not isinstance(speech, str):
        text = f"{origin('speech')}: speech: expected the path of an audio file, got {speech!r}"
        faults.add(CueError(text, code="invalid-option"))
        speech = None
    cues = data.get("cues")
    if not isinstance(cues, list) or not cues:
        raise CueError(
            f"{origin('cues')}: expected a list of cues such as `cues: [{{from: 1, to: 2, speech: a.wav}}]`",
            code="empty-list",
        )
    rows = [
        row
        for number, entry in enumerate(cast("list[Any]", cues))
        if (row := _row(entry, lines, origin, number, faults)) is not None
    ]
    return Sheet(
        path=path,
        rows=rows,
        persons=persons,
        speech=None if speech is None else (speech, origin("speech")),
        listeners=listeners,
    )


def _row(entry: object, lines: Mapping[KeyPath, int], origin: Any, number: int, faults: Faults) -> Row | None:
    where = origin("cues", number)
    if not isinstance(entry, dict):
        text = f"{where}: expected a cue such as {{from: 1, to: 2, speech: a.wav}}, got {entry!r}"
        faults.add(CueError(text, code="not-a-mapping"))
        return None
    cue = cast("dict[str, Any]", entry)
    if not _check_keys(cue, CUE_KEYS, origin, ("cues", number), faults):
        return None
    speech: object = cue.get("speech")
    offset, gain = cue.get("offset"), cue.get("gain")
    if isinstance(speech, dict):
        given = cast("dict[str, Any]", speech)
        if not _check_keys(given, SPEECH_KEYS, origin, ("cues", number, "speech"), faults):
            return None
        repeated = [key for key in ("offset", "gain") if key in given and key in cue]
        if repeated or "file" not in given:
            text = f"`{repeated[0]}` is given twice" if repeated else "missing key 'file'"
            faults.add(CueError(f"{origin('cues', number, 'speech')}: speech: {text}", code="invalid-option"))
            return None
        speech, offset, gain = given["file"], given.get("offset", offset), given.get("gain", gain)
    return Row(
        origin=where,
        start=cue.get("from"),
        stop=cue.get("to"),
        person=cue.get("person"),
        speech=speech,
        offset=offset,
        gain=gain,
    )


def _mapping(data: Mapping[str, Any], key: str, origin: Any, faults: Faults) -> dict[str, Any]:
    value = data.get(key)
    if value is None:
        return {}
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    text = f"{origin(key)}: {key}: expected a mapping such as `anna: left`, got {value!r}"
    faults.add(CueError(text, code="not-a-mapping"))
    return {}


def _check_keys(
    data: Mapping[str, Any], known: tuple[str, ...], origin: Any, key_path: KeyPath, faults: Faults
) -> bool:
    unknown = [key for key in data if key not in known]
    for key in unknown:
        hint = nearest(key, known) or f"; valid keys: {', '.join(known)}"
        faults.add(CueError(f"{origin(*key_path, key)}: unknown key '{key}'{hint}", code="unknown-option"))
    return not unknown
