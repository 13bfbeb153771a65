"""JSON Schema of run files, which editors use for completion and validation. The schema includes all installed stages'
options."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel

from retalkit.config.model import SINGLE_KINDS, RunConfig, preset_names
from retalkit.plugins.registry import FoundDriver, FoundFinisher, FoundStage, Registry
from retalkit.plugins.specs import DriverChoice, DriverSpec, FinisherSpec, StageSpec, incompatible_api
from retalkit.stages import StageKind


def json_schema(registry: Registry) -> dict[str, Any]:
    """Return a JSON Schema (draft 2020-12). A stage is specified by name or by a mapping with options."""
    schema = RunConfig.model_json_schema()
    definitions: dict[str, Any] = schema.get("$defs", {})
    definitions.pop("Choice", None)
    properties: dict[str, Any] = schema["properties"]
    for kind in SINGLE_KINDS:
        properties[kind.value] = _stage(kind, registry, definitions)
    enhancers = _stage(StageKind.ENHANCER, registry, definitions)
    properties["enhancers"]["items"] = enhancers
    properties["reference_enhancers"]["items"] = _stage(
        StageKind.ENHANCER, registry, definitions, lambda found: found.spec.enhances_references
    )
    properties["finishers"]["items"] = _components("finisher", registry.finishers, registry, definitions)
    properties["face"]["anyOf"] = [{"const": "largest"}, {"type": "integer", "minimum": 0}]
    preset = {
        "enum": preset_names(),
        "description": "Preset that provides all values that are not set in the run file.",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Retalkit run file",
        "type": "object",
        "additionalProperties": False,
        "properties": {"preset": preset, **properties},
        "$defs": definitions,
    }


def _stage(
    kind: StageKind,
    registry: Registry,
    definitions: dict[str, Any],
    usable: Callable[[FoundStage], bool] = lambda found: True,
) -> dict[str, Any]:
    candidates = [
        (use, found)
        for use, found in zip(registry.names(kind), registry.of_kind(kind), strict=True)
        if incompatible_api(kind, found.spec.api) is None and usable(found)
    ]
    mappings: list[dict[str, Any]] = []
    for use, found in candidates:
        names = [use] if use.endswith(f":{found.spec.name}") else [use, f"{found.package}:{use}"]
        mappings.append(_mapping(found.spec.kind, use, names, found.spec, registry, definitions))
    return {"oneOf": [{"type": "string", "enum": [use for use, _ in candidates]}, *mappings]}


def _components(
    label: str, found: Sequence[FoundDriver | FoundFinisher], registry: Registry, definitions: dict[str, Any]
) -> dict[str, Any]:
    specs = [each.spec for each in found]
    mappings = [_mapping(label, spec.name, [spec.name], spec, registry, definitions) for spec in specs]
    return {"oneOf": [{"type": "string", "enum": [spec.name for spec in specs]}, *mappings]}


def _mapping(
    label: str,
    use: str,
    names: list[str],
    spec: StageSpec | DriverSpec | FinisherSpec,
    registry: Registry,
    definitions: dict[str, Any],
) -> dict[str, Any]:
    prefix = f"{label}.{use}".replace("/", "_")
    options = spec.config.model_json_schema(ref_template=f"#/$defs/{prefix}.{{model}}")
    for name, definition in options.pop("$defs", {}).items():
        if name == DriverChoice.__name__:
            definition = _components("driver", registry.drivers, registry, definitions)
        definitions[f"{prefix}.{name}"] = definition
    properties: dict[str, Any] = options.get("properties", {})
    for name, text in option_descriptions(spec.config).items():
        if name in properties:
            properties[name].setdefault("description", text)
    return {
        "type": "object",
        "title": use,
        "description": spec.summary,
        "additionalProperties": False,
        "properties": {"use": {"enum": names}, **properties},
        "required": ["use", *options.get("required", [])],
    }


def option_descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Return a mapping from field name to docstring for the fields of a model and its base classes.

    The docstrings are parsed from the source code on demand. The equivalent pydantic option would parse the source code
    whenever a model class is created.
    """
    parents = [
        parent for parent in reversed(model.__mro__) if issubclass(parent, BaseModel) and parent is not BaseModel
    ]
    return {name: text for parent in parents for name, text in _own_descriptions(parent).items()}


def _own_descriptions(model: type[BaseModel]) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(model)))
    except (OSError, TypeError, SyntaxError):
        return {}
    found: dict[str, str] = {}
    statements = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    for field, text in zip(statements, statements[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            value = text.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[field.target.id] = " ".join(value.value.split())
    return found
