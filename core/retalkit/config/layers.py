"""The layers of a configuration, laid over one another as plain data that remembers where each value came from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from retalkit.config import yaml_io
from retalkit.config.yaml_io import Place, dotted
from retalkit.errors import ConfigError
from retalkit.stages import StageKind

_STAGES = frozenset(kind.value for kind in StageKind if kind != StageKind.ENHANCER)
_LISTS = frozenset({"reference_enhancers", "enhancers", "finishers"})
_MERGED = frozenset({"output", "voice_activity"})
"""Groups of which a later layer changes single values; everything else it replaces."""


class Layers:
    """Filled with the run file first, then the preset below it, then the overrides on top."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self._origins: dict[Place, str] = {}
        self._overrides: list[tuple[Place, Any, str]] = []

    def origin(self, place: Sequence[str | int]) -> str:
        """Who gave the value at ``place``, for instance ``run.yaml, line 3``."""
        exact = tuple(place)
        inside = next((owner for known, owner in self._origins.items() if known[: len(exact)] == exact), "")
        around = (self._origins.get(exact[:length]) for length in range(len(exact), 0, -1))
        return self._origins.get(exact) or inside or next((owner for owner in around if owner), "")

    def read(self, path: Path) -> tuple[str, str] | None:
        """Takes a run file; gives the preset that it names and where, if it does."""
        data, lines = yaml_io.read_file(path)
        named = data.pop("preset", None)
        for key, value in data.items():
            self._lay((key,), value, {place: f"{path}, line {line}" for place, line in lines.items()})
        if named is None:
            return None
        where = f"{path}, line {lines[('preset',)]}"
        if not isinstance(named, str):
            raise ConfigError(f"{where}: preset: must be the name of a preset, such as 'embedded'")
        return named, where

    def add_below(self, path: Path, owner: str) -> None:
        """Takes a preset: what is already there wins."""
        upper, upper_origins = self.data, self._origins
        self.data, self._origins = {}, {}
        data, lines = yaml_io.read_file(path)
        for key, value in data.items():
            self._lay((key,), value, dict.fromkeys(lines, owner))
        for key, value in upper.items():
            self._lay((key,), value, upper_origins)

    def parse_override(self, override: str | tuple[str, Any, str]) -> None:
        """Takes ``KEY=VALUE``, or (place, value, owner)."""
        if isinstance(override, str):
            place, equals, text = override.partition("=")
            owner = f"--set {override}"
            if not equals or not place.strip():
                raise ConfigError(f"{owner}: write KEY=VALUE, such as lip_syncer.use=exemplar")
            value = yaml_io.read_value(text, owner)
        else:
            place, value, owner = override
        parts = [part.strip() for part in place.split(".")]
        if not all(parts):
            raise ConfigError(f"{owner}: '{place}' has an empty part")
        self._overrides.append((tuple(int(part) if part.isdecimal() else part for part in parts), value, owner))

    def apply_overrides(self) -> None:
        """Lays the overrides on top, in their order, but a choice of stage before the options of stages."""
        for place, value, owner in sorted(self._overrides, key=lambda item: len(item[0]) > 1 and item[0][-1] != "use"):
            self._override(place, value, owner)

    # ------------------------------------------------------------------ laying

    def _lay(self, place: Place, value: Any, origins: dict[Place, str]) -> None:
        """Puts ``value`` at a top-level place, with the origins of everything below."""
        key = str(place[0])
        if key in _MERGED and isinstance(value, dict) and isinstance(self.data.get(key), dict):
            for part, item in cast("dict[str, Any]", value).items():
                self.data[key][part] = item
                self._forget((key, part))
                self._adopt((key, part), origins)
            return
        self.data[key] = _normalised(key, value)
        self._forget(place)
        self._adopt(place, origins)

    def _override(self, place: Place, value: Any, owner: str) -> None:
        if len(place) == 1:
            self._lay(place, value, {place: owner})
            return
        holder: Any = self.data
        for depth, part in enumerate(place[:-1]):
            if isinstance(holder, dict):
                mapping = cast("dict[str, Any]", holder)
                if part == "driver" and isinstance(mapping.get("driver"), str):
                    mapping["driver"] = {"use": mapping["driver"]}
                holder = mapping.setdefault(str(part), {})
            else:
                holder = _entry(cast("list[Any]", holder), part, place[:depth], owner)
            if not isinstance(holder, dict | list):
                raise ConfigError(f"{owner}: {dotted(place[: depth + 1])} is a single value and has no parts")
        last = place[-1]
        if isinstance(holder, list):
            entries = cast("list[Any]", holder)
            if last == len(entries):
                entries.append(None)
            _entry(entries, last, place[:-1], owner)
            entries[int(last)] = {"use": value} if place[0] in _LISTS and isinstance(value, str) else value
        elif last == "use" and holder.get("use") != value:
            holder.clear()
            holder["use"] = value
            self._forget(place[:-1])
            self._origins[place[:-1]] = owner
        else:
            holder[str(last)] = value
        self._forget(place)
        self._origins[place] = owner

    def _forget(self, place: Place) -> None:
        for known in [known for known in self._origins if known[: len(place)] == place]:
            del self._origins[known]

    def _adopt(self, place: Place, origins: dict[Place, str]) -> None:
        self._origins.update({known: owner for known, owner in origins.items() if known[: len(place)] == place})


def _normalised(key: str, value: Any) -> Any:
    """A stage may be written as its bare name."""
    if key in _STAGES and isinstance(value, str):
        return {"use": value}
    if key in _LISTS and isinstance(value, list):
        return [{"use": item} if isinstance(item, str) else item for item in cast("list[Any]", value)]
    return value


def _entry(entries: list[Any], part: str | int, place: Place, owner: str) -> Any:
    if not isinstance(part, int):
        raise ConfigError(
            f"{owner}: {dotted(place)} is a list: write the number of an entry, such as {dotted(place)}.0"
        )
    if part >= len(entries):
        raise ConfigError(f"{owner}: {dotted(place)} has {len(entries)} entries, counted from 0")
    return entries[part]
