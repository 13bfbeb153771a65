"""Jobs, and their construction from the rows of a job list."""

from __future__ import annotations

import glob
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from retalkit.batch.placeholders import fill, path_values
from retalkit.config.model import RunConfig, load
from retalkit.config.transcripts import transcript_overrides
from retalkit.cues.faults import Faults
from retalkit.errors import BatchError, RetalkitError
from retalkit.paths import check_encoding, expand_home, not_a_path, printable
from retalkit.plugins.registry import Registry

ROW_KEYS: Final = (
    "video",
    "speech",
    "cues",
    "language",
    "output",
    "preset",
    "config",
    "set",
    "reference",
    "transcript",
)
"""Keys of a row in a job list."""
_GLOB: Final = re.compile(r"[*?\[]")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Characters of the Unicode category Cc."""
Override = str | tuple[str, Any, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Row of a job list as written. A row describes several jobs if it contains globs or several languages."""

    origin: str
    """Source of the row for messages, such as ``jobs.yaml:4``."""
    values: Mapping[str, Any]
    """Mapping from key (one of ``ROW_KEYS``) to value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """Settings of all jobs of a list, which the settings of a row override."""

    folder: Path = field(default_factory=Path)
    """Directory to which the paths in the rows are relative."""
    config: Path | None = None
    preset: str | None = None
    overrides: Sequence[Override] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One output: a video, its new speech or cues, and the configuration of the run."""

    output: Path
    video: Path
    speech: Path | None = None
    cues: Path | None = None
    language: str = ""
    config: RunConfig
    reference: Path | None = None
    """Video of a person who speaks the speech, for the gate ``lips``."""
    transcript: Path | None = None
    settings: str = ""
    """Preset, run file and overrides of the row in one line, for tables."""
    origin: str = ""

    @property
    def name(self) -> str:
        """Name of the job in messages and tables, which is the path of its output."""
        return str(self.output)


def build_jobs(rows: Sequence[Row], common: Common, registry: Registry, faults: Faults) -> list[Job]:
    """Return the jobs of all rows. Faulty rows are left out and added to ``faults``.

    Files that are outputs of the list are not matches of its globs. Otherwise, a second call would dub the outputs of
    the first call if the videos and the outputs are in one directory.
    """
    configs = _Configs(common, registry)
    jobs: list[Job] = []
    errors: list[tuple[Row, Path | None, RetalkitError]] = []
    matched: set[tuple[str, Path]] = set()
    for row in rows:
        video: Path | None = None
        try:
            for video in _videos(row, common, matched):
                try:
                    jobs += _jobs(row, video, common, configs, matched)
                except RetalkitError as error:
                    errors.append((row, video, error))
        except RetalkitError as error:
            errors.append((row, None, error))
    own = _own_outputs(jobs, {path for _, path in matched})
    faulty: set[int] = set()
    for row, video, error in errors:
        # The videos of a glob usually have the same fault.
        is_own = video in own and (row.origin, video) in matched
        if not is_own and id(row) not in faulty:
            faulty.add(id(row))
            faults.add(error)
    if not own:
        return jobs
    kept = [
        job
        for job in jobs
        if not any(path in own and (job.origin, path) in matched for path in (job.video, job.speech))
    ]
    for origin in dict.fromkeys(job.origin for job in jobs).keys() - {job.origin for job in kept}:
        text = f"{origin}: the globs match only outputs of this list; choose a different glob or output"
        faults.add(BatchError(text, code="no-match"))
    return kept


def _own_outputs(jobs: Sequence[Job], matched: set[Path]) -> set[Path]:
    """Return the paths in ``matched`` that are outputs of the jobs.

    A path that is the output of a job is not an own output if the job reads the path, or if the job's inputs are own
    outputs themselves.
    """
    if not matched:
        return set()
    makers: defaultdict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        makers[os.path.realpath(job.output)].append(job)
    found: dict[Path, bool] = {}

    def is_own(path: Path | None) -> bool:
        if path is None or path not in matched:
            return False
        if path not in found:
            found[path] = False  # ends the recursion if outputs and inputs form a cycle
            found[path] = any(
                path not in (job.video, job.speech) and not is_own(job.video) and not is_own(job.speech)
                for job in makers.get(os.path.realpath(path), ())
            )
        return found[path]

    return {path for path in matched if is_own(path)}


def _videos(row: Row, common: Common, matched: set[tuple[str, Path]]) -> Iterator[Path]:
    """Yield the videos of a row. Videos that match a glob are added to ``matched`` (see ``_files``)."""
    values, origin = row.values, row.origin
    for key in ("video", "output"):
        if not values.get(key):
            raise BatchError(f"{origin}: missing '{key}'; add it to the row or to the defaults", code="missing-option")
    if not values.get("speech") and not values.get("cues"):
        raise BatchError(f"{origin}: the job has no speech; add 'speech' or 'cues'", code="missing-speech")
    yield from _files(_text(row, "video") or "", common.folder, origin, "video", matched)


def _jobs(row: Row, video: Path, common: Common, configs: _Configs, matched: set[tuple[str, Path]]) -> Iterator[Job]:
    origin, preset = row.origin, _text(row, "preset")
    about_video = {**path_values("video", video), "preset": preset or common.preset or ""}
    for language, speech_text, cues_text in _languages(row):
        about = {**about_video, "language": language}
        cues = None
        if cues_text is not None:
            cues = _located(fill(cues_text, about, origin, "cues"), common.folder, origin, "cues")
            about |= path_values("cues", cues)
        speeches: list[Path | None] = [None]
        if speech_text is not None:
            speeches = [*_files(speech_text, common.folder, origin, "speech", matched, about)]
        for speech in speeches:
            named = about | ({} if speech is None else path_values("speech", speech))
            files = {
                key: _located(fill(text, named, origin, key), common.folder, origin, key)
                for key in ("output", "config", "reference", "transcript")
                if (text := _text(row, key)) is not None
            }
            transcript = files.get("transcript")
            for path in (video, cues, speech, *files.values()):
                if path is not None:
                    check_encoding(path)
            yield Job(
                output=files["output"],
                video=video,
                speech=speech,
                cues=cues,
                language=language,
                config=configs.load(row, files.get("config"), preset, transcript, language),
                reference=files.get("reference"),
                transcript=transcript,
                settings=_settings(row),
                origin=origin,
            )


def _languages(row: Row) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield the language, the speech template and the cue template of each job of a row."""
    given = {key: row.values.get(key) for key in ("speech", "cues", "language")}
    mappings = {
        key: cast("dict[str, Any]", value)
        for key, value in given.items()
        if isinstance(value, dict) and key != "language"
    }
    if given["language"] is not None and mappings:
        text = f"{row.origin}: 'language' and a mapping of {' and '.join(mappings)} exclude each other"
        raise BatchError(text, code="conflicting-keys")
    if not mappings:
        languages = given["language"]
        if languages == []:
            raise BatchError(f"{row.origin}: language: the list is empty; remove the key", code="empty-list")
        for language in cast("list[Any]", languages) if isinstance(languages, list) else [languages]:
            name = "" if language is None else _language(row, language)
            speeches = given["speech"]
            for speech in cast("list[Any]", speeches) if isinstance(speeches, list) else [speeches]:
                yield name, _checked_text(row, "speech", speech), _text(row, "cues")
        return
    for language in dict.fromkeys(name for mapping in mappings.values() for name in mapping):
        texts: dict[str, str | None] = {}
        for key in ("speech", "cues"):
            value = mappings[key].get(language) if key in mappings else given[key]
            if key in mappings and language not in mappings[key]:
                raise BatchError(f"{row.origin}: {key}: no file for the language '{language}'", code="missing-value")
            texts[key] = _checked_text(row, key, value)
        yield _language(row, language), texts["speech"], texts["cues"]


def _language(row: Row, value: Any) -> str:
    """Return the name of a language, which is part of file names."""
    name = str(_checked_text(row, "language", value))
    if "/" in name or "\\" in name or name in (".", ".."):
        text = f"{row.origin}: language: '{name}' contains a path separator; write a name such as de or pt-BR"
        raise BatchError(text, code="invalid-name")
    return name


def _settings(row: Row) -> str:
    given = {key: value for key in ("preset", "config") if (value := row.values.get(key))}
    changes = row.values.get("set")
    return ", ".join(f"{key}={value}" for key, value in [*given.items(), *_flat(changes if changes else {})])


def _flat(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys of nested mappings, such as ``lip_syncer.driver.use``, and their values."""
    if not isinstance(values, dict):
        yield prefix, values
        return
    for key, value in cast("dict[Any, Any]", values).items():
        yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))


def _text(row: Row, key: str) -> str | None:
    return _checked_text(row, key, row.values.get(key))


def _checked_text(row: Row, key: str, value: Any) -> Any:
    if value is None:
        return value
    if isinstance(value, str) and value.strip():
        if _CONTROL.search(value):
            text = f"{row.origin}: {key}: {printable(value)!r} contains a control character; remove the character"
            raise BatchError(text, code="invalid-name")
        check_encoding(value, BatchError)
        return value
    raise BatchError(f"{row.origin}: {key}: expected a string, got {value!r}", code="invalid-option")


def _located(text: str, folder: Path, origin: str, key: str) -> Path:
    """Return the path of a text in a row, relative to ``folder``. Raises BatchError if the text is not a path."""
    path = folder / expand_home(text)
    problem = "" if text.startswith("~") else not_a_path(text)
    # A directory of an output may have the name of a URL scheme.
    if problem and not (path.exists() or (key == "output" and text != "-" and path.parent.is_dir())):
        raise BatchError(f"{origin}: {key}: {problem}", code="unsupported-path")
    return path


def _files(
    template: str,
    folder: Path,
    origin: str,
    key: str,
    matched: set[tuple[str, Path]],
    values: Mapping[str, str] | None = None,
) -> Iterator[Path]:
    """Yield the files that match a glob in order of name, or the path itself if it contains no glob.

    ``matched``: set to which the origin and the path of each file that matches a glob are added. ``values``:
    placeholders of the template, or None if the text contains none. Only the template can contain globs, not the values
    and not the name of ``folder``. As in a shell, ``*`` matches no hidden files.
    """

    def filled(change: Callable[[str], str]) -> Path:
        if values is None:
            return Path(expand_home(template))
        changed = {name: change(value) for name, value in values.items()}
        return Path(fill(str(expand_home(template)), changed, origin, key))

    text = str(filled(str))
    path = _located(text if values is not None else template, folder, origin, key)
    try:
        is_path = not _GLOB.search(template) or path.exists()
        if is_path:
            yield path
            return
        pattern = Path(glob.escape(str(folder))) / filled(glob.escape)
        root = Path(pattern.anchor)
        found = sorted(each for each in root.glob(str(pattern.relative_to(root))) if each.is_file())
    except (OSError, RuntimeError, ValueError) as error:
        raise BatchError(f"{origin}: {key}: invalid path '{template}': {error}", code="invalid-name") from error
    files = [each for each in found if not each.name.startswith(".") or path.name.startswith(".")]
    if not files:
        raise BatchError(f"{origin}: {key}: no file matches '{path}'", code="no-match")
    matched.update((origin, each) for each in files)
    yield from files


class _Configs:
    """Configurations of the rows. Each combination of settings is loaded once."""

    def __init__(self, common: Common, registry: Registry) -> None:
        self._common = common
        self._registry = registry
        self._loaded: dict[str, RunConfig] = {}

    def load(
        self, row: Row, config: Path | None, preset: str | None, transcript: Path | None, language: str
    ) -> RunConfig:
        changes: Any = row.values.get("set") or {}
        if not isinstance(changes, dict):
            text = f"{row.origin}: set: expected a mapping such as {{output.crf: 20}}, got {changes!r}"
            raise BatchError(text, code="not-a-mapping")
        own = cast("dict[str, Any]", changes)
        file, chosen = config or self._common.config, preset or self._common.preset
        key = repr((file, chosen, sorted(own.items(), key=str), transcript, language if transcript else ""))
        if key not in self._loaded:
            try:
                self._loaded[key] = self._load(row, file, chosen, own, transcript, language)
            except RetalkitError as error:
                text = str(error)
                if row.origin not in text:
                    text = f"{row.origin}: {text}"
                raise type(error)(text, code=error.code) from error
        return self._loaded[key]

    def _load(
        self,
        row: Row,
        file: Path | None,
        preset: str | None,
        changes: Mapping[str, Any],
        transcript: Path | None,
        language: str,
    ) -> RunConfig:
        overrides: list[Override] = [*self._common.overrides]
        overrides += [(name, value, row.origin) for name, value in changes.items()]
        folders = {row.origin: self._common.folder}
        config = load(self._registry, file=file, preset=preset, overrides=overrides, folders=folders)
        if transcript is None:
            return config
        options = {"transcript": str(transcript)} | ({"language": language} if language else {})
        overrides += transcript_overrides(config, self._registry, options)
        return load(self._registry, file=file, preset=preset, overrides=overrides, folders=folders)
