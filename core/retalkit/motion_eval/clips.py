"""Preparation of clips for the evaluation of speech-to-mouth drivers: lip tracking and audio analysis.

Results are stored in the run cache. Clips that were already dubbed are therefore not tracked again.
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

from retalkit.config.model import DEFAULT_PRESET
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

MIN_SECONDS: Final = 2.0
"""Minimum duration of the tracked lips, in seconds."""
REST_OPENING: Final = 0.05
"""Maximum opening of a mouth at rest, in ``MouthMotion`` units."""
_ROWS = 4096


@dataclass(frozen=True, slots=True)
class PreparedClip:
    """Tracked lips and analysed speech of one clip."""

    name: str
    lips: Lips
    speech: Speech


@dataclass(frozen=True, slots=True)
class BackgroundRest:
    """Mouth motion that a driver predicts for audio without speech."""

    at_rest: float
    """Fraction of frames with a mouth opening of at most 0.05, in [0, 1]. Higher values are better."""
    opening: float
    """Mean mouth opening in ``MouthMotion`` units. The ideal value is 0."""


def prepare_clip(video: Path, steps: ClipSteps) -> PreparedClip:
    """Track the lips and analyse the audio track of a clip.

    Raises:
        InputError: the clip has no audio, no speech or no face, or the audio or the lip track is too short.
        PlanError: the reconstructor does not provide ``coefficients:mesh``.
    """
    _check_mesh_coefficients(steps)
    if open_source(video).info.is_photo:
        raise InputError(
            f"{video}: expected a video, got a still image: pass a video of a speaking person",
            code="photo-not-supported",
        )
    speech = steps.speech(open_sound(video), speech_key(steps.plan, content_hash(video)))
    check_speech(speech, video)
    lips = measure_lips(track(video, steps))
    tracked = np.isfinite(lips.opening).sum() / GRID_RATE
    if tracked < MIN_SECONDS:
        raise InputError(
            f"{video}: a face is visible for only {tracked:.1f} s: pass a clip in which a face is visible for at least "
            f"{MIN_SECONDS:.0f} s",
            code="clip-too-short",
        )
    return PreparedClip(video.name, lips, speech)


def check_speech(speech: Speech, path: Path) -> None:
    """Raise InputError if voice activity detection finds no speech in the audio of ``path``."""
    times = np.arange(0.0, speech.duration, 1.0 / GRID_RATE)
    if not (speech.activity(times) > 0.0).any():
        raise InputError(
            f"{path}: no speech detected in the audio; pass a clip in which a person speaks, or lower "
            "voice_activity.quietest_speech",
            code="no-speech",
        )


def track(video: Path, steps: ClipSteps) -> StoredAnalysis:
    """Track the face in every frame of a video and fit the coefficients ``coefficients:mesh``.

    Raises:
        InputError: the video cannot be read, or no face is found.
        PlanError: the reconstructor does not provide ``coefficients:mesh``.
    """
    _check_mesh_coefficients(steps)
    return steps.analyse(video)


def _check_mesh_coefficients(steps: ClipSteps) -> None:
    stage = steps.plan.reconstructor
    if stage.coefficient_space != "mesh":
        raise PlanError(
            f"{stage.label} does not provide coefficients:mesh, which is required to compute lip motion: select "
            f"a different reconstructor, such as the reconstructor in the preset '{DEFAULT_PRESET}'",
            code="mesh-coefficients-required",
        )


def measure_lips(analysis: Analysis) -> Lips:
    """Compute the lip opening and width at 25 Hz by interpolation between frames.

    Values adjacent to frames without a face and values before the first frame are NaN.
    """
    count = analysis.source.info.frame_count
    times = analysis.source.times(0, count)
    parts = [analysis.coefficients(first, min(first + _ROWS, count)) for first in range(0, count, _ROWS)]
    opening = np.concatenate([part[:, mesh_space.OPENING] for part in parts]).astype(np.float64)
    width = np.concatenate([part[:, mesh_space.WIDTH] for part in parts]).astype(np.float64)
    grid = np.arange(0.0, times[-1] + 1e-6, 1.0 / GRID_RATE)
    before = grid < times[0] - 0.5 / GRID_RATE
    series = [np.where(before, np.nan, np.interp(grid, times, values)) for values in (opening, width)]
    return Lips(series[0], series[1])


def measure_background_rest(
    sounds: Mapping[str, NDArray[np.float32]], driver: SpeechToMouth, steps: ClipSteps
) -> dict[str, BackgroundRest]:
    """Return a mapping from background signal to the driver's rest score. Each signal is processed by the run's
    denoiser and voice activity detector."""
    results: dict[str, BackgroundRest] = {}
    for name, sound in sounds.items():
        speech = analyse_waveform(sound, steps)
        times = np.arange(0.0, len(sound) / SPEECH_RATE, 1.0 / GRID_RATE)
        opening = driver.motion(speech, times).opening
        results[name] = BackgroundRest(float((opening <= REST_OPENING).mean()), float(opening.mean()))
    return results


def analyse_waveform(sound: NDArray[np.float32], steps: ClipSteps) -> SpeechTrack:
    """Analyse mono audio at 16 kHz with the same processing steps that a run applies to an audio file."""
    with TemporaryDirectory(prefix="retalkit-") as folder:
        path = Path(folder) / "sound.wav"
        wavfile.write(path, SPEECH_RATE, (np.clip(sound, -1, 1) * 32767).astype("<i2"))
        return steps.speech(open_sound(path), speech_key(steps.plan, content_hash(path)))
