"""JSON Schema of a run file, with the options of every stage that is installed, so that editors complete it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

from pydantic import BaseModel

from retalkit.config.model import SINGLE_KINDS, RunConfig, preset_names
from retalkit.plugins.registry import FoundStage, Registry
from retalkit.plugins.specs import incompatible_api
from retalkit.stages import StageKind


def json_schema(registry: Registry) -> dict[str, Any]:
    """Draft 2020-12. Each stage is one of the installed ones: its bare name, or a mapping with its own options."""
    schema = RunConfig.model_json_schema()
    definitions: dict[str, Any] = schema.get("$defs", {})
    definitions.pop("StageChoice", None)
    properties: dict[str, Any] = schema["properties"]
    for kind in SINGLE_KINDS:
        properties[kind.value] = _stage(kind, registry, definitions)
    properties["enhancers"] = {"type": "array", "items": _stage(StageKind.ENHANCER, registry, definitions)}
    properties["face"]["anyOf"] = [{"const": "largest"}, {"type": "integer", "minimum": 0}]
    preset = {"enum": preset_names(), "description": "Where everything comes from that this file does not say."}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Retalkit run file",
        "type": "object",
        "additionalProperties": False,
        "properties": {"preset": preset, **properties},
        "$defs": definitions,
    }


def _stage(kind: StageKind, registry: Registry, definitions: dict[str, Any]) -> dict[str, Any]:
    offered = [
        (use, found)
        for use, found in zip(registry.names(kind), registry.of_kind(kind), strict=True)
        if incompatible_api(kind, found.spec.api) is None
    ]
    mappings = [_mapping(use, found, definitions) for use, found in offered]
    return {"oneOf": [{"type": "string", "enum": [use for use, _ in offered]}, *mappings]}


def _mapping(use: str, found: FoundStage, definitions: dict[str, Any]) -> dict[str, Any]:
    prefix = f"{found.spec.kind.value}.{use}".replace("/", "_")
    options = found.spec.config.model_json_schema(ref_template=f"#/$defs/{prefix}.{{model}}")
    for name, definition in options.pop("$defs", {}).items():
        definitions[f"{prefix}.{name}"] = definition
    properties: dict[str, Any] = options.get("properties", {})
    for name, text in option_descriptions(found.spec.config).items():
        if name in properties:
            properties[name].setdefault("description", text)
    names = [use] if use.endswith(f":{found.spec.name}") else [use, f"{found.package}:{use}"]
    return {
        "type": "object",
        "title": use,
        "description": found.spec.summary,
        "additionalProperties": False,
        "properties": {"use": {"enum": names}, **properties},
        "required": ["use", *options.get("required", [])],
    }


def option_descriptions(model: type[BaseModel]) -> dict[str, str]:
    """The strings that stand below the fields of a model and of those it is made of. Read from the source here, since
    pydantic would do it whenever stages are listed."""
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
