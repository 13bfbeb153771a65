"""YAML as run files use it: plain data, no duplicate keys, and the line of every value.

Words are read as YAML 1.2 does (core schema), not as PyYAML does by default: ``on`` and ``no`` are words, ``1e-3`` is a
number, ``1:30`` and ``2024-01-01`` are words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from retalkit.errors import ConfigError

Place = tuple[str | int, ...]
"""Keys and list positions from the top to a value."""

_WORDS = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
)


_CONTAINERS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, Any] = {}

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _integer(_: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(node.value, 0 if node.value[:2] in ("0o", "0x") else 10)


for _tag, _pattern, _first in _WORDS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def read_file(path: Path) -> tuple[dict[str, Any], dict[Place, int]]:
    """The mapping in a UTF-8 file (a byte-order mark is fine, an empty file is an empty mapping), and the line of each
    key and list entry.

    Raises ConfigError for a file that cannot be read, bad syntax, a doubled key, or something else than a mapping.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no UTF-8 text") from error
    lines: dict[Place, int] = {}
    value = _parse(text, str(path), lines)
    if value is None:
        return {}, lines
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: holds a {type(value).__name__}; a run file is a mapping such as `preset: embedded`")
    return value, lines


def read_value(text: str, owner: str) -> Any:
    """Plain data from a line such as ``[{use: detail}]``; ``owner`` begins the ConfigError where it is no YAML."""
    return _parse(text, owner, {})


def write(data: Any) -> str:
    """Block-style YAML that ``read_file`` reads back to equal data."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=1000)


def dotted(place: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in place)


def _parse(text: str, owner: str, lines: dict[Place, int]) -> Any:
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            return None if node is None else _build(loader, node, (), lines, owner, ())
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark is not None and "\n" in text else ""
        raise ConfigError(f"{owner}{line}: is no valid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{owner}: is no valid YAML: {' '.join(str(error).split())}") from error


def _build(
    loader: _Loader,
    node: yaml.Node,
    place: Place,
    lines: dict[Place, int],
    owner: str,
    around: tuple[yaml.Node, ...],
) -> Any:
    if any(node is outer for outer in around):
        raise ConfigError(f"{owner}, line {node.start_mark.line + 1}: {dotted(place)} contains itself")
    if not isinstance(node, yaml.ScalarNode) and node.tag not in _CONTAINERS:
        raise ConfigError(
            f"{owner}, line {node.start_mark.line + 1}: {dotted(place)}: the tag {node.tag} is not allowed"
        )
    around = (*around, node)
    lines[place] = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, (*place, i), lines, owner, around) for i, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node, deep=True)
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"{owner}, line {line}: a key must be a word")
        key = str(key_node.value)
        if key in result:
            raise ConfigError(f"{owner}, line {line}: {dotted((*place, key))} is given twice; keep one of them")
        result[key] = _build(loader, value_node, (*place, key), lines, owner, around)
        lines[(*place, key)] = line
    return result
