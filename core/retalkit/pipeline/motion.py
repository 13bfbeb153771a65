"""Prediction of mouth motion from speech without a video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from retalkit.config import Choice, RunConfig
from retalkit.media.motion_files import MotionTable
from retalkit.media.sound import open_sound
from retalkit.observer import Observer, SilentObserver
from retalkit.pipeline.devices import device_note
from retalkit.pipeline.keys import speech_key
from retalkit.pipeline.plan import Plan, choose_driver, plan, plan_driver
from retalkit.pipeline.planned_stage import PlannedDriver
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import Registry
from retalkit.speech.displayed_motion import displayed_motion
from retalkit.stages import DriverWithNotes, Runtime
from retalkit.storage.cache import Cache, content_hash, default_folder

DEFAULT_RATE = 100.0
"""Default number of rows per second. The rows include the time steps of the driver ``model`` (odd hundredths of a
second) and the frame times of videos at 25 or 50 frames per second, so no interpolation error occurs in such videos."""


def plan_motion(
    config: RunConfig, driver: str | None, options: dict[str, Any] | None, registry: Registry
) -> tuple[Plan, PlannedDriver]:
    """Select and validate the stages and the driver of ``motion``, which describes the parameters and exceptions."""
    chosen = plan(config, registry)
    choice = choose_driver(chosen, driver)
    choice = Choice.model_validate({"use": choice.use, **choice.options, **(options or {})})
    return chosen, plan_driver(choice, registry, "driver")


def motion(
    speech: Path | str,
    *,
    config: RunConfig | None = None,
    driver: str | None = None,
    options: dict[str, Any] | None = None,
    rate: float = DEFAULT_RATE,
    registry: Registry | None = None,
    observer: Observer | None = None,
    cache: Path | None = None,
) -> MotionTable:
    """Return the mouth motion that a driver predicts from speech.

    The speech is processed with the configured denoiser and voice activity detection. ``driver``: name of the driver;
    the default is the driver of the configured lip syncer. ``options``: driver options that override the configured
    options. ``rate``: number of rows per second. The last row is the first row at or after the end of the speech.

    Raises ConfigError, PluginError, PlanError or InputError.
    """
    registry = registry if registry is not None else discover()
    config = config if config is not None else RunConfig.from_preset("embedded", registry=registry)
    observer = observer or SilentObserver()
    chosen, planned = plan_motion(config, driver, options, registry)
    steps = ClipSteps(chosen, Cache(cache if cache is not None else default_folder()), observer)
    made = planned.make(
        Runtime(device=config.device, precision=config.precision, threads=config.threads, pool=steps.pool)
    )
    sound = open_sound(speech := Path(speech), config.speech_track)
    for warning in (device_note(chosen.config, chosen.stages), *sound.warnings):
        if warning:
            observer.note(warning)
    track = steps.speech(sound, speech_key(chosen, content_hash(speech)))
    times = np.arange(int(np.ceil(round(sound.duration * rate, 6))) + 1) / rate
    table = MotionTable(times, displayed_motion(made, track, times))
    for note in made.notes(track) if isinstance(made, DriverWithNotes) else ():
        observer.note(note)
    return table
