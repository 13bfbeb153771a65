"""Trainer of the lip-sync expert (Prajwal et al., ACM Multimedia 2020, ``color_syncnet_train.py``).

Samples: a random window of a clip with its sound (label 1), or with equal probability another window of the same clip
with this sound (label 0). Loss: binary cross-entropy of the cosine similarity.

The optional first phase trains with a contrastive loss, the cross-entropy of each window over all sounds of the batch
and of each sound over all windows (Chung et al., "In defence of metric learning for speaker recognition", 2020, and
joonson/syncnet_trainer). A falling training loss does not show that the network has learned anything: evaluation uses
other speakers, and reports the area under the ROC curve.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.errors import InputError
from retalkit_training.augmentation import augment_frames, augmented_mel, check_packages, draw_sound_change
from retalkit_training.loop.data import WINDOW_FRAMES, TrainingData, check_data, usable_clips
from retalkit_training.loop.logs import grid
from retalkit_training.loop.task import Batch, BestMetric, Sample, Update
from retalkit_training.losses.sync import cosine_cross_entropy
from retalkit_training.losses.terms import LossTerms, weighted_sum
from retalkit_training.networks.batch_statistics import gather_batch
from retalkit_training.networks.syncnet_expert import Embeddings, SyncNetExpert
from retalkit_training.tasks.config import SyncNetConfig
from retalkit_training.tasks.metrics import area_under_curve
from retalkit_training.tasks.windows import (
    choose_clip,
    expert_mel,
    faces,
    mouths,
    mouths_of,
    other_start,
    random_start,
    window_steps,
)
from torch import Tensor, nn
from torch.nn import functional

_EVALUATION: Final = 2
"""Number that separates the random numbers of evaluations from others with the same seed."""
_BATCH: Final = 32
_SHOWN: Final = 8
"""Number of pairs in the image sheet."""


class SyncNetTask:
    """Training of the lip-sync expert."""

    name = "syncnet"
    best = BestMetric("validation/auc", "highest")

    def __init__(self, config: SyncNetConfig, data: TrainingData) -> None:
        """Create the network with weights from ``config.seed``.

        Raises:
            InputError: the dataset is unsuitable.
        """
        check_data(data, 96)
        check_packages(config.augmentation)
        self.config, self.data_key = config, data.key
        self._clips = usable_clips(data.clips("train"))
        self._validation = usable_clips(data.clips("val"))
        self.expert = SyncNetExpert(config.channels)
        self.networks: Mapping[str, nn.Module] = {"expert": self.expert}
        self.frozen: Sequence[nn.Module] = ()
        self.averages: Mapping[str, float] = {}
        self._pairs: dict[str, Tensor] | None = None

    def updates(self) -> Sequence[Update]:
        return [Update("expert", lambda step: list(self.expert.parameters()), self.config.optimizer, self._loss)]

    def start_step(self, step: int) -> bool:
        self.expert.train()
        return False

    def sample(self, generator: np.random.Generator, step: int) -> Sample:
        clip = choose_clip(generator, self._clips)
        start = random_start(generator, clip)
        synchronous = step < self.config.contrastive_steps or generator.random() < 0.5
        shown = start if synchronous else other_start(generator, clip, start)
        options = self.config.augmentation
        if options.changes_images:
            whole = faces(clip, range(shown, shown + WINDOW_FRAMES))
            window = mouths_of(augment_frames(options, generator, [whole])[0])
        else:
            window = mouths(clip, shown)
        if self.config.flip and generator.random() < 0.5:
            window = np.ascontiguousarray(window[:, :, ::-1])
        mel = augmented_mel(clip, draw_sound_change(options, generator), window_steps(start))
        return {"mouths": window, "mel": expert_mel(mel, start), "label": np.array([synchronous], np.float32)}

    def check(self, batch: Batch) -> None:
        check_window_range(batch["mouths"], batch["mel"])

    def _loss(self, batch: Batch, shared: MutableMapping[str, Tensor], step: int) -> LossTerms:
        embeddings = self.expert(batch["mel"], batch["mouths"])
        if step < self.config.contrastive_steps:
            loss = contrastive_loss(embeddings, self.config.contrastive_scale)
            return weighted_sum({"contrastive": (1.0, loss)})
        loss = cosine_cross_entropy(embeddings.cosines(), batch["label"].flatten(), self.config.loss)
        return weighted_sum({"cross_entropy": (1.0, loss)})

    def evaluate(self, networks: Mapping[str, nn.Module], step: int) -> dict[str, float]:
        """Return the cross-entropy and the area under the ROC curve for pairs of the validation speakers."""
        if not self._validation:
            return {}
        if self._pairs is None:
            self._pairs = self._evaluation_pairs()
        device = next(networks["expert"].parameters()).device
        pairs = {name: value.to(device) for name, value in self._pairs.items()}
        cosines = torch.cat(
            [
                networks["expert"](*part).cosines()
                for part in zip(pairs["mel"].split(_BATCH), pairs["mouths"].split(_BATCH), strict=True)
            ]
        )
        labels = pairs["label"].flatten()
        loss = cosine_cross_entropy(cosines, labels, self.config.loss)
        scores, truths = cosines.float().cpu().numpy(), labels.cpu().numpy()
        return {
            "validation/loss": float(loss),
            "validation/auc": area_under_curve(scores, truths),
            "validation/accuracy": float(((scores > 0.5) == (truths > 0.5)).mean()),
        }

    def images(self, networks: Mapping[str, nn.Module], step: int) -> NDArray[np.uint8] | None:
        """Return a sheet of evaluation pairs. Each row has five mouths, the label of the pair and its cosine."""
        if not self._validation:
            return None
        pairs = self._pairs = self._pairs or self._evaluation_pairs()
        device = next(networks["expert"].parameters()).device
        shown = {name: value[:_SHOWN] for name, value in pairs.items()}
        cosines = networks["expert"](shown["mel"].to(device), shown["mouths"].to(device)).cosines().float().cpu()
        rows: list[list[NDArray[np.uint8]]] = []
        for window, label, cosine in zip(shown["mouths"], shown["label"].flatten(), cosines, strict=True):
            frames = window.unflatten(0, (WINDOW_FRAMES, 3)).permute(0, 2, 3, 1).flip(-1)
            images = (frames * 255).round().to(torch.uint8).numpy()
            rows.append([*images, _caption("in sync" if label else "shifted", f"{cosine:.2f}", images[0].shape)])
        return grid(rows)

    def _evaluation_pairs(self) -> dict[str, Tensor]:
        """Return pairs that are the same in every evaluation. Each has a synchronous and another window."""
        samples: list[Sample] = []
        for index in range(self.config.evaluation_pairs // 2):
            generator = np.random.default_rng([self.config.seed, _EVALUATION, index])
            clip = choose_clip(generator, self._validation)
            start = random_start(generator, clip)
            sound = expert_mel(clip.mel, start)
            for label, shown in ((1, start), (0, other_start(generator, clip, start))):
                samples.append({"mouths": mouths(clip, shown), "mel": sound, "label": np.array([label], np.float32)})
        return {name: torch.from_numpy(np.stack([each[name] for each in samples])) for name in samples[0]}


def _caption(label: str, value: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return an image with two lines of text."""
    image = np.full(shape, 255, np.uint8)
    for line, text in enumerate((label, value)):
        cv2.putText(image, text, (6, 20 + 18 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return image


def contrastive_loss(embeddings: Embeddings, scale: float) -> Tensor:
    """Return the mean cross-entropy of windows over sounds and of sounds over windows, over all processes."""
    mouth, speech = gather_batch(embeddings.mouth), gather_batch(embeddings.speech)
    with torch.autocast(mouth.device.type, enabled=False):
        similarities = scale * mouth.float() @ speech.float().T
        labels = torch.arange(len(similarities), device=similarities.device)
        one, other = (functional.cross_entropy(each, labels) for each in (similarities, similarities.T))
    return (one + other) / 2


def check_window_range(images: Tensor, mel: Tensor) -> None:
    """Check the value range and content of faces and sound.

    Raises:
        InputError: the values are out of range, all images are uniform, or all sound is silent.
    """
    if float(images.min()) < 0 or float(images.max()) > 1:
        raise InputError("first batch: face values are outside of [0, 1]", code="value-range")
    if float(mel.min()) < -4.001 or float(mel.max()) > 4.001:
        raise InputError("first batch: mel values are outside of [-4, 4]", code="value-range")
    if float(images.flatten(1).std(1).max()) < 1e-3:
        raise InputError("first batch: all face images are uniform", code="uniform-images")
    if float(mel.flatten(1).std(1).max()) < 1e-3:
        raise InputError(
            "first batch: all clips are silent, so that the network cannot learn from the sound; run `retalkit dataset "
            "check`",
            code="silent-dataset",
        )
