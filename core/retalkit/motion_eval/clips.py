"""Prepares clips for the evaluation of speech-to-mouth drivers: their lips are tracked, their own sound is listened to.

What is found lies in the same cache as that of a run, so a clip that was dubbed before is not looked at again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile

from retalkit.errors import InputError, PlanError
from retalkit.geometry import mesh_space
from retalkit.media.sound import open_sound
from retalkit.media.sources import open_source
from retalkit.motion_eval.agreement import GRID_RATE, Lips
from retalkit.pipeline.analysis_store import StoredAnalysis
from retalkit.pipeline.keys import speech_key
from retalkit.pipeline.steps import ClipSteps
from retalkit.speech.speech_track import SpeechTrack
from retalkit.stages import SPEECH_RATE, Analysis, Speech, SpeechToMouth
from retalkit.storage.cache import content_hash

SHORTEST: Final = 2.0
"""Seconds of tracked lips below which a clip is refused."""
AT_REST: Final = 0.05
"""Opening, in units of ``MouthMotion``, up to which a mouth counts as at rest."""
_ROWS = 4096


@dataclass(frozen=True, slots=True)
class PreparedClip:
    """One clip, ready to be scored."""

    name: str
    lips: Lips
    speech: Speech


@dataclass(frozen=True, slots=True)
class RestInBackground:
    """What a driver does while nobody speaks."""

    at_rest: float
    """Share of frames with an opening of at most 0.05, 0 to 1, higher is better."""
    opening: float
    """Mean opening in units of ``MouthMotion``; 0 is best."""


def prepare_clip(video: Path, steps: ClipSteps) -> PreparedClip:
    """Tracks the lips and listens to the clip's own sound.

    Raises InputError where the clip has no sound, no face or too little of either, and PlanError for a reconstructor
    that does not give ``coefficients:mesh``.
    """
    _check_measures_lips(steps)
    if open_source(video).info.is_photo:
        raise InputError(f"{video} is a photo: give a video of somebody who speaks")
    speech = steps.speech(open_sound(video), speech_key(steps.plan, content_hash(video)))
    lips = lips_of(track(video, steps))
    seen = np.isfinite(lips.opening).sum() / GRID_RATE
    if seen < SHORTEST:
        raise InputError(f"{video} shows a face for {seen:.1f} s only: give a clip of at least {SHORTEST:.0f} s")
    return PreparedClip(video.name, lips, speech)


def track(video: Path, steps: ClipSteps) -> StoredAnalysis:
    """The face in every frame of a video with its coefficients:mesh.

    Raises InputError where the video cannot be read or shows no face, and PlanError for a reconstructor that does not
    give ``coefficients:mesh``.
    """
    _check_measures_lips(steps)
    return steps.analyse(video)


def _check_measures_lips(steps: ClipSteps) -> None:
    stage = steps.plan.reconstructor
    if stage.coefficient_space != "mesh":
        raise PlanError(f"{stage.label} does not give coefficients:mesh, which lips are measured in: use shallow")


def lips_of(analysis: Analysis) -> Lips:
    """The measured lips at 25 values a second, interpolated between frames; NaN next to frames without a face."""
    count = analysis.source.info.frame_count
    times = analysis.source.times(0, count)
    parts = [analysis.coefficients(first, min(first + _ROWS, count)) for first in range(0, count, _ROWS)]
    opening = np.concatenate([part[:, mesh_space.OPENING] for part in parts]).astype(np.float64)
    width = np.concatenate([part[:, mesh_space.WIDTH] for part in parts]).astype(np.float64)
    grid = np.arange(0.0, times[-1] + 1e-6, 1.0 / GRID_RATE)
    return Lips(np.interp(grid, times, opening), np.interp(grid, times, width))


def rest_in(
    sounds: Mapping[str, NDArray[np.float32]], driver: SpeechToMouth, steps: ClipSteps
) -> dict[str, RestInBackground]:
    """Name -> how well the driver keeps the mouth at rest, with the run's denoiser and voice activity."""
    results: dict[str, RestInBackground] = {}
    for name, sound in sounds.items():
        speech = listened(sound, steps)
        times = np.arange(0.0, len(sound) / SPEECH_RATE, 1.0 / GRID_RATE)
        opening = driver.motion(speech, times).opening
        results[name] = RestInBackground(float((opening <= AT_REST).mean()), float(opening.mean()))
    return results


def listened(sound: NDArray[np.float32], steps: ClipSteps) -> SpeechTrack:
    """A mono sound at 16 kHz as a run would hear it from a file."""
    with TemporaryDirectory(prefix="retalkit-") as folder:
        path = Path(folder) / "sound.wav"
        wavfile.write(path, SPEECH_RATE, (np.clip(sound, -1, 1) * 32767).astype(np.int16))
        return steps.speech(open_sound(path), speech_key(steps.plan, content_hash(path)))
