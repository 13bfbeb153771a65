"""One-line messages and error codes for pydantic validation errors in configurations."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from retalkit.config.yaml_io import dotted
from retalkit.media import codec_names
from retalkit.plugins.registry import nearest

_NO_MAPPING: Final = ("model_type", "model_attributes_type", "dict_type")
"""Types of problems of values that are not mappings."""


def describe(
    error: ValidationError,
    model: type[BaseModel],
    data: Any,
    prefix: Sequence[str | int] = (),
    origin: Callable[[Sequence[str | int]], str] | None = None,
    stage: str = "",
) -> str:
    """Return a one-line message with the first problem's source, key and reason, and the number of other problems.

    Args:
        error: Validation error.
        model: Model used to validate ``data``.
        data: Validated data.
        prefix: Key path of ``data`` in the configuration.
        origin: Function that returns the source of the value at a key path, such as ``run.yaml:3``.
        stage: Label of the stage to which the options in ``data`` belong, or an empty string for other data.
    """
    details = error.errors(include_url=False)
    first = _first(details)
    if first["type"] == "literal_error" and isinstance(first["input"], dict | list):
        # The value belongs to another member of a union, which reports the problem inside the value.
        outer = _key_path(first, data)
        inside = (each for each in details if _key_path(each, data)[: len(outer)] == outer != _key_path(each, data))
        first = next(inside, first)
    key = _key_path(first, data)
    path = (*prefix, *key)
    source = origin(path) if origin is not None else ""
    text = f"{source}: " if source else ""
    text += f"{dotted(path)}: " if path else ""
    members = [each for each in details if _key_path(each, data) == key]
    text += _reason(first, model, key, stage, members)
    others = sum(path[: len(key)] != key[: len(path)] for path in {_key_path(each, data) for each in details})
    return text + (f" (and {others} more)" if others > 0 else "")


def error_code(error: ValidationError) -> str:
    """Return the code of the problem that ``describe`` reports."""
    kind = _first(error.errors(include_url=False))["type"]
    return {"extra_forbidden": "unknown-option", "missing": "missing-option"}.get(kind, "invalid-option")


def _first(details: Sequence[ErrorDetails]) -> ErrorDetails:
    """Return the problem to report. Unknown keys have priority, because an unknown key is often a misspelling of a
    missing key."""
    return next((detail for detail in details if detail["type"] == "extra_forbidden"), details[0])


def _key_path(detail: ErrorDetails, data: Any) -> tuple[str | int, ...]:
    """Return the error location without the parts that pydantic adds for union members."""
    path: list[str | int] = []
    for part in detail["loc"]:
        if isinstance(data, dict) and part in data:
            data = cast("dict[str | int, Any]", data)[part]
        elif isinstance(data, list | tuple) and isinstance(part, int) and part < len(cast("list[Any]", data)):
            data = cast("list[Any]", data)[part]
        else:
            continue
        path.append(part)
    return tuple(path)


def _reason(
    detail: ErrorDetails,
    model: type[BaseModel],
    path: tuple[str | int, ...],
    stage: str,
    members: Sequence[ErrorDetails],
) -> str:
    """Return the problem. ``members``: all problems of the value, which are several if the value's type is a union."""
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden" and path == ("preset",) and "lip_syncer" in model.model_fields:
        if value in get_args(codec_names.Preset):
            return "an override cannot select a preset; did you mean 'output.preset'?"
        return f"an override cannot select a preset; use --preset {value if isinstance(value, str) else 'NAME'}"
    if kind == "extra_forbidden":
        problem = f"unknown option for {stage}" if stage and len(path) == 1 else "unknown key"
        names, key = _field_names(model, path[:-1]), str(path[-1])
        nested = _nested_keys(model, key) if len(path) == 1 else []
        if nested and key not in names:
            return f"{problem} (did you mean '{nested[0]}'?)"
        return problem + (nearest(key, names) or (f"; valid keys: {', '.join(names)}" if names else ""))
    if kind == "missing":
        name = detail["loc"][-1]
        return "missing name; add `use: NAME`" if name == "use" else f"missing key '{name}'; add `{name}: VALUE`"
    if kind in _NO_MAPPING:
        return f"must be a mapping of options (`key: value`), got {_shorten(value)}"
    message = detail["msg"].removeprefix("Value error, ")
    if kind == "value_error" and not detail["loc"]:
        # A validator of the whole model names the option and the value in its message.
        return message
    if kind == "path_type":
        message = "Input should be a path"
    if kind == "string_pattern_mismatch":
        message = "Input should match " + str(detail.get("ctx", {}).get("pattern", "the pattern"))
    if kind != "literal_error":
        text = plain_requirement(message)
        return f"{text[:1].lower()}{text[1:]}, got {_shorten(value)}"
    choices = [choice for each in members if each["type"] == "literal_error" for choice in _choices(each)]
    choices += [
        plain_requirement(each["msg"]).removeprefix("must be ") if each["type"] not in _NO_MAPPING else "a mapping"
        for each in members
        if each["type"] != "literal_error"
    ]
    choices = list(dict.fromkeys(choices))
    listed = " or ".join([", ".join(choices[:-1]), choices[-1]] if len(choices) > 1 else choices)
    return f"must be {listed}, got {_shorten(value)}" + nearest(str(value), [choice.strip("'") for choice in choices])


def _choices(detail: ErrorDetails) -> list[str]:
    """Return the representations of the values that a Literal accepts."""
    return re.split(r", | or ", str(detail.get("ctx", {}).get("expected", "")))


def plain_requirement(message: str) -> str:
    """Return a message of pydantic about a value, such as "Input should be a valid integer, unable to parse string as
    an integer", in the form "must be a valid integer"."""
    message = message.replace("Input should be", "must be").replace("Input should", "must")
    return re.sub(r"(must be a valid \w+), .*", r"\1", message)


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _field_names(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """Return the valid keys at a key path in a model, or an empty list if the model's annotations do not define
    keys."""
    current: Any = model
    for part in path:
        if isinstance(part, int):
            continue
        field = current.model_fields.get(part)
        current = _model_in(field.annotation) if field is not None else None
        if current is None:
            return []
    names = list(current.model_fields)
    return ["preset", *names] if "lip_syncer" in names else names


def _nested_keys(model: type[BaseModel], name: str, depth: int = 2) -> list[str]:
    """Return the key paths below the top level that end with ``name``, such as ``output.crf`` for ``crf``."""
    found: list[str] = []
    for key, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is None or get_origin(field.annotation) in (tuple, list):
            continue
        if name in inner.model_fields:
            found.append(f"{key}.{name}")
        if depth > 1:
            found += [f"{key}.{rest}" for rest in _nested_keys(inner, name, depth - 1)]
    return sorted(found, key=lambda path: path.count("."))


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)
