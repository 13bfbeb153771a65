"""Turns what pydantic says of a wrong configuration into one line: where, what, and the nearest name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast, get_args

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
    """One line for the first problem, with the number of the others.

    ``data`` is what was read into ``model``, ``prefix`` the place where it stands, ``origin`` says who gave a place,
    and ``stage`` names the stage whose options they are.
    """
    details = error.errors(include_url=False)
    # A key that nobody knows explains the one that is missing.
    first = next((detail for detail in details if detail["type"] == "extra_forbidden"), details[0])
    known = _known_place(first, data)
    place = (*prefix, *known)
    owner = origin(place) if origin is not None else ""
    text = f"{owner}: " if owner else ""
    text += f"{dotted(place)}: " if place else ""
    text += _reason(first, model, known, stage)
    others = len({_known_place(detail, data) for detail in details}) - 1
    return text + (f" (and {others} more)" if others > 0 else "")


def _known_place(detail: ErrorDetails, data: Any) -> tuple[str | int, ...]:
    """The error's place without the parts that only name members of a union."""
    place: list[str | int] = []
    for part in detail["loc"]:
        if isinstance(data, dict) and part in data:
            data = cast("dict[str | int, Any]", data)[part]
        elif isinstance(data, list | tuple) and isinstance(part, int) and part < len(cast("list[Any]", data)):
            data = cast("list[Any]", data)[part]
        else:
            break
        place.append(part)
    return tuple(place)


def _reason(detail: ErrorDetails, model: type[BaseModel], place: tuple[str | int, ...], stage: str) -> str:
    kind, given = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        owner = f"{stage} has no such option" if stage and len(place) == 1 else "there is no such key"
        names = _fields(model, place[:-1])
        return owner + (nearest(str(place[-1]), names) or (f"; there are: {', '.join(names)}" if names else ""))
    if kind == "missing":
        name = detail["loc"][-1]
        return "says no stage: add `use: NAME`" if name == "use" else f"'{name}' is missing"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"must be a group of options in the form `key: value`, not {_shown(given)}"
    message = detail["msg"].removeprefix("Value error, ")
    if kind == "string_pattern_mismatch":
        message = "Input should match " + str(detail.get("ctx", {}).get("pattern", "the pattern"))
    text = message.replace("Input should be", "must be").replace("Input should", "must")
    text = text[:1].lower() + text[1:]
    return f"{text}, not {_shown(given)}" + (_literal_hint(detail) if kind == "literal_error" else "")


def _literal_hint(detail: ErrorDetails) -> str:
    expected = str(detail.get("ctx", {}).get("expected", ""))
    return nearest(str(detail["input"]), expected.split("'")[1::2])


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _fields(model: type[BaseModel], place: tuple[str | int, ...]) -> list[str]:
    """Names that may stand at ``place`` of a model, as far as its annotations tell."""
    current: Any = model
    for part in place:
        if isinstance(part, int):
            continue
        field = current.model_fields.get(part)
        current = _model_in(field.annotation) if field is not None else None
        if current is None:
            return []
    names = list(current.model_fields)
    return ["preset", *names] if "lip_syncer" in names else names


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)
