"""Presets and options that the page offers, from the JSON Schema of run files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from retalkit.plugins.registry import Registry

from retalkit_web.run_request import FORBIDDEN
from retalkit_web.scrub import scrub

_COMMAND: Final = re.compile(r"retalkit weights pull [a-z0-9_ -]+|pip install '[^']+'")


def page_options(registry: Registry) -> dict[str, Any]:
    """Return the presets with their values and availability, and the schema of the options."""
    from retalkit.config.schema import json_schema

    schema = json_schema(registry)
    for key in FORBIDDEN:
        _remove(schema, key)
    for key in ("preset", "face", "device", "precision", "inference"):
        schema["properties"].pop(key, None)
    return {"presets": [_preset(name, registry) for name in _names()], "schema": _without_paths(schema)}


def _without_paths(schema: Any) -> Any:
    """Return the schema without the qualified names of stages from plugin files, which contain paths."""
    if isinstance(schema, dict):
        found = {key: _without_paths(value) for key, value in cast("dict[str, Any]", schema).items()}
        if "use" in found and isinstance(found["use"], dict) and "enum" in found["use"]:
            found["use"]["enum"] = [each for each in found["use"]["enum"] if "/" not in each and "\\" not in each]
        return found
    if isinstance(schema, list):
        return [_without_paths(each) for each in cast("list[Any]", schema)]
    return schema


def _names() -> list[str]:
    from retalkit.config.model import DEFAULT_PRESET, preset_names

    return sorted(preset_names(), key=lambda name: name != DEFAULT_PRESET)


def _preset(name: str, registry: Registry) -> dict[str, Any]:
    """Return a preset with its values, or the reason why it cannot run here and the commands that install it."""
    from retalkit.config.model import effective, load
    from retalkit.errors import RetalkitError
    from retalkit.pipeline.plan import plan

    missing, values = "", {}
    try:
        config = load(registry, preset=name)
        values = effective(config, registry)
        plan(config, registry)
    except RetalkitError as error:
        missing = scrub(" ".join(str(error).split()))
    for key in FORBIDDEN:
        group, _, option = key.partition(".")
        if not option:
            values.pop(group, None)
        elif isinstance(values.get(group), dict):
            values[group].pop(option, None)
    commands = list(dict.fromkeys(match.strip() for match in _COMMAND.findall(missing)))
    # The planner reports missing packages before missing weights.
    reason = re.split(r"; run |; to install|, which are not installed", missing)[0]
    return {"name": name, "values": values, "missing": reason, "commands": commands}


def _remove(schema: dict[str, Any], key: str) -> None:
    group, _, option = key.partition(".")
    if not option:
        schema["properties"].pop(group, None)
        return
    reference = schema["properties"].get(group, {}).get("$ref", "").rpartition("/")[2]
    schema["$defs"].get(reference, {}).get("properties", {}).pop(option, None)
