"""One-line messages and error codes for pydantic validation errors in configurations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from retalkit.config.yaml_io import dotted
from retalkit.plugins.registry import nearest


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
    key = _key_path(first, data)
    if first["type"] == "literal_error":
        first = _with_all_values(first, [each for each in details if _key_path(each, data) == key])
    path = (*prefix, *key)
    source = origin(path) if origin is not None else ""
    text = f"{source}: " if source else ""
    text += f"{dotted(path)}: " if path else ""
    text += _reason(first, model, key, stage)
    others = len({_key_path(detail, data) for detail in details}) - 1
    return text + (f" (and {others} more)" if others > 0 else "")


def error_code(error: ValidationError) -> str:
    """Return the code of the problem that ``describe`` reports."""
    kind = _first(error.errors(include_url=False))["type"]
    return {"extra_forbidden": "unknown-option", "missing": "missing-option"}.get(kind, "invalid-option")


def _first(details: Sequence[ErrorDetails]) -> ErrorDetails:
    """Return the problem to report. Unknown keys have priority, because an unknown key is often a misspelling of a
    missing key."""
    return next((detail for detail in details if detail["type"] == "extra_forbidden"), details[0])


def _with_all_values(first: ErrorDetails, details: Sequence[ErrorDetails]) -> ErrorDetails:
    """Return the problem ``first`` with the values of all ``Literal`` members of a union, for each of which pydantic
    reports a problem."""
    lists = [str(each.get("ctx", {}).get("expected", "")) for each in details if each["type"] == "literal_error"]
    if len(lists) == 1:
        return first
    *others, last = dict.fromkeys(value for each in lists for value in each.replace(" or ", ", ").split(", "))
    expected = f"{', '.join(others)} or {last}" if others else last
    return {**first, "msg": f"Input should be {expected}", "ctx": {"expected": expected}}


def _key_path(detail: ErrorDetails, data: Any) -> tuple[str | int, ...]:
    """Return the error location without the parts that pydantic adds for union members."""
    path: list[str | int] = []
    for part in detail["loc"]:
        if isinstance(data, dict) and part in data:
            data = cast("dict[str | int, Any]", data)[part]
        elif isinstance(data, list | tuple) and isinstance(part, int) and part < len(cast("list[Any]", data)):
            data = cast("list[Any]", data)[part]
        else:
            break
        path.append(part)
    return tuple(path)


def _reason(detail: ErrorDetails, model: type[BaseModel], path: tuple[str | int, ...], stage: str) -> str:
    kind, value = detail["type"], detail["input"]
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
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"must be a mapping of options (`key: value`), got {_shorten(value)}"
    message = detail["msg"].removeprefix("Value error, ")
    if kind == "value_error" and not detail["loc"]:
        # A validator of the whole model names the option and the value in its message.
        return message
    if kind == "path_type":
        message = "Input should be a path"
    if kind == "string_pattern_mismatch":
        message = "Input should match " + str(detail.get("ctx", {}).get("pattern", "the pattern"))
    text = message.replace("Input should be", "must be").replace("Input should", "must")
    text = text[:1].lower() + text[1:]
    return f"{text}, got {_shorten(value)}" + (_literal_hint(detail) if kind == "literal_error" else "")


def _literal_hint(detail: ErrorDetails) -> str:
    expected = str(detail.get("ctx", {}).get("expected", ""))
    return nearest(str(detail["input"]), expected.split("'")[1::2])


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
