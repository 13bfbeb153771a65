"""YAML reader and writer for run files. The reader rejects duplicate keys and returns the line number of every value.

Scalars follow the YAML 1.2 core schema instead of PyYAML's default schema: ``on``, ``no``, ``1:30`` and ``2024-01-01``
are strings, and ``1e-3`` is a number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from retalkit.errors import ConfigError
from retalkit.paths import missing

KeyPath = tuple[str | int, ...]
"""Path of a value as keys and list indices, starting at the root."""

_SCALARS = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
)


_MAX_VALUES = 5_000_000
"""Maximum number of values in a file. Nested aliases can describe billions of values in a few lines."""
_CONTAINERS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, Any] = {}

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _integer(_: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(node.value, 0 if node.value[:2] in ("0o", "0x") else 10)


for _tag, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def read_file(path: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Read a mapping from a UTF-8 file. Return the mapping and the line number of each key and list entry.

    A byte-order mark is ignored, and an empty file is read as an empty mapping. Raises ConfigError if the file is
    unreadable, contains invalid syntax or a duplicate key, or does not contain a mapping.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        code = "file-not-found" if isinstance(error, FileNotFoundError) else "unreadable-file"
        problem = f"cannot read the file: {error.strerror or error}"
        message = missing(path, problem) if code == "file-not-found" else f"{path}: {problem}"
        raise ConfigError(message, code=code) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: not a UTF-8 file; save the file with UTF-8 encoding", code="unreadable-file"
        ) from error
    lines: dict[KeyPath, int] = {}
    value = _parse(text, str(path), lines)
    if value is None:
        return {}, lines
    if not isinstance(value, dict):
        message = f"{path}: expected a mapping such as `preset: embedded`, got {type(value).__name__}"
        raise ConfigError(message, code="not-a-mapping")
    return value, lines


def read_value(text: str, source: str) -> Any:
    """Return the parsed YAML value, for example a list for ``[{use: detail}]``. Raises ConfigError with the prefix
    ``source`` if the YAML is invalid."""
    return _parse(text, source, {})


def write(data: Any) -> str:
    """Return ``data`` as block-style YAML that ``read_file`` parses to equal data."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=1000)


def dotted(key_path: Sequence[str | int]) -> str:
    """Return a key path as a string, such as ``enhancers.0.use``."""
    return ".".join(str(part) for part in key_path)


def _parse(text: str, source: str, lines: dict[KeyPath, int]) -> Any:
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            return None if node is None else _build(loader, node, (), lines, source, ())
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark is not None and "\n" in text else ""
        message = f"{source}{line}: invalid YAML: {error.problem or error.context}"
        raise ConfigError(message, code="invalid-yaml") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: invalid YAML: {' '.join(str(error).split())}", code="invalid-yaml") from error


def _build(
    loader: _Loader,
    node: yaml.Node,
    key_path: KeyPath,
    lines: dict[KeyPath, int],
    source: str,
    parents: tuple[yaml.Node, ...],
) -> Any:
    location = f"{source}:{node.start_mark.line + 1}: {dotted(key_path)}"
    if any(node is parent for parent in parents):
        raise ConfigError(
            f"{location}: an alias must not refer to a value that contains the alias", code="invalid-yaml"
        )
    if not isinstance(node, yaml.ScalarNode) and node.tag not in _CONTAINERS:
        raise ConfigError(f"{location}: the tag {node.tag} is not supported; remove the tag", code="invalid-yaml")
    if len(lines) >= _MAX_VALUES:
        raise ConfigError(
            f"{location}: the aliases describe more than {_MAX_VALUES:,} values; remove nested aliases",
            code="invalid-yaml",
        )
    parents = (*parents, node)
    lines[key_path] = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, (*key_path, i), lines, source, parents) for i, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node, deep=True)
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"{source}:{line}: keys must be strings", code="invalid-yaml")
        key = str(key_node.value)
        if key in result:
            message = f"{source}:{line}: {dotted((*key_path, key))}: duplicate key; remove one of the entries"
            raise ConfigError(message, code="duplicate-key")
        result[key] = _build(loader, value_node, (*key_path, key), lines, source, parents)
        lines[(*key_path, key)] = line
    return result
