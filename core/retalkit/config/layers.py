"""Merging of configuration layers (preset, run file, overrides) with a record of each value's source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from retalkit.config import yaml_io
from retalkit.config.output import expand_sound
from retalkit.config.yaml_io import KeyPath, dotted
from retalkit.errors import ConfigError
from retalkit.stages import StageKind

_STAGES = frozenset(kind.value for kind in StageKind if kind != StageKind.ENHANCER)
_LISTS = frozenset({"reference_enhancers", "enhancers", "finishers"})
_MERGED = frozenset({"label", "output", "provenance", "voice_activity"})
"""Option groups whose keys are overridden individually by later layers. All other values are replaced as a whole."""


class Layers:
    """Merged configuration layers. The run file must be read before the preset is added. Overrides are applied last."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self._origins: dict[KeyPath, str] = {}
        self._overrides: list[tuple[KeyPath, Any, str]] = []

    def origin(self, key_path: Sequence[str | int]) -> str:
        """Return the source of the value at a key path, for example ``run.yaml:3``."""
        exact = tuple(key_path)
        inside = next((source for known, source in self._origins.items() if known[: len(exact)] == exact), "")
        around = (self._origins.get(exact[:length]) for length in range(len(exact), 0, -1))
        return self._origins.get(exact) or inside or next((source for source in around if source), "")

    def read(self, path: Path) -> tuple[str, str] | None:
        """Read a run file. Return the preset name and its source, or None if the run file does not specify a preset."""
        data, lines = yaml_io.read_file(path)
        preset = data.pop("preset", None)
        for key, value in data.items():
            self._set((key,), value, {key_path: f"{path}:{line}" for key_path, line in lines.items()})
        if preset is None:
            return None
        source = f"{path}:{lines[('preset',)]}"
        if not isinstance(preset, str):
            message = f"{source}: preset: expected a preset name such as 'embedded', got {preset!r}"
            raise ConfigError(message, code="invalid-option")
        return preset, source

    def add_below(self, path: Path, source: str) -> None:
        """Add the values of a preset. Existing values take precedence over preset values."""
        current, current_origins = self.data, self._origins
        self.data, self._origins = {}, {}
        data, lines = yaml_io.read_file(path)
        for key, value in data.items():
            self._set((key,), value, dict.fromkeys(lines, source))
        for key, value in current.items():
            self._set((key,), value, current_origins)

    def parse_override(self, override: str | tuple[str, Any, str]) -> None:
        """Add an override, which is ``KEY=VALUE`` or a tuple of key, value and source for error messages."""
        if isinstance(override, str):
            key, equals, text = override.partition("=")
            source = f"--set {override}"
            if not equals or not key.strip():
                message = f"{source}: expected KEY=VALUE, such as lip_syncer.use=exemplar"
                raise ConfigError(message, code="invalid-override")
            value = yaml_io.read_value(text, source)
        else:
            key, value, source = override
        parts = [part.strip() for part in key.split(".")]
        if not all(parts):
            raise ConfigError(
                f"{source}: the key '{key}' contains an empty part; separate key parts with single dots",
                code="invalid-override",
            )
        self._overrides.append((tuple(int(part) if part.isdecimal() else part for part in parts), value, source))

    def apply_overrides(self) -> None:
        """Apply all overrides. Overrides that select stages are applied before overrides of stage options. The order
        within each group is preserved."""
        for key_path, value, source in sorted(
            self._overrides, key=lambda item: len(item[0]) > 1 and item[0][-1] != "use"
        ):
            self._override(key_path, value, source)

    def overridden_options(self) -> set[tuple[str, str]]:
        """Return the stage kind and the option name of each stage option that an override changes."""
        return {
            (str(key_path[0]), str(key_path[1]))
            for key_path, _, _ in self._overrides
            if len(key_path) > 1 and key_path[0] in _STAGES
        }

    # ------------------------------------------------------------------ merging

    def _set(self, key_path: KeyPath, value: Any, origins: dict[KeyPath, str]) -> None:
        """Set a top-level value and the sources of all nested values."""
        key = str(key_path[0])
        if key in _MERGED and isinstance(value, dict) and isinstance(self.data.get(key), dict):
            for part, item in cast("dict[str, Any]", value).items():
                self.data[key][part] = item
                self._drop_origins((key, part))
                self._copy_origins((key, part), origins)
            return
        self.data[key] = _expand_names(key, value)
        self._drop_origins(key_path)
        self._copy_origins(key_path, origins)

    def _override(self, key_path: KeyPath, value: Any, source: str) -> None:
        if len(key_path) == 1:
            self._set(key_path, value, {key_path: source})
            return
        holder: Any = self.data
        for depth, part in enumerate(key_path[:-1]):
            if isinstance(holder, dict):
                mapping = cast("dict[str, Any]", holder)
                if part == "driver" and isinstance(mapping.get("driver"), str):
                    mapping["driver"] = {"use": mapping["driver"]}
                holder = mapping.setdefault(str(part), {})
            else:
                holder = _entry(cast("list[Any]", holder), part, key_path[:depth], source)
            if not isinstance(holder, dict | list):
                message = f"{source}: {dotted(key_path[: depth + 1])}: expected a mapping or list, got a single value"
                raise ConfigError(message, code="invalid-override")
        last = key_path[-1]
        if isinstance(holder, list):
            entries = cast("list[Any]", holder)
            if last == len(entries):
                entries.append(None)
            _entry(entries, last, key_path[:-1], source)
            entries[int(last)] = {"use": value} if key_path[0] in _LISTS and isinstance(value, str) else value
        elif last == "use" and holder.get("use") != value:
            holder.clear()
            holder["use"] = value
            self._drop_origins(key_path[:-1])
            self._origins[key_path[:-1]] = source
        else:
            holder[str(last)] = _keep_driver(holder.get("driver"), value) if last == "driver" else value
        self._drop_origins(key_path)
        self._origins[key_path] = source

    def _drop_origins(self, key_path: KeyPath) -> None:
        for known in [known for known in self._origins if known[: len(key_path)] == key_path]:
            del self._origins[known]

    def _copy_origins(self, key_path: KeyPath, origins: dict[KeyPath, str]) -> None:
        self._origins.update({known: source for known, source in origins.items() if known[: len(key_path)] == key_path})


def _keep_driver(previous: Any, value: Any) -> Any:
    """Return driver options with the name of the previous driver if the options contain no name."""
    if isinstance(previous, dict):
        previous = cast("dict[str, Any]", previous).get("use")
    if isinstance(value, dict) and "use" not in value and isinstance(previous, str):
        return {"use": previous, **cast("dict[str, Any]", value)}
    return cast("Any", value)


def _expand_names(key: str, value: Any) -> Any:
    """Convert stage names to mappings with the key ``use``, and short forms of ``sound`` to mappings."""
    if key in _STAGES and isinstance(value, str):
        return {"use": value}
    if key == "sound" and isinstance(value, str):
        return expand_sound(value)
    if key in _LISTS and isinstance(value, list):
        return [{"use": item} if isinstance(item, str) else item for item in cast("list[Any]", value)]
    return value


def _entry(entries: list[Any], part: str | int, key_path: KeyPath, source: str) -> Any:
    if not isinstance(part, int):
        message = f"{source}: {dotted(key_path)}: expected a list index, such as {dotted(key_path)}.0"
        raise ConfigError(message, code="invalid-override")
    if part >= len(entries):
        message = f"{source}: {dotted(key_path)}: index {part} is out of range for a list with {len(entries)} entries"
        raise ConfigError(message, code="invalid-override")
    return entries[part]
