"""Quality measurements of prepared clips."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh_space
from retalkit.geometry.pose import HeadPose, yaw_pitch_roll
from retalkit.speech.activity import VoiceActivity
from retalkit.speech.loudness import integrated_loudness, reference_gain
from scipy.spatial.transform import Rotation

Image = NDArray[np.uint8]
Float = NDArray[np.float32]

CLIPPED: Final = 0.999
"""Absolute sample value above which a sample counts as clipped."""
SPEAKING: Final = 0.5
"""Voice activity above which a time counts as speech."""
SILENCE: Final = 10 ** (-60 / 20)
"""RMS below which audio counts as silent, -60 dBFS."""


@dataclass(frozen=True, slots=True)
class SoundQuality:
    """Measurements of a clip's audio."""

    rms: float
    """Root mean square in [0, 1]."""
    clipped: float
    """Fraction of clipped samples."""
    speech: float
    """Fraction of the time with speech."""

    def plain(self) -> dict[str, float]:
        return {name: round(value, 6) for name, value in asdict(self).items()}


def sound_quality(wave: Float, speech: Float | None = None) -> SoundQuality:
    """Measure mono audio, float32 [N] at 16 kHz. ``speech``: voice activity, or None to compute it."""
    if not len(wave):
        return SoundQuality(0.0, 0.0, 0.0)
    rms = float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))
    values = voice_activity(wave) if speech is None else speech
    active = float((values > SPEAKING).mean()) if len(values) and rms >= SILENCE else 0.0
    return SoundQuality(rms, float((np.abs(wave) >= CLIPPED).mean()), active)


def voice_activity(wave: Float) -> Float:
    """Return the voice activity of mono audio at 16 kHz, float32 [V] in [0, 1] at 100 Hz."""
    detector = VoiceActivity()
    gain = np.float32(reference_gain(integrated_loudness(wave)))
    return np.concatenate([detector.push(wave * gain), detector.finish()])


def sharpness(faces: Image) -> float:
    """Return the median variance of the Laplacian of RGB faces, uint8 [T, 96, 96, 3], in grey levels squared.

    At most ten faces are measured.
    """
    step = max(len(faces) // 10, 1)
    grey = [cv2.cvtColor(face, cv2.COLOR_RGB2GRAY) for face in faces[::step]]
    return float(np.median([cv2.Laplacian(image, cv2.CV_64F).var() for image in grey])) if grey else 0.0


def yaw_degrees(coefficients: Float) -> Float:
    """Return the absolute yaw in degrees, float32 [T], from coefficients of the space ``mesh``, float32 [T, 13]."""
    out = np.full(len(coefficients), np.nan, np.float32)
    good = np.isfinite(coefficients[:, :7]).all(axis=1)
    if good.any():
        turned = Rotation.from_rotvec(coefficients[good, 1:4].astype(np.float64)).as_matrix().astype(np.float32)
        pose = HeadPose(coefficients[good, 0], turned, coefficients[good, 4:7])
        out[good] = np.abs(yaw_pitch_roll(pose)[:, 0])
    return out


def lip_motion(coefficients: Float) -> NDArray[np.float64]:
    """Return the opening and width of the lips, float64 [T, 2], from coefficients of the space ``mesh``."""
    return coefficients[:, [mesh_space.OPENING, mesh_space.WIDTH]].astype(np.float64)


def appearance_jump(faces: Image) -> float:
    """Return the largest change of appearance between neighbouring frames, in units of the typical change.

    The upper half of RGB faces, uint8 [T, 96, 96, 3], is reduced to 8 x 4 cells. The result is the largest mean
    absolute change of the cells, divided by 4 grey levels or twice the 90th percentile of all changes, whichever is
    larger. A change of person or an undetected cut results in a value well above 2.
    """
    if len(faces) < 3:
        return 0.0
    cells = np.stack([cv2.resize(face[:48], (8, 4), interpolation=cv2.INTER_AREA) for face in faces]).astype(np.float64)
    changes = np.abs(np.diff(cells, axis=0)).mean(axis=(1, 2, 3))
    return float(changes.max() / max(4.0, 2.0 * float(np.percentile(changes, 90))))


def frozen_fraction(faces: Image) -> float:
    """Return the fraction of faces that are equal to the preceding face up to compression artefacts."""
    if len(faces) < 2:
        return 0.0
    small = np.stack([cv2.resize(face, (24, 24), interpolation=cv2.INTER_AREA) for face in faces]).astype(np.float64)
    return float((np.abs(np.diff(small, axis=0)).mean(axis=(1, 2, 3)) < 0.05).mean())


def clip_quality(faces: Image, wave: Float, speech: Float | None = None) -> dict[str, Any]:
    """Return all measurements that require only the 96-pixel faces and the audio."""
    return {
        **sound_quality(wave, speech).plain(),
        "sharpness": round(sharpness(faces), 3),
        "jump": round(appearance_jump(faces), 3),
        "frozen": round(frozen_fraction(faces), 4),
    }
