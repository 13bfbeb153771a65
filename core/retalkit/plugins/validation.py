"""Whether what a plugin offers can be used. Every reason is one line for its author."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any, cast, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from retalkit.plugins.metric_specs import PORTS, Measure, MetricSpec
from retalkit.plugins.naming import name_fault
from retalkit.plugins.registry import Registry, nearest
from retalkit.plugins.specs import DriverSpec, FinisherSpec, StageConfig, StageSpec, incompatible_api
from retalkit.stages import StageKind
from retalkit.weights.checkpoint import Checkpoint
from retalkit.weights.store import PIN_FILE

_LONGEST_VALUE = 60

_Spec = StageSpec | DriverSpec | FinisherSpec | MetricSpec | Measure | Checkpoint


def stage_fault(spec: object) -> str | None:
    """What makes the spec of a stage useless, or None. One made for other contracts can be listed, if no more."""
    if not isinstance(spec, StageSpec):
        return f"offers {type(spec).__name__} where a StageSpec is expected"
    if (reason := name_fault(spec.name)) is not None:
        return f"offers a stage named {_shown(spec.name)}: {reason}"
    kind = cast(object, spec.kind)
    if not isinstance(kind, StageKind):
        meant = nearest(str(kind), StageKind)
        known = f"write StageKind.{kind.upper()}" if isinstance(kind, str) and kind in set(StageKind) else ""
        return f"offers '{spec.name}' as {_shown(kind)}, which is no kind of stage{f'; {known}' if known else meant}"
    whose = f"the {kind.value} '{spec.name}'"
    config = cast(object, spec.config)
    if not (isinstance(config, type) and issubclass(config, StageConfig)):
        return f"offers {whose} with options that are no StageConfig"
    if "use" in config.model_fields:
        return f"offers {whose} with an option named 'use', which names the stage itself"
    if (reason := _mistyped(spec, StageSpec)) is not None:
        return f"offers {whose}, {reason}"
    return None


def driver_fault(spec: object, registry: Registry) -> str | None:
    """What makes a driver useless beside those that are there already, or None."""
    if not isinstance(spec, DriverSpec):
        return f"offers {type(spec).__name__} where a DriverSpec is expected"
    if (reason := name_fault(spec.name)) is not None:
        return f"offers a driver named {_shown(spec.name)}: {reason}"
    if (reason := _mistyped(spec, DriverSpec) or incompatible_api("driver", spec.api)) is not None:
        return f"offers the driver '{spec.name}', {reason}"
    if any(spec.name == known.spec.name for known in registry.drivers):
        return f"offers the driver '{spec.name}', which another plugin offers; only the first is used"
    return None


def finisher_fault(spec: object, registry: Registry) -> str | None:
    """What makes a finisher useless beside those that are there already, or None."""
    if not isinstance(spec, FinisherSpec):
        return f"offers {type(spec).__name__} where a FinisherSpec is expected"
    if (reason := name_fault(spec.name)) is not None:
        return f"offers a finisher named {_shown(spec.name)}: {reason}"
    if (reason := _mistyped(spec, FinisherSpec) or incompatible_api("finisher", spec.api)) is not None:
        return f"offers the finisher '{spec.name}', {reason}"
    if any(spec.name == known.spec.name for known in registry.finishers):
        return f"offers the finisher '{spec.name}', which another plugin offers; only the first is used"
    return None


def checkpoint_fault(checkpoint: object, registry: Registry) -> str | None:
    """What makes a checkpoint useless beside those that are there already, or None."""
    if not isinstance(checkpoint, Checkpoint):
        return f"offers {type(checkpoint).__name__} where a Checkpoint is expected"
    if (reason := name_fault(checkpoint.name)) is not None:
        return f"declares a checkpoint named {_shown(checkpoint.name)}: {reason}"
    if checkpoint.name == PIN_FILE:
        return f"declares a checkpoint named '{PIN_FILE}', which is the store's own file"
    if (reason := _mistyped(checkpoint, Checkpoint) or incompatible_api("checkpoint", checkpoint.api)) is not None:
        return f"declares the checkpoint '{checkpoint.name}', {reason}"
    if any(checkpoint.name == known.name for known in registry.checkpoints):
        return f"declares the checkpoint '{checkpoint.name}', which another plugin declares; only the first is used"
    return None


def metric_fault(spec: object, registry: Registry) -> str | None:
    """What makes a metric useless beside those that are there already, or None."""
    if not isinstance(spec, MetricSpec):
        return f"offers {type(spec).__name__} where a MetricSpec is expected"
    if (reason := name_fault(spec.name)) is not None:
        return f"offers a metric named {_shown(spec.name)}: {reason}"
    whose = f"the metric '{spec.name}'"
    if (reason := _mistyped(spec, MetricSpec) or incompatible_api("metric", spec.api)) is not None:
        return f"offers {whose}, {reason}"
    for measure in spec.measures:
        if (reason := name_fault(measure.name)) is not None:
            return f"offers {whose} with a measure named {_shown(measure.name)}: {reason}"
        if (reason := _mistyped(measure, Measure)) is not None:
            return f"offers {whose} with the measure '{measure.name}', {reason}"
    if unknown := sorted((spec.needs | spec.uses) - set(PORTS)):
        return f"offers {whose}, which needs '{unknown[0]}'{nearest(unknown[0], PORTS)}"
    if not spec.measures or any(m.direction == "nearer" and m.ideal is None for m in spec.measures):
        return f"offers {whose} without measures, or one that is best near nothing"
    if any(spec.name == known.spec.name for known in registry.metrics):
        return f"offers {whose}, which another plugin offers; only the first is used"
    taken = {m.name: known.spec.name for known in registry.metrics for m in known.spec.measures}
    names = [measure.name for measure in spec.measures]
    if doubled := next((name for name in names if name in taken or names.count(name) > 1), None):
        return f"offers {whose}, whose measure '{doubled}' is one of '{taken.get(doubled, spec.name)}', too"
    return None


def _mistyped(
    spec: object, kind: type[StageSpec | DriverSpec | FinisherSpec | MetricSpec | Measure | Checkpoint]
) -> str | None:
    """Which field holds something else than its annotation says, or None. What was made for other contracts may have
    other fields: then that is the reason."""
    adapters = _adapters(kind)
    wrong = [field for field in dataclasses.fields(kind) if not _fits(adapters[field.name], getattr(spec, field.name))]
    if not wrong:
        return None
    api = getattr(spec, "api", None)
    if isinstance(api, int) and (reason := incompatible_api(_contract_of(spec), api)) is not None:
        return reason
    name = wrong[0].name
    return f"with {name}={_shown(getattr(spec, name))} where {wrong[0].type} is expected"


def _contract_of(spec: object) -> str:
    if isinstance(spec, StageSpec):
        return spec.kind
    names = {DriverSpec: "driver", FinisherSpec: "finisher", Checkpoint: "checkpoint"}
    return next((name for kind, name in names.items() if isinstance(spec, kind)), "metric")


def _fits(adapter: TypeAdapter[Any], value: object) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


@cache
def _adapters(kind: type) -> dict[str, TypeAdapter[Any]]:
    """Field -> what says whether a value is of its type. Strict: a list is no tuple, and a number no text."""
    rules = ConfigDict(strict=True, arbitrary_types_allowed=True)
    return {name: TypeAdapter(hint, config=rules) for name, hint in get_type_hints(kind).items()}


def _shown(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
