"""Lookup of the stages that provide ports, and error messages for missing ports."""

from __future__ import annotations

from typing import Any

from retalkit.pipeline.planned_stage import PlannedStage
from retalkit.plugins.availability import availability
from retalkit.plugins.registry import FoundStage, Registry
from retalkit.stages import StageKind

INITIAL_PORTS = frozenset({"frames", "speech:waveform", "speech:activity", "speech:mel"})
"""Ports that the runner provides to every stage."""

MUST_GIVE = {
    StageKind.DETECTOR: "landmarks:",
    StageKind.RECONSTRUCTOR: "coefficients:",
    StageKind.EXPRESSION_EDITOR: "reference:",
    StageKind.LIP_SYNCER: "face:edit",
}
"""Mapping from stage kind to the port or port prefix that every stage of this kind must provide."""


def find_provider(need: str, before: list[PlannedStage[Any]]) -> tuple[int, str] | None:
    """Return (position, port) of the last stage that provides ``need``.

    If no stage provides ``need``, return the last port that can be converted to ``need``, or None if no such port
    exists.
    """
    candidates = [
        (position, port) for position in range(len(before) - 1, -1, -1) for port in sorted(before[position].gives)
    ]
    exact = next((candidate for candidate in candidates if candidate[1] == need), None)
    return exact or next((candidate for candidate in candidates if _fits(candidate[1], need)), None)


def _fits(port: str, need: str) -> bool:
    """Return whether ``port`` equals ``need`` or contains landmarks that can be converted to ``need``."""
    if port == need:
        return True
    if not (port.startswith("landmarks:") and need.startswith("landmarks:")):
        return False
    # This import is lazy because the module requires NumPy, which is not otherwise required to list and validate
    # stages.
    from retalkit.geometry.schemes import convertible

    return need.removeprefix("landmarks:") in convertible(port.removeprefix("landmarks:"))


def missing_port_message(
    need: str, stage: PlannedStage[Any], before: list[PlannedStage[Any]], registry: Registry
) -> str:
    """Return an error message that identifies ``stage`` and the stage that should provide the port, and explains the
    fix."""
    if not before:
        return (
            f"{stage.label} is the first stage and needs {need}, which only later stages provide"
            f"{alternatives(stage, registry)}"
        )
    kinds = {earlier.kind for earlier in before}
    helpers = [
        found
        for found in registry.stages
        if found.spec.kind in kinds
        and found.spec.kind != stage.kind
        and any(_fits(port, need) for port in found.spec.gives)
        and availability(found) is None
    ]
    partner = _partner(need, before, helpers)
    gives = ", ".join(sorted(partner.gives)) or "nothing"
    text = f"{stage.label} needs {need}, but {partner.label} provides {gives}"
    if helpers:
        kind = partner.kind.value
        names = " or ".join(dict.fromkeys(f"{kind}.use={f.spec.name}" for f in helpers if f.spec.kind == partner.kind))
        return f"{text}; set {names}"
    return f"{text}, and no earlier installed stage can provide {need}{alternatives(stage, registry)}"


def _partner(need: str, before: list[PlannedStage[Any]], helpers: list[FoundStage]) -> PlannedStage[Any]:
    """Return the earlier stage that should provide ``need``."""
    kinds = {found.spec.kind for found in helpers}
    family = need.partition(":")[0] + ":"
    for stage in reversed(before):
        if stage.kind in kinds or (not kinds and any(port.startswith(family) for port in stage.gives)):
            return stage
    return before[-1]


def alternatives(stage: PlannedStage[Any], registry: Registry) -> str:
    names = [
        found.spec.name
        for found in registry.of_kind(stage.kind)
        if found is not stage.found and availability(found) is None
    ]
    return f"; set {stage.config_path}.use to a different {stage.kind.value}, such as {names[0]}" if names else ""
