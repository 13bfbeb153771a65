"""Directories to which relative paths in a configuration refer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

from retalkit.config.layers import Layers
from retalkit.config.yaml_io import KeyPath
from retalkit.paths import expand_home


def locate(layers: Layers, models: Iterable[tuple[KeyPath, BaseModel]], folders: Mapping[str, Path]) -> bool:
    """Replace relative paths in ``layers.data`` with absolute paths. Return whether a path was replaced.

    ``models``: validated parts of the configuration and their key paths. Their fields of the type Path are replaced.
    ``folders``: mapping from the source of a value (see ``Layers.origin``) to the directory of its relative paths.
    Values from other sources are left unchanged.
    """
    found = [(key_path, path) for start, model in models for key_path, path in _paths(model, start)]
    changes: dict[KeyPath, Path] = {}
    for key_path, path in found:
        folder = folders.get(layers.origin(key_path))
        if folder is not None and not expand_home(path).is_absolute():
            changes[key_path] = (folder / path).absolute()
    if not changes:
        return False
    # The data contains objects of the caller, such as the values of an override.
    layers.data = deepcopy(layers.data)
    for key_path, path in changes.items():
        holder: Any = layers.data
        for part in key_path[:-1]:
            holder = holder[part]
        holder[key_path[-1]] = str(path)
    return True


def _paths(value: Any, key_path: KeyPath) -> Iterator[tuple[KeyPath, Path]]:
    """Yield the key path and the value of each path in a model."""
    if isinstance(value, Path):
        yield key_path, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _paths(getattr(value, name), (*key_path, name))
    elif isinstance(value, tuple | list):
        for number, item in enumerate(cast("list[Any]", value)):
            yield from _paths(item, (*key_path, number))
    elif isinstance(value, dict):
        for name, item in cast("dict[str, Any]", value).items():
            yield from _paths(item, (*key_path, name))
