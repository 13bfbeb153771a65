"""Names of the checks for each stage kind and for metrics, in execution order."""

from __future__ import annotations

from typing import Final

from retalkit.plugins.metric_specs import FRAMES, LANDMARKS, MetricSpec
from retalkit.plugins.specs import StageSpec
from retalkit.stages import StageKind
from retalkit.testing.examination import SIDE_EFFECTS

REFERENCE: Final = "reference_"
"""Prefix of the checks for ``open_references``."""

_ALL_FRAMES: Final = ("result", "repeatable", "empty", "batches", "close", "resume", "seed")
_CLIPS: Final = ("no_face", "odd_size", "one_pixel", "one_frame")
_RESOURCES: Final = ("memory", "long_clip", "networks")
_ANY_START: Final = ("start", "end")
_DENOISER: Final = (
    "result",
    "close",
    "length",
    "repeatable",
    "chunks",
    "seed",
    "short",
    "silence",
    "memory",
    "networks",
)
_BY_KIND: Final = {
    StageKind.DETECTOR: (*_ALL_FRAMES, *_CLIPS, *_RESOURCES),
    StageKind.RECONSTRUCTOR: (*_ALL_FRAMES, *_CLIPS, *_RESOURCES),
    StageKind.EXPRESSION_EDITOR: (*_ALL_FRAMES, "order", *_ANY_START, *_CLIPS, *_RESOURCES),
    StageKind.DENOISER: _DENOISER,
    StageKind.LIP_SYNCER: (*_ALL_FRAMES, *_ANY_START, *_CLIPS, "silence", "short_speech", *_RESOURCES),
    StageKind.ENHANCER: (*_ALL_FRAMES, *_ANY_START, *_CLIPS, *_RESOURCES),
}


def check_names(spec: StageSpec | MetricSpec) -> tuple[str, ...]:
    """Return the names of all checks for a stage with default options or for a metric."""
    return _metric_checks(spec) if isinstance(spec, MetricSpec) else _stage_checks(spec)


def _stage_checks(spec: StageSpec) -> tuple[str, ...]:
    names = ["spec", "build", *_BY_KIND.get(spec.kind, ())]
    processes_faces = spec.kind not in (StageKind.DETECTOR, StageKind.DENOISER)
    if processes_faces and not any(str(port).startswith("landmarks:") for port in spec.needs):
        names.append("undeclared")
    if spec.enhances_references:
        others = (*_ALL_FRAMES, "order", *_ANY_START, *_CLIPS, *_RESOURCES)
        names += [REFERENCE + name for name in ("build", *others)]
        if "undeclared" in names:
            names.append(f"{REFERENCE}undeclared")
    return (*names, *SIDE_EFFECTS)


def _metric_checks(spec: MetricSpec) -> tuple[str, ...]:
    names = ["spec", "build", "scene", "only_needs", "one_frame", "odd_size"]
    if LANDMARKS not in spec.needs:
        names += ["no_face", "one_pixel"]
    if FRAMES in spec.needs:
        names.append("memory")
    return (*names, *SIDE_EFFECTS)
