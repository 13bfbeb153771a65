"""Samples, checks and evaluation that the trainers of L-Net and Wav2Lip's generator share.

Each sample is a window of five consecutive frames with the lower half masked, five reference frames of the same clip,
and the sound of each frame (Wav2Lip, ``wav2lip_train.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.errors import InputError
from retalkit_training.augmentation import augment_frames, augmented_mel, check_packages, draw_sound_change
from retalkit_training.augmentation_config import AugmentationConfig
from retalkit_training.frame_windows import flatten_frames, flatten_mels, unflatten_frames
from retalkit_training.loop.data import WINDOW_FRAMES, Clip, TrainingData, check_data, usable_clips
from retalkit_training.loop.logs import grid
from retalkit_training.loop.task import Batch, BestMetric, Sample
from retalkit_training.tasks.config import GeneratorConfig
from retalkit_training.tasks.syncnet import check_window_range
from retalkit_training.tasks.windows import (
    choose_clip,
    edited_faces,
    expert_mel,
    faces,
    frame_mels,
    random_start,
    reference_frames,
    window_steps,
)
from torch import Tensor, nn

_EVALUATION: Final = 2
_EVALUATED: Final = 8
"""Number of windows of each evaluation."""
_SHOWN: Final = 4
"""Number of rows of the image grid."""


class WindowSampler:
    """Windows of a dataset's clips."""

    best = BestMetric("validation/l1", "lowest")

    def __init__(self, config: GeneratorConfig, data: TrainingData, reference_expression: str = "none") -> None:
        """``reference_expression``: expression editor of the reference faces, or ``none`` for the frames themselves.

        Raises:
            InputError: the dataset is unsuitable, or has no reference faces of this editor.
        """
        check_data(data, 96)
        check_packages(config.augmentation)
        if reference_expression not in ("none", data.reference_editor):
            raise InputError(
                f"reference_expression: {data.name} has no reference faces of '{reference_expression}' (stored: "
                f"{data.reference_editor}); run `retalkit dataset prepare --references {reference_expression}` with "
                "all videos, or set reference_expression=none",
                code="missing-references",
            )
        self._config = config
        self._edited = reference_expression != "none"
        self.clips = usable_clips(data.clips("train"))
        self.validation = usable_clips(data.clips("val"))

    def sample(self, generator: np.random.Generator, clips: Sequence[Clip] | None = None) -> Sample:
        """Return one sample of the training clips, or one of the given clips without augmentation."""
        options = self._config.augmentation if clips is None else AugmentationConfig()
        clip = choose_clip(generator, self.clips if clips is None else clips)
        # Wav2Lip's alignment has no sound for frame 0.
        start = random_start(generator, clip, first=int(self._config.mel_alignment == "wav2lip"))
        shown = reference_frames(generator, clip, start, self._config.references)
        target = faces(clip, range(start, start + WINDOW_FRAMES))
        reference = edited_faces(clip, shown) if self._edited else faces(clip, shown)
        target, reference = augment_frames(options, generator, [target, reference])
        alignment = self._config.mel_alignment
        mel = augmented_mel(clip, draw_sound_change(options, generator), window_steps(start, alignment))
        return {
            "target": target,
            "reference": reference,
            "mels": frame_mels(mel, start, alignment),
            "mel": expert_mel(mel, start),
        }

    def validation_batch(self) -> Batch | None:
        """Return windows of the validation speakers, the same in every evaluation, or None if there are none."""
        if not self.validation:
            return None
        samples = [
            self.sample(np.random.default_rng([self._config.seed, _EVALUATION, index]), self.validation)
            for index in range(_EVALUATED)
        ]
        return {name: torch.from_numpy(np.stack([each[name] for each in samples])) for name in samples[0]}


def generate(network: nn.Module, batch: Batch) -> Tensor:
    """Return generated windows [B, 3, 5, 96, 96], BGR in [0, 1]."""
    target = batch["target"]
    images = flatten_frames(torch.cat([mask_lower_half(target), batch["reference"]], dim=1))
    return unflatten_frames(network(flatten_mels(batch["mels"]), images), len(target))


def mask_lower_half(windows: Tensor) -> Tensor:
    """Return windows [B, 3, T, H, W] with zeros in the lower half."""
    masked = windows.clone()
    masked[:, :, :, windows.shape[3] // 2 :] = 0
    return masked


def check_windows(batch: Batch) -> None:
    """Check the first batch. Raises InputError."""
    check_window_range(batch["target"], batch["mels"])


def evaluate_generator(
    network: nn.Module, batch: Batch | None, sync: Callable[[Tensor, Tensor], Tensor] | None
) -> dict[str, float]:
    """Return metrics of validation windows.

    ``validation/l1``: mean absolute difference. ``validation/reference_l1``: the same for the reference frames in place
    of the output. ``validation/sound_effect``: mean absolute change of the lower half if each window receives the sound
    of another window. A generator that ignores the sound has 0. ``validation/sync``: lip-sync loss.
    """
    if batch is None:
        return {}
    device = next(network.parameters()).device
    batch = {name: value.to(device) for name, value in batch.items()}
    found = generate(network, batch)
    other = generate(network, {**batch, "mels": batch["mels"].roll(1, 0)})
    target = batch["target"]
    half = target.shape[3] // 2
    values = {
        "validation/l1": float((found - target).abs().mean()),
        "validation/reference_l1": float((batch["reference"] - target).abs().mean()),
        "validation/sound_effect": float((found - other)[:, :, :, half:].abs().mean()),
    }
    if sync is not None:
        values["validation/sync"] = float(sync(batch["mel"], found))
    return values


def generator_images(network: nn.Module, batch: Batch | None) -> NDArray[np.uint8] | None:
    """Return a grid with the columns source, reference, output and target."""
    if batch is None:
        return None
    device = next(network.parameters()).device
    batch = {name: value[:_SHOWN].to(device) for name, value in batch.items()}
    columns = (mask_lower_half(batch["target"]), batch["reference"], generate(network, batch), batch["target"])
    return grid([[to_rgb(column[row, :, 0]) for column in columns] for row in range(len(batch["target"]))])


def to_rgb(image: Tensor, *, signed: bool = False, bgr: bool = True) -> NDArray[np.uint8]:
    """Return an image [3, H, W] as RGB uint8 [H, W, 3]. ``signed``: whether values are in [-1, 1]."""
    image = (image.detach().float().cpu() + 1) / 2 if signed else image.detach().float().cpu()
    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return np.ascontiguousarray(pixels[:, :, ::-1]) if bgr else pixels
