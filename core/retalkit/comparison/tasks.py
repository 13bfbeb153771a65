"""What a comparison has to do: one task for each video, and the cells that are scored on it.

Keys are made of content, never of names: a task that was done for another comparison in the same folder, or before the
file was edited, is found again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from retalkit._version import __version__
from retalkit.comparison.arm_audio import ArmSounds
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
"""Part of every key: raise it when the same task would give another video or be scored otherwise."""

_PICTURE = frozenset({FRAMES, LANDMARKS, ORIGINAL})
PORTS: Final = {
    REAL: _PICTURE | {TRUTH, LIPS, SPEECH_PORT},
    OWN: _PICTURE | {TRUTH, LIPS, SPEECH_PORT, RECORD},
    SPEECH: _PICTURE | {LIPS, SPEECH_PORT, RECORD},
    # The pictures are those of ``own``, which are scored there.
    MISMATCHED: frozenset({FRAMES, LANDMARKS, LIPS, SPEECH_PORT}),
    SILENCE: _PICTURE | {QUIET, RECORD},
    NOISE: _PICTURE | {QUIET, RECORD},
    **{arm: _PICTURE | {TRUTH, LIPS, SPEECH_PORT, RECORD} for arm in NOISY},
}
"""Arm -> what its scenes may offer to metrics."""


def not_asked(found: FoundMetric, arm: str) -> str:
    """Why a metric is left out of an arm that has all it needs; empty where it is not."""
    if arm == MISMATCHED and not found.spec.needs & {LIPS, SPEECH_PORT}:
        return "does not listen: its numbers are those of the arm 'own'"
    return ""


@dataclass(frozen=True, slots=True)
class CellPlan:
    """One way in which a task's video is scored."""

    name: CellName
    key: str
    ports: frozenset[str]
    sound: Path | None
    """What the lips should follow."""
    reference: Path | None
    """Who is seen saying it."""


@dataclass(slots=True)
class Task:
    """One video to be made, and its cells."""

    key: str
    clip_name: str
    clip: Path
    speech: Path
    configuration: dict[str, Any]
    """Plain data of the run configuration; of the arm ``real`` only the output options count."""
    unedited: bool
    """Arm ``real``: the clip goes through the encoder as it is."""
    rerun: int
    cells: list[CellPlan] = field(default_factory=list[CellPlan])

    @property
    def label(self) -> str:
        return self.cells[0].name.label


def tasks_of(comparison: Comparison, plans: dict[str, Plan], sounds: ArmSounds) -> list[Task]:
    """Every task of a comparison, those of one clip in a row.

    ``plans``: name of a variant -> its plan; variants without one are left out. Raises InputError for a clip or speech
    that cannot be read, or that has no sound where an arm needs it.
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
                said = speech_name if arm == SPEECH else other_name if arm == MISMATCHED else ""
                for variant, seed, rerun in _runs(comparison, arm, plans):
                    name = CellName(clip_name, arm, said, variant.name if arm != REAL else ANCHOR, seed, rerun)
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
    """Names of the speeches that are not the clip itself: with its own words it stands in the arm ``own``."""
    own = content_hash(clip)
    return [name for name, choice in comparison.file.speeches.items() if content_hash(choice.path) != own]


def plans_of(comparison: Comparison, registry: Registry) -> dict[str, Plan]:
    """The plan of every variant. Raises PlanError for the first that cannot run here, with its name."""
    plans: dict[str, Plan] = {}
    for variant in comparison.variants:
        try:
            plans[variant.name] = plan(variant.config, registry)
        except PlanError as error:
            raise PlanError(f"{comparison.path}: variant '{variant.name}': {error}") from error
    return plans


def check_readable(comparison: Comparison) -> None:
    """Raises InputError for a clip or speech that cannot be read, or that has no sound where an arm takes it."""
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
    """(variant, seed, rerun) of an arm."""
    file, base = comparison.file, comparison.base
    if arm == REAL:
        return [(base, file.seeds[0], 0)]
    runs = [(variant, seed, 0) for variant in comparison.variants if variant.name in plans for seed in file.seeds]
    if base.name in plans:
        runs += [(base, file.seeds[0], rerun + 1) for rerun in range(file.reruns)]
    return runs


def _sounds(
    comparison: Comparison, arm: str, clip: Path, speech_name: str, other_name: str, sounds: ArmSounds
) -> tuple[Path, Path | None, Path | None]:
    """(what the clip is dubbed with, what it is scored against, who is seen saying that)."""
    file = comparison.file
    if arm == SPEECH:
        choice = file.speeches[speech_name]
        speech = sounds.clean(choice.path)
        return speech, speech, choice.reference or (choice.path if _shows_somebody(choice.path) else None)
    if arm in (SILENCE, NOISE):
        return sounds.of_arm(arm, clip), None, None
    own = sounds.clean(clip)
    if arm == MISMATCHED:
        other = file.clips[other_name]
        return own, sounds.clean(other), other
    return (sounds.of_arm(arm, clip) if arm in NOISY else own), own, clip


def _shows_somebody(path: Path) -> bool:
    """Whether a speech is a video: then its own lips say it."""
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


def task_file(
    task: Task, out: Path, cache: Path, plugins: list[Path], metrics: list[str], measured_by: str = ""
) -> str:
    """JSON that ``retalkit.comparison.worker`` reads."""
    data = {
        "key": task.key,
        "out": str(out),
        "cache": str(cache),
        "clip": str(task.clip),
        "speech": str(task.speech),
        "configuration": task.configuration,
        "unedited": task.unedited,
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
    return json.dumps(data, indent=1)
