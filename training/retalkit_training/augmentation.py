"""Augmentation of training windows: images with kornia, sound with librosa. Both are imported on first use."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.errors import PluginError
from retalkit.speech.mel import HOP, SILENT_LEVEL, mel_spectrogram
from retalkit_training.augmentation_config import AugmentationConfig
from retalkit_training.loop.data import Clip
from torch import Tensor

Float = NDArray[np.float32]
MelReader = Callable[[int, int], Float]
"""Function from a first step and a number of steps to mel steps [80, count]."""

_MARGIN: Final = 24
"""Number of mel steps around a window that are processed with it."""
_QUALITY: Final = (30.0, 95.0)
_SIGMA: Final = (0.3, 1.2)
_KERNEL: Final = 7
_TRANSFORM: Final = 1024
"""Transform length of the phase vocoder in samples, 64 ms. Longer ones blur the onsets of speech sounds."""


def check_packages(config: AugmentationConfig) -> None:
    """Check that the packages of the options can be imported. Raises PluginError."""
    from importlib.util import find_spec

    for needed, package in ((config.changes_images, "kornia"), (config.changes_waveform, "librosa")):
        if needed and find_spec(package) is None:
            raise PluginError(
                f"augmentation needs the Python package {package} (pip install 'retalkit[train]'), or set the options "
                "of augmentation to 0",
                code="missing-package",
            )


def augment_frames(config: AugmentationConfig, generator: np.random.Generator, windows: list[Float]) -> list[Float]:
    """Return windows of one sample with the same random change of all their frames.

    ``windows``: [3, T, H, W] each, BGR in [0, 1], of equal height and width.
    """
    if not config.changes_images:
        return windows
    lengths = [window.shape[1] for window in windows]
    frames = torch.from_numpy(np.ascontiguousarray(np.concatenate(windows, axis=1).transpose(1, 0, 2, 3)))
    # kornia expects RGB.
    changed = _change_images(config, generator, frames.flip(1)).flip(1).clamp(0, 1)
    found = changed.numpy().astype(np.float32, copy=False).transpose(1, 0, 2, 3)
    return [np.ascontiguousarray(part) for part in np.split(found, np.cumsum(lengths)[:-1], axis=1)]


@torch.no_grad()
def _change_images(config: AugmentationConfig, generator: np.random.Generator, images: Tensor) -> Tensor:
    from kornia import enhance, filters
    from kornia.geometry import transform

    uniform = generator.uniform
    if config.flip and generator.random() < config.flip:
        images = transform.hflip(images)
    if config.shift or config.rotation or config.scale:
        matrix = _affine(config, generator, images.shape[-1])
        images = transform.affine(images, matrix.expand(len(images), -1, -1), mode="bilinear", padding_mode="border")
    if config.colour:
        limit = config.colour
        images = enhance.adjust_brightness(images, float(uniform(-limit, limit)))
        images = enhance.adjust_contrast(images, float(uniform(1 - limit, 1 + limit)))
        images = enhance.adjust_saturation(images, float(uniform(1 - limit, 1 + limit)))
        images = enhance.adjust_hue(images, float(uniform(-limit, limit)) * 0.1 * 2 * math.pi)
    if config.blur and generator.random() < config.blur:
        sigma = float(uniform(*_SIGMA))
        images = filters.gaussian_blur2d(images, (_KERNEL, _KERNEL), (sigma, sigma))
    if config.jpeg and generator.random() < config.jpeg:
        quality = torch.full((len(images),), float(uniform(*_QUALITY)))
        images = enhance.jpeg_codec_differentiable(images.clamp(0, 1), quality)
    return images


def _affine(config: AugmentationConfig, generator: np.random.Generator, side: int) -> Tensor:
    """Return the matrix [1, 2, 3] of a random shift, rotation and scaling around the centre, in pixels."""
    angle = math.radians(generator.uniform(-config.rotation, config.rotation))
    scale = 1 + generator.uniform(-config.scale, config.scale)
    shift = generator.uniform(-config.shift, config.shift, 2) * side
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    centre = np.full(2, (side - 1) / 2)
    moved = centre + shift - turn @ centre
    return torch.tensor(np.column_stack([turn, moved])[None], dtype=torch.float32)


@dataclass(frozen=True, slots=True)
class SoundChange:
    """Random change of the sound of one sample."""

    rate: float
    """Speech rate relative to the original."""
    semitones: float
    gain: float
    bands: tuple[int, int]
    """First and last mel band (exclusive) that is silent."""


def draw_sound_change(config: AugmentationConfig, generator: np.random.Generator) -> SoundChange | None:
    """Draw the change of a sample, or return None if the options are off."""
    if not config.changes_waveform and not config.mel_mask:
        return None
    rate = 1 + generator.uniform(-config.time_stretch, config.time_stretch)
    semitones = generator.uniform(-config.pitch_shift, config.pitch_shift)
    gain = 10 ** (generator.uniform(-config.level, config.level) / 20)
    bands = (0, 0)
    if config.mel_mask and generator.random() < config.mel_mask:
        first = int(generator.integers(0, 73))
        bands = first, first + 8
    return SoundChange(float(rate), float(semitones), float(gain), bands)


def augmented_mel(clip: Clip, change: SoundChange | None, steps: tuple[int, int, int]) -> MelReader:
    """Return a reader of the changed sound of a range of mel steps. Without a change, it reads the clip.

    ``steps``: first step, last step (exclusive), and step around which the sound is stretched.
    """
    first, last, centre = steps
    if change is None:
        return clip.mel
    altered = (change.rate, change.semitones, change.gain) != (1.0, 0.0, 1.0)
    start, stop = first - _MARGIN, last + _MARGIN
    if altered:
        mel = mel_spectrogram(_changed_wave(clip, change, start * HOP, stop * HOP, centre * HOP))
    else:
        mel = clip.mel(start, stop - start).copy()
    mel[change.bands[0] : change.bands[1]] = SILENT_LEVEL

    def read(step: int, count: int) -> Float:
        if step < first or step + count > last:
            raise ValueError(f"steps {step} to {step + count} are outside of {first} to {last}")
        return np.ascontiguousarray(mel[:, step - start : step - start + count])

    return read


def _changed_wave(clip: Clip, change: SoundChange, start: int, stop: int, centre: int) -> Float:
    """Return the samples [start, stop) of a clip after the change, float32. ``centre`` keeps its position."""
    import librosa

    # The package is not fully typed.
    effects: Any = librosa.effects
    wave = clip.wave(round(centre - (centre - start) * change.rate), round((stop - start) * change.rate))
    if change.rate != 1.0:
        wave = effects.time_stretch(wave, rate=change.rate, n_fft=_TRANSFORM, hop_length=_TRANSFORM // 8)
    if change.semitones:
        wave = effects.pitch_shift(
            wave, sr=16_000, n_steps=change.semitones, res_type="soxr_hq", n_fft=_TRANSFORM, hop_length=_TRANSFORM // 8
        )
    found = np.zeros(stop - start, np.float32)
    count = min(len(wave), len(found))
    found[:count] = wave[:count] * np.float32(change.gain)
    return np.clip(found, -1, 1)
