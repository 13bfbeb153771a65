"""The comparison file: clips, speeches, variants, metrics. Read, checked, and turned into run configurations."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from retalkit.comparison.results import ANCHOR, ARMS, MISMATCHED, NOISE, OWN, REAL, SILENCE, SPEECH
from retalkit.config import yaml_io
from retalkit.config.messages import describe
from retalkit.config.model import RunConfig, load, preset_names
from retalkit.config.yaml_io import Place
from retalkit.errors import ConfigError, InputError
from retalkit.plugins.registry import Registry, nearest

BASE = "base"
"""Name of the variant that is the base pipeline itself."""
DEFAULT_ARMS = (REAL, OWN, MISMATCHED, SILENCE, NOISE)


class SpeechChoice(BaseModel):
    """A speech, and who is seen saying it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    reference: Path | None = None
    """A video of somebody who says it in time with the sound. A speech that is a video with a face is its own."""


class ComparisonFile(BaseModel):
    """A comparison as its file writes it; relative paths are relative to the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Annotated[str, Field(description="Heading of the report.")] = ""
    clips: Annotated[
        dict[str, Path], Field(min_length=1, description="Name and path of each clip, or a list of paths.")
    ]
    speeches: Annotated[
        dict[str, SpeechChoice],
        Field(
            description="Speeches that every clip is dubbed with, for the arm `speech`: a path, or path and reference."
        ),
    ] = {}
    arms: Annotated[
        tuple[str, ...] | None,
        Field(
            description=f"What is dubbed with what: {', '.join(ARMS)}. Default: {', '.join(DEFAULT_ARMS)}, and speech."
        ),
    ] = None
    base: Annotated[
        dict[str, Any] | Path,
        Field(description="The pipeline that variants differ from: keys of a run file, or the path of one."),
    ] = {}
    base_name: Annotated[str, Field(min_length=1, description="What the report calls the base, beside `variants`.")] = (
        BASE
    )
    variants: Annotated[
        dict[str, dict[str, Any]],
        Field(description="Name -> places and values that differ from the base, such as `denoiser: none`."),
    ] = {}
    grid: Annotated[
        dict[str, tuple[Any, ...]],
        Field(description="Place -> values; every combination is a variant, and the first one is the base."),
    ] = {}
    metrics: Annotated[
        tuple[str, ...] | None, Field(description="Names of the metrics. Default: all that are not turned off.")
    ] = None
    seeds: Annotated[tuple[int, ...], Field(min_length=1, description="Every variant runs with each.")] = (0,)
    reruns: Annotated[
        int,
        Field(ge=0, le=20, description="How often the base is run again from nothing, for the noise of the numbers."),
    ] = 1
    noise: Annotated[
        Literal["white", "hum", "music"], Field(description="What the arms `noise` and `noisy_...` add.")
    ] = "white"
    seconds: Annotated[float | None, Field(gt=0.5, description="Sounds are cut to so many seconds.")] = None

    @field_validator("clips", mode="before")
    @classmethod
    def _clips(cls, value: Any) -> Any:
        return _named(value)

    @field_validator("speeches", mode="before")
    @classmethod
    def _speeches(cls, value: Any) -> Any:
        named = _named(value)
        if not isinstance(named, dict):
            return named
        items = cast("dict[str, Any]", named).items()
        return {name: {"path": item} if isinstance(item, str | Path) else item for name, item in items}

    @field_validator("arms", mode="before")
    @classmethod
    def _arms(cls, value: Any) -> Any:
        if isinstance(value, list):
            for arm in cast("list[Any]", value):
                if arm not in ARMS:
                    raise ValueError(f"'{arm}' is no arm; there are: {', '.join(ARMS)}")
        return value

    @field_validator("clips", "speeches", "variants")
    @classmethod
    def _names(cls, value: dict[str, Any]) -> dict[str, Any]:
        if any(not name.strip() for name in value):
            raise ValueError("has an empty name")
        return value

    @field_validator("seeds", "arms", "metrics")
    @classmethod
    def _once(cls, value: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        if value is not None and not value:
            raise ValueError("is empty: leave it out, or name at least one")
        if doubled := next((each for each in value or () if (value or ()).count(each) > 1), None):
            raise ValueError(f"names '{doubled}' twice")
        return value

    @property
    def wanted_arms(self) -> tuple[str, ...]:
        """Arms in their own order."""
        if self.arms is None:
            wanted = {*DEFAULT_ARMS, *((SPEECH,) if self.speeches else ())}
            return tuple(arm for arm in ARMS if arm in wanted and (arm != MISMATCHED or len(self.clips) > 1))
        return tuple(arm for arm in ARMS if arm in self.arms)


@dataclass(frozen=True, slots=True)
class Variant:
    """One pipeline of the comparison."""

    name: str
    config: RunConfig
    is_base: bool
    differences: dict[str, str]
    """Place -> value as text, for what differs from the base."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison file that was read and checked."""

    path: Path
    file: ComparisonFile
    variants: tuple[Variant, ...]

    @property
    def base(self) -> Variant:
        return next(variant for variant in self.variants if variant.is_base)


def read_comparison(path: Path, registry: Registry) -> Comparison:
    """Reads a comparison file and the configuration of every variant.

    Raises ConfigError with file, line and place; InputError where a clip or speech is not there.
    """
    data, lines = yaml_io.read_file(path)

    def origin(place: Sequence[str | int]) -> str:
        for length in range(len(place), 0, -1):
            if tuple(place[:length]) in lines:
                return f"{path}, line {lines[tuple(place[:length])]}"
        return str(path)

    try:
        file = ComparisonFile.model_validate(data)
    except ValidationError as error:
        raise ConfigError(describe(error, ComparisonFile, data, (), origin)) from error
    file = _resolved(file, path.parent)
    _check(file, registry, origin, path)
    return Comparison(path, file, _variants(file, registry, lines, path))


def _named(value: Any) -> Any:
    """Names for a list of paths: the file names without suffix."""
    if not isinstance(value, list):
        return value
    paths = cast("list[Any]", value)
    if not all(isinstance(item, str | Path) for item in paths):
        raise ValueError("must be a list of paths, or names with paths")
    names = [Path(item).stem for item in paths]
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"has two files called '{doubled}': write `NAME: PATH` for each")
    return dict(zip(names, paths, strict=True))


def _resolved(file: ComparisonFile, folder: Path) -> ComparisonFile:
    """The same with paths as seen from the working directory."""

    def seen(path: Path) -> Path:
        return path if path.is_absolute() else folder / path

    speeches = {
        name: SpeechChoice(path=seen(each.path), reference=None if each.reference is None else seen(each.reference))
        for name, each in file.speeches.items()
    }
    clips = {name: seen(clip) for name, clip in file.clips.items()}
    base = seen(file.base) if isinstance(file.base, Path) else file.base
    return file.model_copy(update={"clips": clips, "speeches": speeches, "base": base})


def _check(file: ComparisonFile, registry: Registry, origin: Any, path: Path) -> None:
    """Raises for what the models cannot see."""
    for group, paths in (
        ("clips", dict(file.clips)),
        ("speeches", {name: each.path for name, each in file.speeches.items()}),
        ("speeches", {name: each.reference for name, each in file.speeches.items() if each.reference is not None}),
    ):
        for name, given in paths.items():
            if not given.is_file():
                raise InputError(f"{origin((group, name))}: {group}.{name}: there is no file {given}")
    for position, name in enumerate(file.metrics or ()):
        try:
            registry.metric(name)
        except ConfigError as error:
            raise ConfigError(f"{origin(('metrics', position))}: metrics: {error}") from error
    for place in _seeds_of_pipelines(file):
        raise ConfigError(f"{origin(place)}: {'.'.join(place)}: write `seeds:`, with which every variant runs")
    if file.variants and file.grid:
        raise ConfigError(f"{origin(('grid',))}: grid: a file has either variants or a grid")
    if file.grid and file.base_name != BASE:
        raise ConfigError(f"{origin(('base_name',))}: base_name: the base of a grid is its first combination")
    if not file.variants and not file.grid:
        raise ConfigError(f"{path}: names no variants: add `variants:` or `grid:`")
    if empty := next((place for place, values in file.grid.items() if not values), None):
        raise ConfigError(f"{origin(('grid', empty))}: grid.{empty}: needs at least one value")
    for name in file.variants:
        if name in (file.base_name, ANCHOR):
            raise ConfigError(f"{origin(('variants', name))}: variants.{name}: this name is taken: choose another one")
    arms = file.wanted_arms
    if SPEECH in arms and not file.speeches:
        raise ConfigError(f"{origin(('arms',))}: arms: '{SPEECH}' needs `speeches:`")
    if MISMATCHED in arms and len(file.clips) < 2:
        raise ConfigError(f"{origin(('arms',))}: arms: '{MISMATCHED}' takes another clip's words: name two clips")


def _seeds_of_pipelines(file: ComparisonFile) -> list[tuple[str, ...]]:
    """Where a pipeline names a seed of its own. The comparison's would silently take its place."""
    groups: list[tuple[tuple[str, ...], dict[str, Any]]] = [(("grid",), dict(file.grid))]
    groups += [(("variants", name), changes) for name, changes in file.variants.items()]
    if isinstance(file.base, dict):
        groups.append((("base",), file.base))
    return [(*place, "seed") for place, values in groups if "seed" in values]


def _variants(file: ComparisonFile, registry: Registry, lines: dict[Place, int], path: Path) -> tuple[Variant, ...]:
    wishes: list[tuple[str, dict[str, Any], tuple[str, ...]]] = []
    if file.grid:
        places = list(file.grid)
        for values in itertools.product(*file.grid.values()):
            named = [_short(value) for value in values]
            wishes.append((" + ".join(named), dict(zip(places, values, strict=True)), ("grid",)))
        names = [name for name, _, _ in wishes]
        if doubled := next((name for name in names if names.count(name) > 1), None):
            raise ConfigError(f"{path}: grid: two combinations are called '{doubled}': write variants with names")
    else:
        wishes.append((file.base_name, {}, ("base",)))
        wishes += [(name, changes, ("variants", name)) for name, changes in file.variants.items()]
    found: list[Variant] = []
    for name, changes, place in wishes:
        overrides = [(key, value, _where(lines, path, (*place, key))) for key, value in changes.items()]
        config = _load(file.base, overrides, registry, lines, path)
        if config.seed != RunConfig.model_fields["seed"].default:
            raise ConfigError(f"{file.base}: seed: write `seeds:` in {path}, with which every variant runs")
        if file.grid:
            differences = {key: _short(value) for key, value in changes.items()} if found else {}
            if found:
                first = dict(zip(file.grid, next(itertools.product(*file.grid.values())), strict=True))
                differences = {key: text for key, text in differences.items() if text != _short(first[key])}
        else:
            differences = {key: _short(value) for key, value in changes.items()}
        found.append(Variant(name, config, not found, differences))
    return tuple(found)


def _load(
    base: dict[str, Any] | Path,
    changes: list[tuple[str, Any, str]],
    registry: Registry,
    lines: dict[Place, int],
    path: Path,
) -> RunConfig:
    if isinstance(base, Path):
        return load(registry, file=base, overrides=changes)
    inner = dict(base)
    preset = inner.pop("preset", None)
    if preset is not None and preset not in (names := preset_names()):
        raise ConfigError(
            f"{_where(lines, path, ('base', 'preset'))}: base.preset: no preset is named '{preset}'"
            f"{nearest(str(preset), names) or '; there are: ' + ', '.join(names)}"
        )
    overrides = [(key, value, _where(lines, path, ("base", key))) for key, value in inner.items()]
    return load(registry, preset=preset, overrides=[*overrides, *changes])


def _where(lines: dict[Place, int], path: Path, place: Place) -> str:
    line = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), 1)
    return f"{path}, line {line}"


def _short(value: Any) -> str:
    """A value as names and tables write it: ``detail``, ``detail(strength=0.5)``."""
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value)
        rest = ", ".join(f"{key}={_short(each)}" for key, each in items.items() if key != "use")
        name = str(items.get("use", ""))
        return f"{name}({rest})" if rest else name
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_short(each) for each in cast("list[Any]", value)) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
