"""Validation of plugin component names and specs. Each error is a one-line message for the plugin author."""

from __future__ import annotations

import dataclasses
import re
from functools import cache
from typing import Any, Final, cast, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from retalkit.plugins.metric_specs import PORTS, Measure, MetricSpec
from retalkit.plugins.registry import Registry, nearest
from retalkit.plugins.specs import (
    CommandSpec,
    DriverSpec,
    FinisherSpec,
    RecogniserSpec,
    StageConfig,
    StageSpec,
    incompatible_api,
)
from retalkit.stages import StageKind
from retalkit.weights.checkpoint import Checkpoint
from retalkit.weights.store import PIN_FILE

NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
"""Pattern of valid names for stages, drivers, finishers, metrics, measures and checkpoints."""
COMMAND_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
"""Pattern of valid names for commands."""
COMMANDS: Final = ("dub", "motion", "compare", "plugins", "config", "credentials", "evaluate", "weights", "new-plugin")
"""Commands of the core. A plugin cannot replace these commands."""
AUTO: Final = "auto"
"""Value of ``recogniser:`` that selects the best recogniser that can run."""
YAML_WORDS: Final = frozenset({"false", "no", "null", "off", "on", "true", "yes"})
"""Words that YAML does not parse as strings. A run file cannot select a component that has one of these names."""

_MAX_VALUE = 60

_Spec = StageSpec | DriverSpec | RecogniserSpec | FinisherSpec | CommandSpec | MetricSpec | Measure | Checkpoint


def name_error(name: object) -> str | None:
    """Return why ``name`` is invalid, as the end of a sentence, or None if the name is valid."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return "names must begin with a lower-case letter and contain only lower-case letters, digits and underscores"
    if name in YAML_WORDS:
        return "YAML parses this name as a boolean or null, so a run file cannot select it"
    return None


def stage_spec_error(spec: object) -> str | None:
    """Return why a stage spec is invalid, or None if the spec is valid.

    A spec with an unsupported contract version is valid, because ``retalkit plugins`` lists the stage and reports the
    incompatible version.
    """
    if not isinstance(spec, StageSpec):
        return f"offers {type(spec).__name__}, expected StageSpec"
    if (reason := name_error(spec.name)) is not None:
        return f"offers a stage named {_format_value(spec.name)}: {reason}"
    kind = cast(object, spec.kind)
    if not isinstance(kind, StageKind):
        meant = nearest(str(kind), StageKind)
        known = f"use StageKind.{kind.upper()}" if isinstance(kind, str) and kind in set(StageKind) else ""
        return f"offers '{spec.name}' as {_format_value(kind)}, an unknown stage kind{f'; {known}' if known else meant}"
    subject = f"the {kind.value} '{spec.name}'"
    config = cast(object, spec.config)
    if not (isinstance(config, type) and issubclass(config, StageConfig)):
        return f"offers {subject} with a config that is not a subclass of StageConfig"
    if "use" in config.model_fields:
        return f"offers {subject} with an option named 'use', which is reserved for the stage name"
    if (reason := _type_error(spec, StageSpec)) is not None:
        return f"offers {subject}, {reason}"
    return None


def driver_spec_error(spec: object, registry: Registry) -> str | None:
    """Return why a driver cannot be added to the registry, or None if the driver can be added."""
    if not isinstance(spec, DriverSpec):
        return f"offers {type(spec).__name__}, expected DriverSpec"
    if (reason := name_error(spec.name)) is not None:
        return f"offers a driver named {_format_value(spec.name)}: {reason}"
    if (reason := _type_error(spec, DriverSpec) or incompatible_api("driver", spec.api)) is not None:
        return f"offers the driver '{spec.name}', {reason}"
    if any(spec.name == known.spec.name for known in registry.drivers):
        return f"offers the driver '{spec.name}', which another plugin offers; only the first is used"
    return None


def recogniser_spec_error(spec: object, registry: Registry) -> str | None:
    """Return why a face recogniser cannot be added to the registry, or None if the recogniser can be added."""
    if not isinstance(spec, RecogniserSpec):
        return f"offers {type(spec).__name__}, expected RecogniserSpec"
    if (reason := name_error(spec.name)) is not None:
        return f"offers a recogniser named {_format_value(spec.name)}: {reason}"
    if spec.name == AUTO:
        return f"offers a recogniser named '{AUTO}', which is reserved"
    if (reason := _type_error(spec, RecogniserSpec) or incompatible_api("recogniser", spec.api)) is not None:
        return f"offers the recogniser '{spec.name}', {reason}"
    if any(spec.name == known.spec.name for known in registry.recognisers):
        return f"offers the recogniser '{spec.name}', which another plugin offers; only the first is used"
    return None


def finisher_spec_error(spec: object, registry: Registry) -> str | None:
    """Return why a finisher cannot be added to the registry, or None if the finisher can be added."""
    if not isinstance(spec, FinisherSpec):
        return f"offers {type(spec).__name__}, expected FinisherSpec"
    if (reason := name_error(spec.name)) is not None:
        return f"offers a finisher named {_format_value(spec.name)}: {reason}"
    if (reason := _type_error(spec, FinisherSpec) or incompatible_api("finisher", spec.api)) is not None:
        return f"offers the finisher '{spec.name}', {reason}"
    if any(spec.name == known.spec.name for known in registry.finishers):
        return f"offers the finisher '{spec.name}', which another plugin offers; only the first is used"
    return None


def command_spec_error(spec: object, registry: Registry) -> str | None:
    """Return why a command cannot be added to the registry, or None if the command can be added."""
    if not isinstance(spec, CommandSpec):
        return f"offers {type(spec).__name__}, expected CommandSpec"
    name = cast(object, spec.name)
    if not isinstance(name, str) or not COMMAND_NAME.fullmatch(name):
        return (
            f"offers a command named {_format_value(name)}: names must begin with a lower-case letter and contain only "
            "lower-case letters, digits and single hyphens"
        )
    if (reason := _type_error(spec, CommandSpec) or incompatible_api("command", spec.api)) is not None:
        return f"offers the command '{name}', {reason}"
    if ":" not in spec.application:
        return f"offers the command '{name}' with application={spec.application!r}, expected 'package.module:name'"
    if name in COMMANDS:
        return f"offers the command '{name}', which is a command of Retalkit"
    if any(name == known.spec.name for known in registry.commands):
        return f"offers the command '{name}', which another plugin offers; only the first is used"
    return None


def checkpoint_error(checkpoint: object, registry: Registry) -> str | None:
    """Return why a checkpoint cannot be added to the registry, or None if the checkpoint can be added."""
    if not isinstance(checkpoint, Checkpoint):
        return f"offers {type(checkpoint).__name__}, expected Checkpoint"
    if (reason := name_error(checkpoint.name)) is not None:
        return f"declares a checkpoint named {_format_value(checkpoint.name)}: {reason}"
    if checkpoint.name == PIN_FILE:
        return f"declares a checkpoint named '{PIN_FILE}', which is reserved for the store"
    if (reason := _type_error(checkpoint, Checkpoint) or incompatible_api("checkpoint", checkpoint.api)) is not None:
        return f"declares the checkpoint '{checkpoint.name}', {reason}"
    if any(checkpoint.name == known.name for known in registry.checkpoints):
        return f"declares the checkpoint '{checkpoint.name}', which another plugin declares; only the first is used"
    return None


def metric_spec_error(spec: object, registry: Registry) -> str | None:
    """Return why a metric cannot be added to the registry, or None if the metric can be added."""
    if not isinstance(spec, MetricSpec):
        return f"offers {type(spec).__name__}, expected MetricSpec"
    if (reason := name_error(spec.name)) is not None:
        return f"offers a metric named {_format_value(spec.name)}: {reason}"
    subject = f"the metric '{spec.name}'"
    if (reason := _type_error(spec, MetricSpec) or incompatible_api("metric", spec.api)) is not None:
        return f"offers {subject}, {reason}"
    for measure in spec.measures:
        if (reason := name_error(measure.name)) is not None:
            return f"offers {subject} with a measure named {_format_value(measure.name)}: {reason}"
        if (reason := _type_error(measure, Measure)) is not None:
            return f"offers {subject} with the measure '{measure.name}', {reason}"
    if unknown := sorted((spec.needs | spec.uses) - set(PORTS)):
        return f"offers {subject}, which requires the unknown port '{unknown[0]}'{nearest(unknown[0], PORTS)}"
    if not spec.measures or any(m.direction == "nearer" and m.ideal is None for m in spec.measures):
        return f"offers {subject} without measures, or with a 'nearer' measure that has no ideal value"
    if any(spec.name == known.spec.name for known in registry.metrics):
        return f"offers {subject}, which another plugin offers; only the first is used"
    taken = {m.name: known.spec.name for known in registry.metrics for m in known.spec.measures}
    names = [measure.name for measure in spec.measures]
    if duplicate := next((name for name in names if name in taken or names.count(name) > 1), None):
        return f"offers {subject}, whose measure '{duplicate}' is also a measure of '{taken.get(duplicate, spec.name)}'"
    return None


def _type_error(
    spec: object,
    kind: type[
        StageSpec | DriverSpec | RecogniserSpec | FinisherSpec | CommandSpec | MetricSpec | Measure | Checkpoint
    ],
) -> str | None:
    """Return a message about the first field with an incorrect type, or None if all types are correct.

    If the spec was made for an incompatible contract version, the function reports the incompatible version instead of
    the type error, because the field types depend on the contract version.
    """
    adapters = _adapters(kind)
    wrong = [field for field in dataclasses.fields(kind) if not _fits(adapters[field.name], getattr(spec, field.name))]
    if not wrong:
        return None
    api = getattr(spec, "api", None)
    if isinstance(api, int) and (reason := incompatible_api(_contract_of(spec), api)) is not None:
        return reason
    name = wrong[0].name
    return f"with {name}={_format_value(getattr(spec, name))}, expected {wrong[0].type}"


def _contract_of(spec: object) -> str:
    if isinstance(spec, StageSpec):
        return spec.kind
    names = {
        DriverSpec: "driver",
        RecogniserSpec: "recogniser",
        FinisherSpec: "finisher",
        Checkpoint: "checkpoint",
        CommandSpec: "command",
    }
    return next((name for kind, name in names.items() if isinstance(spec, kind)), "metric")


def _fits(adapter: TypeAdapter[Any], value: object) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


@cache
def _adapters(kind: type) -> dict[str, TypeAdapter[Any]]:
    """Return a strict type validator for each field. Lists are not accepted as tuples, and numbers are not accepted as
    strings."""
    config = ConfigDict(strict=True, arbitrary_types_allowed=True)
    return {name: TypeAdapter(hint, config=config) for name, hint in get_type_hints(kind).items()}


def _format_value(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}..."
