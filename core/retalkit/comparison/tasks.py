"""Tasks of a comparison. Each task renders one video and scores the cells that use this video.

Task keys depend on content, never on names. Therefore, results are reused if the output directory already contains
them, for example from a different comparison or from an earlier version of the comparison file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from retalkit._version import __version__
from retalkit.comparison.arm_audio import ArmAudio
from retalkit.comparison.results import ANCHOR, MISMATCHED, NOISE, NOISY, OWN, REAL, SILENCE, SPEECH, CellName
from retalkit.comparison.spec import Comparison, Variant
from retalkit.config.model import RunConfig
from retalkit.errors import PlanError
from retalkit.media.sound import open_sound
from retalkit.media.sources import open_source
from retalkit.pipeline.plan import Plan, plan
from retalkit.plugins.metric_specs import FRAMES, LANDMARKS, LIPS, ORIGINAL, QUIET, RECORD, TRUTH
from retalkit.plugins.metric_specs import SPEECH as SPEECH_PORT
from retalkit.plugins.registry import FoundMetric, Registry
from retalkit.storage.cache import content_hash, make_key

VERSION: Final = 1
"""Version that is part of every content key. Increase the version if a code change affects videos or scores."""

_IMAGES = frozenset({FRAMES, LANDMARKS, ORIGINAL})
PORTS: Final = {
    REAL: _IMAGES | {TRUTH, LIPS, SPEECH_PORT},
    OWN: _IMAGES | {TRUTH, LIPS, SPEECH_PORT, RECORD},
    SPEECH: _IMAGES | {LIPS, SPEECH_PORT, RECORD},
    # The frames are identical to the frames in ``own``, so image quality is scored only in ``own``.
    MISMATCHED: frozenset({FRAMES, LANDMARKS, LIPS, SPEECH_PORT}),
    SILENCE: _IMAGES | {QUIET, RECORD},
    NOISE: _IMAGES | {QUIET, RECORD},
    **{arm: _IMAGES | {TRUTH, LIPS, SPEECH_PORT, RECORD} for arm in NOISY},
}
"""Mapping from arm to the ports that the arm's scenes can provide."""


def skip_reason(found: FoundMetric, arm: str) -> str:
    """Return the reason why a metric is skipped in an arm although the arm provides all required ports.

    The result is an empty string if the metric is not skipped.
    """
    if arm == MISMATCHED and not found.spec.needs & {LIPS, SPEECH_PORT}:
        return "independent of the speech: see the values in the arm 'own'"
    return ""


@dataclass(frozen=True, slots=True)
class CellPlan:
    """Scoring configuration for one cell."""

    name: CellName
    key: str
    ports: frozenset[str]
    sound: Path | None
    """Audio file with the target audio of the lip motion."""
    reference: Path | None
    """Video of the person who speaks the audio in ``sound``."""


@dataclass(slots=True)
class Task:
    """Video to render, together with the cells that are scored on this video."""

    key: str
    clip_name: str
    clip: Path
    speech: Path
    configuration: dict[str, Any]
    """Run configuration as JSON-compatible data. Tasks in the arm ``real`` use only the output options."""
    is_anchor: bool
    """Whether the task belongs to the arm ``real``, in which the clip is encoded without an edit."""
    rerun: int
    cells: list[CellPlan] = field(default_factory=list[CellPlan])

    @property
    def label(self) -> str:
        return self.cells[0].name.label


def build_tasks(comparison: Comparison, plans: dict[str, Plan], sounds: ArmAudio) -> list[Task]:
    """Return all tasks of a comparison, grouped by clip.

    ``plans`` maps variant names to plans. Variants without a plan are skipped. Raises InputError if a clip or speech
    cannot be read, or if it has no audio although an arm requires audio.
    """
    file = comparison.file
    tasks: dict[str, Task] = {}
    names = list(file.clips)
    for number, (clip_name, clip) in enumerate(file.clips.items()):
        open_source(clip)
        other_name = names[(number + 1) % len(names)]
        for arm in file.wanted_arms:
            for speech_name in _other_speeches(comparison, clip) if arm == SPEECH else ("",):
                speech, sound, reference = _sounds(comparison, arm, clip, speech_name, other_name, sounds)
                label = speech_name if arm == SPEECH else other_name if arm == MISMATCHED else ""
                for variant, seed, rerun in _runs(comparison, arm, plans):
                    name = CellName(clip_name, arm, label, variant.name if arm != REAL else ANCHOR, seed, rerun)
                    config = variant.config.model_copy(update={"seed": seed})
                    chosen = plans.get(variant.name)
                    key = _video_key(clip, speech, config, None if arm == REAL else chosen, rerun)
                    task = tasks.setdefault(
                        key,
                        Task(key, clip_name, clip, speech, config.model_dump(mode="json"), arm == REAL, rerun),
                    )
                    task.cells.append(_cell(name, key, sound, reference))
    return list(tasks.values())


def _other_speeches(comparison: Comparison, clip: Path) -> list[str]:
    """Return the names of all speeches except the clip's own audio, which the arm ``own`` covers."""
    own = content_hash(clip)
    return [name for name, choice in comparison.file.speeches.items() if content_hash(choice.path) != own]


def plan_variants(comparison: Comparison, registry: Registry) -> dict[str, Plan]:
    """Return each variant's plan. Raises PlanError, with the variant's name, if a variant cannot run."""
    plans: dict[str, Plan] = {}
    for variant in comparison.variants:
        try:
            plans[variant.name] = plan(variant.config, registry)
        except PlanError as error:
            raise PlanError(f"{comparison.path}: variant '{variant.name}': {error}", code=error.code) from error
    return plans


def check_readable(comparison: Comparison) -> None:
    """Raise InputError if a clip or speech cannot be read, or if it has no audio although an arm requires audio."""
    file = comparison.file
    own_sound = any(arm != SPEECH for arm in file.wanted_arms)
    for clip in file.clips.values():
        open_source(clip)
        if own_sound:
            open_sound(clip)
    for speech in file.speeches.values():
        open_sound(speech.path)
        if speech.reference is not None:
            open_source(speech.reference)


def _runs(comparison: Comparison, arm: str, plans: dict[str, Plan]) -> list[tuple[Variant, int, int]]:
    """Return the variant, seed and rerun number of every run in an arm."""
    file, base = comparison.file, comparison.base
    if arm == REAL:
        return [(base, file.seeds[0], 0)]
    runs = [(variant, seed, 0) for variant in comparison.variants if variant.name in plans for seed in file.seeds]
    if base.name in plans:
        runs += [(base, file.seeds[0], rerun + 1) for rerun in range(file.reruns)]
    return runs


def _sounds(
    comparison: Comparison, arm: str, clip: Path, speech_name: str, other_name: str, sounds: ArmAudio
) -> tuple[Path, Path | None, Path | None]:
    """Return the paths of the dubbing audio, the scoring audio, and a video of the person who speaks the scoring
    audio."""
    file = comparison.file
    if arm == SPEECH:
        choice = file.speeches[speech_name]
        speech = sounds.trimmed(choice.path)
        return speech, speech, choice.reference or (choice.path if _is_video(choice.path) else None)
    if arm in (SILENCE, NOISE):
        return sounds.for_arm(arm, clip), None, None
    own = sounds.trimmed(clip)
    if arm == MISMATCHED:
        other = file.clips[other_name]
        return own, sounds.trimmed(other), other
    return (sounds.for_arm(arm, clip) if arm in NOISY else own), own, clip


def _is_video(path: Path) -> bool:
    """Return whether a speech file is a video and can therefore be used as the speech's reference video."""
    from retalkit.errors import InputError

    try:
        return not open_source(path).info.is_photo
    except InputError:
        return False


def _video_key(clip: Path, speech: Path, config: RunConfig, chosen: Plan | None, rerun: int) -> str:
    options = config.model_dump(mode="json", exclude={"cache_limit_gb"})
    if chosen is None:
        kept = {name: options[name] for name in ("output", "length", "extend")}
        return make_key("real", VERSION, __version__, content_hash(clip), content_hash(speech), kept)
    stages = [stage.identity() for stage in chosen.stages]
    return make_key("video", VERSION, __version__, content_hash(clip), content_hash(speech), options, stages, rerun)


def _cell(name: CellName, video_key: str, sound: Path | None, reference: Path | None) -> CellPlan:
    heard = "" if sound is None else content_hash(sound)
    seen = "" if reference is None else content_hash(reference)
    key = make_key("cell", VERSION, video_key, name.arm, heard, seen)
    ports = PORTS[name.arm] - (frozenset({LIPS}) if reference is None else frozenset[str]())
    return CellPlan(name, key, ports, sound, reference)


def task_payload(
    task: Task, out: Path, cache: Path, plugins: list[Path], metrics: list[str], measured_by: str = ""
) -> dict[str, Any]:
    """Return the JSON-compatible payload of a task for ``retalkit.comparison.worker``."""
    return {
        "key": task.key,
        "out": str(out),
        "cache": str(cache),
        "clip": str(task.clip),
        "speech": str(task.speech),
        "configuration": task.configuration,
        "is_anchor": task.is_anchor,
        "rerun": task.rerun,
        "plugins": [str(path) for path in plugins],
        "metrics": metrics,
        "measured_by": measured_by,
        "cells": [
            {
                "key": cell.key,
                "arm": cell.name.arm,
                "ports": sorted(cell.ports),
                "sound": None if cell.sound is None else str(cell.sound),
                "reference": None if cell.reference is None else str(cell.reference),
            }
            for cell in task.cells
        ],
    }
