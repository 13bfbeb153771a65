"""Requests of the page, and their translation into a run: run file, cues and files.

A request never contains a path. Files are named by their identifiers in the session.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from retalkit_web.sessions import Session
from retalkit_web.settings import WebError

if TYPE_CHECKING:
    from retalkit.config.model import RunConfig
    from retalkit.cues.model import CueSheet
    from retalkit.plugins.registry import Registry

Kind = Literal["inspect", "preview", "render", "motion", "compare"]
FORBIDDEN: Final = {
    "cache_limit_gb": "the server limits its cache",
    "threads": "the server sets the number of threads",
    "provenance.certificate": "the server signs with its own credentials",
    "provenance.key": "the server signs with its own credentials",
    "provenance.time_stamp_authority": "the server contacts no other machines",
}
"""Keys of the run file that only the owner of the server may set, with the reason."""
FILE_PREFIX: Final = "file:"
"""Prefix of an option value that names a file of the session."""
_PATH: Final = re.compile(r"[/\\~]|\.\.")
_FREE_TEXT: Final = ("label.text",)
"""Options that contain text for people, in which every character is allowed."""
_DEEPEST: Final = 20
_CACHE_GB: Final = 5


class PersonRequest(BaseModel):
    """Person to edit, with the speech."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    person: Annotated[str, Field(pattern=r"^(largest|p[1-9][0-9]{0,3})$")] = "largest"
    speech: Annotated[str, Field(max_length=20)]


class RunRequest(BaseModel):
    """Everything that is on the screen when a job starts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    video: Annotated[str, Field(max_length=20)]
    people: Annotated[tuple[PersonRequest, ...], Field(max_length=20)] = ()
    start: Annotated[float | None, Field(ge=0, le=1e6)] = None
    """Start of the edited range in seconds of the video."""
    stop: Annotated[float | None, Field(ge=0, le=1e6)] = None
    config: dict[str, Any] = {}
    """Content of the run file. A value ``file:ID`` is a file of the session."""
    transcript: Annotated[str, Field(max_length=100_000)] = ""
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}([-_a-z0-9]{0,12})$")] = "en-us"
    motion: Annotated[str, Field(max_length=20)] = ""
    """Motion file that replaces the prediction from the speech."""
    at: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Centre of a preview in seconds of the output."""
    seconds: Annotated[float, Field(ge=0.2, le=10)] = 3.0
    """Duration of a preview."""
    name: Annotated[str, Field(max_length=60)] = ""
    """Name of the variant."""
    others: Annotated[tuple[str, ...], Field(max_length=6)] = ()
    """Finished jobs of a comparison."""

    @property
    def has_cues(self) -> bool:
        """Whether the run needs a cue sheet, because of a range or a selection of persons."""
        whole = not self.start and self.stop is None
        return bool(self.people) and not (whole and [each.person for each in self.people] == ["largest"])


def parse_request(data: Any) -> RunRequest:
    """Return the validated request. Raises WebError."""
    try:
        return RunRequest.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise WebError(f"{place}: {first['msg']}", code="invalid-request") from error


def check_files(request: RunRequest, session: Session) -> None:
    """Raise WebError if the session lacks a file of the request, or if a file has a different kind."""
    expected: list[tuple[str, tuple[str, ...], str]] = [(request.video, ("video", "photo"), "a video or photo")]
    expected += [(each.speech, ("sound", "video"), "a sound") for each in request.people]
    if request.motion:
        # Other kinds may have any suffix, and some readers of motion files select the format by the suffix.
        expected.append((request.motion, ("motion",), "a motion file"))
    for id, kinds, text in expected:
        file = session.file(id)
        if file.kind not in kinds:
            raise WebError(f"{file.name} is not {text}", code="invalid-request")
    for _, id in files_in(request.config):
        session.file(id)


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """Arguments of ``retalkit.dub``."""

    video: Path
    speech: Path | None
    sheet: CueSheet | None
    config: RunConfig
    run_file: str
    """Run file for the command line, in which files are named as on the user's machine."""


def prepare_run(request: RunRequest, session: Session, folder: Path, registry: Registry) -> PreparedRun:
    """Return the arguments of a run. ``folder``: directory of the job, in which the run file is written.

    Raises WebError, or the errors of ``retalkit.config.load`` and of cue sheets.
    """
    from retalkit.cues.model import Cue, CueSheet
    from retalkit.errors import ConfigError
    from retalkit.persons.selectors import parse_selector

    check_files(request, session)
    video = session.file(request.video)
    config = load_config(request, session, folder, registry)
    people = [(each.person, session.path(session.file(each.speech))) for each in request.people]
    if len({person for person, _ in people}) < len(people):
        raise WebError("a person is selected twice", code="duplicate-person")
    if request.motion and len({speech for _, speech in people}) > 1:
        raise WebError(
            "a motion file applies to all persons; give all persons the same speech, or remove the motion file",
            code="invalid-request",
        )
    if request.start is not None and request.stop is not None and request.stop <= request.start:
        raise WebError("the end of the range must be after its start", code="invalid-time")
    sheet = None
    if request.has_cues:
        cues = [
            Cue(start=request.start or 0.0, stop=request.stop, person=person, speech=speech)
            for person, speech in people
        ]
        try:
            sheet = CueSheet(cues=tuple(cues), persons={person: parse_selector(person) for person, _ in people})
        except ValueError as error:
            raise ConfigError(str(error)) from error
    speech = people[0][1] if people and not request.has_cues else None
    return PreparedRun(session.path(video), speech, sheet, config, run_file_text(request, session))


def load_config(request: RunRequest, session: Session, folder: Path, registry: Registry) -> RunConfig:
    """Return the validated configuration. Raises WebError, ConfigError or PluginError."""
    from retalkit.config.model import load
    from retalkit.config.yaml_io import write

    check_config(request.config)
    folder.mkdir(parents=True, exist_ok=True)
    run_file = folder / "run.yaml"
    data = _with_paths(request.config, session)
    data["cache_limit_gb"] = _CACHE_GB
    run_file.write_text(write(data), encoding="utf-8")
    config = load(registry, file=run_file, overrides=driver_overrides(request, session, folder, registry))
    _check_paths(config, registry, session)
    return config


def driver_overrides(
    request: RunRequest, session: Session, folder: Path, registry: Registry
) -> list[str | tuple[str, Any, str]]:
    """Return the overrides of the run file ``run.yaml`` in ``folder`` for the motion file or the transcript."""
    from retalkit.config.model import load
    from retalkit.config.transcripts import transcript_overrides

    if request.motion:
        path = _motion_file(request, session, folder)
        return [("lip_syncer.driver", {"use": "file", "path": str(path)}, "motion")]
    if not request.transcript.strip():
        return []
    transcript = folder / ("transcript.srt" if "-->" in request.transcript else "transcript.txt")
    transcript.write_text(request.transcript, encoding="utf-8")
    read = load(registry, file=folder / "run.yaml")
    return [*transcript_overrides(read, registry, {"transcript": str(transcript), "language": request.language})]


def _motion_file(request: RunRequest, session: Session, folder: Path) -> Path:
    """Return the motion file with times relative to the output.

    The times of a motion file are those of the speech. In a run with cues, drivers receive the speech of a person in
    time of the output and without the part that is cut off, so that these runs use a changed copy of the file.
    """
    import numpy as np
    from retalkit.media.motion_files import MotionTable, read_motion, write_motion

    path = session.path(session.file(request.motion))
    if not request.has_cues:
        return path
    table = read_motion(path)
    times = table.times + (request.start or 0.0)
    video = session.file(request.video)
    stop = request.stop if request.stop is not None else video.seconds if video.kind == "video" else math.inf
    times = times[: max(int(np.searchsorted(times, stop)), 1)]
    changed = folder / "motion-in-output.csv"
    write_motion(changed, MotionTable(times, table.at(times - (request.start or 0.0))))
    return changed


def check_config(config: Mapping[str, Any]) -> None:
    """Raise WebError if a run file contains a path or a key that only the owner of the server may set."""
    for place, value in _values(config, ""):
        for key, reason in FORBIDDEN.items():
            if (place == key or place.startswith(f"{key}.")) and value is not None:
                raise WebError(f"{key}: {reason}; remove the key", code="server-option")
        if not isinstance(value, str) or place in _FREE_TEXT or place == "label":
            continue
        if not value.startswith(FILE_PREFIX) and _PATH.search(value):
            raise WebError(
                f"{place}: paths are not accepted here; upload the file and select it on the page",
                code="path-not-allowed",
            )


def _values(value: Any, place: str) -> Iterable[tuple[str, Any]]:
    """Yield the place and the value of every key and leaf. Raises WebError if the values are nested too deeply."""
    if place.count(".") > _DEEPEST:
        raise WebError("the options are nested too deeply", code="invalid-request")
    if isinstance(value, Mapping):
        if place:
            yield place, "" if value else None
        for key, item in cast("Mapping[Any, Any]", value).items():
            yield from _values(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(cast("list[Any]", value)):
            yield from _values(item, f"{place}.{number}")
    else:
        yield place, value


def files_in(config: Any) -> Iterable[tuple[str, str]]:
    """Yield the place and the id of every file of the session that a run file names."""
    for place, value in _values(config, ""):
        if isinstance(value, str) and value.startswith(FILE_PREFIX):
            yield place, value.removeprefix(FILE_PREFIX)


def _with_paths(value: Any, session: Session) -> Any:
    """Return the data with the paths of the files that ``file:ID`` names."""
    if isinstance(value, dict):
        return {key: _with_paths(item, session) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_with_paths(item, session) for item in cast("list[Any]", value)]
    if isinstance(value, str) and value.startswith(FILE_PREFIX):
        return str(session.path(session.file(value.removeprefix(FILE_PREFIX))))
    return value


def _check_paths(config: RunConfig, registry: Registry, session: Session) -> None:
    """Raise WebError if an option names a file outside the session.

    The check uses the option models, so that it also covers the options of third-party stages.
    """
    from retalkit.config.model import read_driver_options, read_options

    models: list[BaseModel] = [config]
    for kind, _, choice in config.choices:
        for found in registry.candidates(kind, choice.use)[:1]:
            options = read_options(found, choice)
            models.append(options)
            models += [read_driver_options(driver, registry) for driver in options.drivers().values()]
    models += [read_options(registry.finisher(choice.use), choice) for choice in config.finishers]
    root = session.folder.resolve()
    for model in models:
        for path in _paths_in(model):
            if not path.resolve().is_relative_to(root):
                raise WebError(f"{path.name}: the file is not in this session", code="path-not-allowed")


def _paths_in(value: Any) -> Iterable[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _paths_in(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in cast("Mapping[Any, Any]", value).values():
            yield from _paths_in(item)
    elif isinstance(value, list | tuple):
        for item in cast("list[Any]", value):
            yield from _paths_in(item)


def run_file_text(request: RunRequest, session: Session) -> str:
    """Return the run file for the command line, with the command as a comment."""
    from retalkit.config.yaml_io import write

    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: named(item) for key, item in cast("dict[str, Any]", value).items()}
        if isinstance(value, list):
            return [named(item) for item in cast("list[Any]", value)]
        if isinstance(value, str) and value.startswith(FILE_PREFIX):
            return session.file(value.removeprefix(FILE_PREFIX)).name
        return value

    data = dict(named(request.config))
    if request.motion:
        syncer = data.get("lip_syncer", {"use": "exemplar"})
        syncer = {"use": syncer} if isinstance(syncer, str) else dict(syncer)
        data["lip_syncer"] = {**syncer, "driver": {"use": "file", "path": session.file(request.motion).name}}
    body = write(data) if data else "preset: embedded\n"
    comment = f"# {command_text(request, session)}\n"
    if request.motion and request.start:
        comment += f"# Before you run the command, add {request.start:g} s to the times in the motion file.\n"
    return f"{comment}{body}"


def command_text(request: RunRequest, session: Session) -> str:
    """Return the command that runs the request on the command line."""
    import shlex

    words = ["retalkit", "dub", session.file(request.video).name]
    single = len(request.people) == 1 and request.people[0].person == "largest"
    if single:
        words.append(session.file(request.people[0].speech).name)
    words += ["-o", "dubbed.mp4", "--config", "run.yaml"]
    if not single:
        for each in request.people:
            words += ["--person", f"{each.person}={session.file(each.speech).name}"]
    if request.start:
        words += ["--from", f"{request.start:g}"]
    if request.stop is not None:
        words += ["--to", f"{request.stop:g}"]
    if request.transcript.strip() and not request.motion:
        words += ["--transcript", "transcript.txt", "--language", request.language]
    return " ".join(shlex.quote(word) for word in words)


def parse_run_file(text: str, registry: Registry) -> dict[str, Any]:
    """Return the content of an uploaded run file. Raises WebError, ConfigError or PluginError if it is invalid.

    Aliases are rejected, because a few nested aliases expand to gigabytes.
    """
    import tempfile

    import yaml
    from retalkit.config.model import load
    from retalkit.config.yaml_io import read_file

    if len(text) > 100_000:
        raise WebError("the run file is larger than 100 kB", code="file-too-large")
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        raise WebError("the run file contains characters that UTF-8 cannot encode", code="invalid-yaml") from error
    # Syntax errors are reported by read_file with their line.
    with suppress(yaml.YAMLError, RecursionError, ValueError):
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise WebError("the run file contains YAML aliases, which are not accepted here", code="invalid-yaml")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.yaml"
        path.write_bytes(content)
        data, _ = read_file(path)
        check_config(data)
        load(registry, file=path)
    return data
