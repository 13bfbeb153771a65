"""Training files: YAML with a preset, options and overrides, validated by the trainer's options model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import ValidationError
from retalkit.config.messages import describe, error_code
from retalkit.config.yaml_io import read_file, read_value
from retalkit.errors import ConfigError
from retalkit.plugins.registry import nearest
from retalkit_training.loop.config import LoopConfig
from retalkit_training.losses.config import LossConfig
from retalkit_training.tasks.config import CONFIGS, PRESETS

Options = TypeVar("Options", bound=LossConfig)


def read_config(
    trainer: str,
    file: Path | None = None,
    overrides: Sequence[str] = (),
    preset: str | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> LoopConfig:
    """Return the options of a trainer; see ``read_options``."""
    return read_options(CONFIGS[trainer], PRESETS[trainer], file, overrides, preset, defaults)


def read_options(
    model: type[Options],
    presets: Mapping[str, Mapping[str, Any]],
    file: Path | None = None,
    overrides: Sequence[str] = (),
    preset: str | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Options:
    """Return options from a preset, a training file, and overrides ``KEY=VALUE``, in this order.

    ``defaults``: options that replace those of the preset.

    Raises:
        ConfigError: the file cannot be read, or a key or a value is invalid.
    """
    data, lines = read_file(file) if file is not None else ({}, {})
    chosen = data.pop("preset", None)
    if preset is None and chosen is not None:
        preset = str(chosen)
    # Nested options that are not set keep the trainer's defaults, which differ from those of their class.
    source = f"{file}: preset" if chosen is not None else "--preset"
    values = _merge(model().model_dump(mode="json"), _preset(presets, preset, source))
    values = _merge(_merge(values, defaults or {}), data)
    origins: dict[tuple[str | int, ...], str] = {}
    for override in overrides:
        key, separator, text = override.partition("=")
        path = tuple(key.split("."))
        if not separator or not all(path):
            raise ConfigError(f"--set {override}: expected KEY=VALUE", code="invalid-override")
        values = _merge(values, _nested(path, read_value(text, f"--set {override}")))
        origins[path] = f"--set {override}"

    def origin(path: Sequence[str | int]) -> str:
        for length in range(len(path), 0, -1):
            part = tuple(path[:length])
            if part in origins:
                return origins[part]
            if part in lines:
                return f"{file}:{lines[part]}"
        return str(file) if file is not None else ""

    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(describe(error, model, values, origin=origin), code=error_code(error)) from error


def _preset(presets: Mapping[str, Mapping[str, Any]], name: str | None, source: str) -> Mapping[str, Any]:
    if name is None:
        return {}
    if name not in presets:
        raise ConfigError(
            f"{source}: unknown preset '{name}'{nearest(name, presets)}; presets: {', '.join(presets)}",
            code="unknown-preset",
        )
    return presets[name]


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        before = merged.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[key] = _merge(cast("dict[str, Any]", before), cast("dict[str, Any]", value))
        else:
            merged[key] = value
    return merged


def _nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return value
