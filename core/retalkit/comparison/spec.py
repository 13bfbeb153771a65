"""Comparison file: parsing, validation and variant configurations."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from retalkit.comparison.results import ANCHOR, ARMS, MISMATCHED, NOISE, OWN, REAL, SILENCE, SPEECH
from retalkit.config import yaml_io
from retalkit.config.messages import describe, error_code
from retalkit.config.model import RunConfig, load, preset_names
from retalkit.config.yaml_io import KeyPath
from retalkit.errors import ConfigError, InputError
from retalkit.paths import missing
from retalkit.plugins.registry import Registry, nearest

BASE = "base"
"""Default name of the base variant."""
DEFAULT_ARMS = (REAL, OWN, MISMATCHED, SILENCE, NOISE)


class SpeechChoice(BaseModel):
    """Speech, optionally with a video of its speaker."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    reference: Path | None = None
    """Video of the speaker, in sync with the audio. The default is ``path`` if ``path`` is a video file."""


class ComparisonFile(BaseModel):
    """Content of a comparison file. Relative paths are resolved against the directory of the comparison file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Annotated[str, Field(description="Title of the report.")] = ""
    clips: Annotated[
        dict[str, Path],
        Field(min_length=1, description="Clips to dub: a mapping from names to paths, or a list of paths."),
    ]
    speeches: Annotated[
        dict[str, SpeechChoice],
        Field(
            description="Speeches for the arm `speech`, by name. Each value is a path, or a mapping with the keys "
            "`path` and `reference`."
        ),
    ] = {}
    arms: Annotated[
        tuple[str, ...] | None,
        Field(
            description=f"Test conditions ({', '.join(ARMS)}). Default: {', '.join(DEFAULT_ARMS)}, and `speech` if "
            "`speeches` is set. `mismatched` requires at least two clips."
        ),
    ] = None
    base: Annotated[
        dict[str, Any] | Path,
        Field(description="Configuration of the base variant: run-file keys, or the path of a run file."),
    ] = {}
    base_name: Annotated[
        str, Field(min_length=1, description="Name of the base in the report. Allowed only together with `variants`.")
    ] = BASE
    variants: Annotated[
        dict[str, dict[str, Any]],
        Field(description="Mapping from variant name to keys that differ from the base, such as `denoiser: none`."),
    ] = {}
    grid: Annotated[
        dict[str, tuple[Any, ...]],
        Field(
            description="Mapping from run-file key to a list of values. Each combination of values is a variant, and "
            "the first combination is the base."
        ),
    ] = {}
    metrics: Annotated[
        tuple[str, ...] | None,
        Field(description="Names of the metrics to compute. Default: all metrics that are enabled by default."),
    ] = None
    seeds: Annotated[
        tuple[int, ...], Field(min_length=1, description="Random seeds. Each variant is rendered once per seed.")
    ] = (0,)
    reruns: Annotated[
        int,
        Field(ge=0, le=20, description="Number of uncached reruns of the base, which determine the noise floor."),
    ] = 1
    noise: Annotated[
        Literal["white", "hum", "music"], Field(description="Type of noise in the arms `noise` and `noisy_...`.")
    ] = "white"
    seconds: Annotated[
        float | None, Field(gt=0.5, description="Maximum duration of the audio in seconds. Default: no limit.")
    ] = None

    @field_validator("clips", mode="before")
    @classmethod
    def _clips(cls, value: Any) -> Any:
        return _name_paths(value)

    @field_validator("speeches", mode="before")
    @classmethod
    def _speeches(cls, value: Any) -> Any:
        named = _name_paths(value)
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
                    raise ValueError(f"unknown arm '{arm}'; available arms: {', '.join(ARMS)}")
        return value

    @field_validator("clips", "speeches", "variants")
    @classmethod
    def _names(cls, value: dict[str, Any]) -> dict[str, Any]:
        if any(not name.strip() for name in value):
            raise ValueError("empty name: provide a name for every entry")
        return value

    @field_validator("seeds", "arms", "metrics")
    @classmethod
    def _unique(cls, value: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        if value is not None and not value:
            raise ValueError("empty list: omit the key or list at least one entry")
        if duplicate := next((each for each in value or () if (value or ()).count(each) > 1), None):
            raise ValueError(f"duplicate entry '{duplicate}'")
        return value

    @property
    def wanted_arms(self) -> tuple[str, ...]:
        """Selected arms, in canonical order."""
        if self.arms is None:
            wanted = {*DEFAULT_ARMS, *((SPEECH,) if self.speeches else ())}
            return tuple(arm for arm in ARMS if arm in wanted and (arm != MISMATCHED or len(self.clips) > 1))
        return tuple(arm for arm in ARMS if arm in self.arms)


@dataclass(frozen=True, slots=True)
class Variant:
    """Configuration of one variant in the comparison."""

    name: str
    config: RunConfig
    is_base: bool
    differences: dict[str, str]
    """Mapping from configuration key to value as a string, for each key whose value differs from the base."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Validated comparison file with the configurations of its variants."""

    path: Path
    file: ComparisonFile
    variants: tuple[Variant, ...]

    @property
    def base(self) -> Variant:
        return next(variant for variant in self.variants if variant.is_base)


def read_comparison(path: Path, registry: Registry) -> Comparison:
    """Read a comparison file and the configurations of all variants.

    Raises:
        ConfigError: the comparison file is invalid. The message contains the file, line and key.
        InputError: a clip or speech file does not exist.
    """
    data, lines = yaml_io.read_file(path)

    def origin(key_path: Sequence[str | int]) -> str:
        for length in range(len(key_path), 0, -1):
            if tuple(key_path[:length]) in lines:
                return f"{path}:{lines[tuple(key_path[:length])]}"
        return str(path)

    try:
        file = ComparisonFile.model_validate(data)
    except ValidationError as error:
        message = describe(error, ComparisonFile, data, (), origin)
        raise ConfigError(message, code=error_code(error)) from error
    file = _resolve_paths(file, path.parent)
    _check(file, registry, origin, path)
    return Comparison(path, file, _variants(file, registry, lines, path))


def _name_paths(value: Any) -> Any:
    """Convert a list of paths to a mapping that is keyed by file stem. Other values are returned unchanged."""
    if not isinstance(value, list):
        return value
    paths = cast("list[Any]", value)
    if not all(isinstance(item, str | Path) for item in paths):
        raise ValueError("expected a list of paths or a mapping from names to paths")
    names = [Path(item).stem for item in paths]
    if duplicate := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"duplicate file name '{duplicate}': specify each entry as `NAME: PATH`")
    return dict(zip(names, paths, strict=True))


def _resolve_paths(file: ComparisonFile, folder: Path) -> ComparisonFile:
    """Return the comparison file with all relative paths resolved against ``folder``."""

    def resolve(path: Path) -> Path:
        return path if path.is_absolute() else folder / path

    speeches = {
        name: SpeechChoice(
            path=resolve(each.path), reference=None if each.reference is None else resolve(each.reference)
        )
        for name, each in file.speeches.items()
    }
    clips = {name: resolve(clip) for name, clip in file.clips.items()}
    base = resolve(file.base) if isinstance(file.base, Path) else file.base
    return file.model_copy(update={"clips": clips, "speeches": speeches, "base": base})


def _check(file: ComparisonFile, registry: Registry, origin: Any, path: Path) -> None:
    """Check files, metric names and key combinations, which the pydantic models cannot validate."""
    for group, paths in (
        ("clips", dict(file.clips)),
        ("speeches", {name: each.path for name, each in file.speeches.items()}),
        ("speeches", {name: each.reference for name, each in file.speeches.items() if each.reference is not None}),
    ):
        for name, given in paths.items():
            if not given.is_file():
                message = f"{origin((group, name))}: {group}.{name}: {missing(given)}"
                raise InputError(message, code="file-not-found")
    for position, name in enumerate(file.metrics or ()):
        try:
            registry.metric(name)
        except ConfigError as error:
            raise ConfigError(f"{origin(('metrics', position))}: metrics: {error}", code=error.code) from error
    for key_path in _pipeline_seeds(file):
        message = f"{origin(key_path)}: {'.'.join(key_path)}: not allowed in a comparison: list seeds under `seeds:`"
        raise ConfigError(message, code="seed-in-variant")
    if file.variants and file.grid:
        message = f"{origin(('grid',))}: grid: cannot be combined with `variants:`: remove one of them"
        raise ConfigError(message, code="conflicting-keys")
    if file.grid and file.base_name != BASE:
        message = (
            f"{origin(('base_name',))}: base_name: not allowed with `grid:` because the first combination is the base: "
            "remove `base_name:`"
        )
        raise ConfigError(message, code="conflicting-keys")
    if not file.variants and not file.grid:
        raise ConfigError(f"{path}: no variants: add `variants:` or `grid:`", code="missing-variants")
    if empty := next((key_path for key_path, values in file.grid.items() if not values), None):
        raise ConfigError(
            f"{origin(('grid', empty))}: grid.{empty}: empty list: list at least one value", code="empty-list"
        )
    for name in file.variants:
        if name in (file.base_name, ANCHOR):
            message = f"{origin(('variants', name))}: variants.{name}: reserved name: choose a different name"
            raise ConfigError(message, code="reserved-name")
    arms = file.wanted_arms
    if SPEECH in arms and not file.speeches:
        message = f"{origin(('arms',))}: arms: '{SPEECH}' requires speeches: add `speeches:`"
        raise ConfigError(message, code="missing-speeches")
    if MISMATCHED in arms and len(file.clips) < 2:
        message = f"{origin(('arms',))}: arms: '{MISMATCHED}' requires at least two clips: add a clip to `clips:`"
        raise ConfigError(message, code="too-few-clips")


def _pipeline_seeds(file: ComparisonFile) -> list[tuple[str, ...]]:
    """Return the paths of `seed` keys in pipeline configurations, which the comparison's ``seeds`` would override."""
    groups: list[tuple[tuple[str, ...], dict[str, Any]]] = [(("grid",), dict(file.grid))]
    groups += [(("variants", name), changes) for name, changes in file.variants.items()]
    if isinstance(file.base, dict):
        groups.append((("base",), file.base))
    return [(*key_path, "seed") for key_path, values in groups if "seed" in values]


def _variants(file: ComparisonFile, registry: Registry, lines: dict[KeyPath, int], path: Path) -> tuple[Variant, ...]:
    requested: list[tuple[str, dict[str, Any], tuple[str, ...]]] = []
    if file.grid:
        keys = list(file.grid)
        for values in itertools.product(*file.grid.values()):
            named = [_short(value) for value in values]
            requested.append((" + ".join(named), dict(zip(keys, values, strict=True)), ("grid",)))
        names = [name for name, _, _ in requested]
        if duplicate := next((name for name in names if names.count(name) > 1), None):
            message = f"{path}: grid: duplicate variant name '{duplicate}': use `variants:` with explicit names"
            raise ConfigError(message, code="duplicate-name")
    else:
        requested.append((file.base_name, {}, ("base",)))
        requested += [(name, changes, ("variants", name)) for name, changes in file.variants.items()]
    found: list[Variant] = []
    for name, changes, key_path in requested:
        overrides = [(key, value, _where(lines, path, (*key_path, key))) for key, value in changes.items()]
        config = _load(file.base, overrides, registry, lines, path)
        if config.seed != RunConfig.model_fields["seed"].default:
            message = f"{file.base}: seed: not allowed in the base of a comparison: list seeds under `seeds:` in {path}"
            raise ConfigError(message, code="seed-in-variant")
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
    lines: dict[KeyPath, int],
    path: Path,
) -> RunConfig:
    if isinstance(base, Path):
        return load(registry, file=base, overrides=changes)
    inner = dict(base)
    preset = inner.pop("preset", None)
    if preset is not None and preset not in (names := preset_names()):
        raise ConfigError(
            f"{_where(lines, path, ('base', 'preset'))}: base.preset: unknown preset '{preset}'"
            f"{nearest(str(preset), names) or '; available presets: ' + ', '.join(names)}",
            code="unknown-preset",
        )
    overrides = [(key, value, _where(lines, path, ("base", key))) for key, value in inner.items()]
    return load(registry, preset=preset, overrides=[*overrides, *changes])


def _where(lines: dict[KeyPath, int], path: Path, key_path: KeyPath) -> str:
    line = next((lines[key_path[:n]] for n in range(len(key_path), 0, -1) if key_path[:n] in lines), 1)
    return f"{path}:{line}"


def _short(value: Any) -> str:
    """Return a short string for names and tables, such as ``detail`` or ``detail(strength=0.5)``."""
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value)
        rest = ", ".join(f"{key}={_short(each)}" for key, each in items.items() if key != "use")
        name = str(items.get("use", ""))
        return f"{name}({rest})" if rest else name
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_short(each) for each in cast("list[Any]", value)) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
