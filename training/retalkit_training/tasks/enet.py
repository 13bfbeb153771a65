"""Trainer of E-Net, equations 8 to 12 of S. No trainer of E-Net was published.

Data flow: a 384-pixel frame and a reference are reduced to 96 pixels, the frozen L-Net generates the lower half from
the sound, and E-Net generates the 384-pixel face with the identity code of a random reference frame of the same clip.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit_enhancers.enet.network import NOISE_SIZES, ENet
from retalkit_renderers.lnet.network import LNet
from retalkit_training.loop.data import MEL_STEPS, Clip, TrainingData, check_data, last_start, usable_clips
from retalkit_training.loop.logs import grid
from retalkit_training.loop.task import Batch, BestMetric, Sample, Update
from retalkit_training.losses.adversarial import PathLength, discriminator_loss, path_length_penalty, r1_penalty
from retalkit_training.losses.enet import ENetLoss, discriminator_images
from retalkit_training.losses.terms import LossTerms, weighted_sum
from retalkit_training.mel_windows import expert_window
from retalkit_training.networks.float32_fourier import keep_fourier_units_in_float32
from retalkit_training.networks.loading import freeze
from retalkit_training.networks.stylegan2_discriminator import StyleGan2Discriminator
from retalkit_training.tasks.config import ENetConfig
from retalkit_training.tasks.frozen_weights import FrozenWeights, load_exactly
from retalkit_training.tasks.generators import to_rgb
from retalkit_training.tasks.supervision import identity_loss, perceptual_loss
from retalkit_training.tasks.syncnet import check_window_range
from retalkit_training.tasks.windows import choose_clip
from torch import Tensor, nn
from torch.nn import functional

SIZE: Final = 384
LOW_SIZE: Final = 96
_EVALUATION: Final = 2
_EVALUATED: Final = 4


class ENetTask:
    """Training of E-Net and its discriminator, with L-Net frozen in evaluation mode."""

    name = "enet"
    best = BestMetric("validation/l1", "lowest")

    def __init__(self, config: ENetConfig, data: TrainingData, weights: FrozenWeights) -> None:
        """Create the networks with weights from ``config.seed``, and load the frozen networks.

        Raises:
            RetalkitError: the dataset is unsuitable, or weights are missing.
        """
        check_data(data, SIZE)
        config.check_lnet()
        assert config.lnet is not None
        self.config, self.data_key = config, data.key
        self._clips = usable_clips(data.clips("train"))
        self._validation = usable_clips(data.clips("val"))
        self._lnet = LNet()
        stored = config.lnet == "published"
        found = weights.stored("lnet", "lnet=published") if stored else weights.file(Path(config.lnet))
        tensors = {name.removeprefix("low_res."): value for name, value in found.items()}
        load_exactly(self._lnet, tensors, f"lnet: {config.lnet}")
        freeze(self._lnet)
        keep_fourier_units_in_float32(self._lnet)
        loss = config.loss
        perceptual = perceptual_loss(loss.perceptual, weights) if loss.perceptual_weight else None
        identity = identity_loss(loss.identity, weights) if loss.identity_weight else None
        self._criterion = ENetLoss(loss, perceptual, identity)
        self.network = ENet()
        networks: dict[str, nn.Module] = {"enet": self.network}
        self.discriminator: StyleGan2Discriminator | None = None
        if loss.adversarial_weight:
            options = loss.adversarial
            self.discriminator = StyleGan2Discriminator(
                options.size, narrow=options.narrow, deviation_groups=options.deviation_groups
            )
            networks["discriminator"] = self.discriminator
        self.networks: Mapping[str, nn.Module] = networks
        self.frozen: Sequence[nn.Module] = (self._criterion, self._lnet)
        self.averages: Mapping[str, float] = {"enet": config.average_decay} if config.average_decay else {}
        self._path_mean = torch.zeros(())
        """Running mean of the path lengths."""

    def updates(self) -> Sequence[Update]:
        config = self.config
        updates = [
            Update("generator", lambda step: list(self.network.parameters()), config.optimizer, self._generator_loss)
        ]
        if (judge := self.discriminator) is not None:
            updates.append(
                Update(
                    "discriminator",
                    lambda step: list(judge.parameters()),
                    config.discriminator_optimizer,
                    self._discriminator_loss,
                )
            )
        return updates

    def start_step(self, step: int) -> bool:
        for network in self.networks.values():
            network.train()
        # In training mode, the batch norms and power iterations of the frozen L-Net would change.
        self._lnet.eval()
        return False

    def sample(self, generator: np.random.Generator, step: int) -> Sample:
        found = self._frame(generator, choose_clip(generator, self._clips))
        # The noise belongs to the sample, so that it does not depend on the number of processes.
        for level, size in enumerate(NOISE_SIZES):
            found[f"noise{level}"] = generator.standard_normal((1, size, size), np.float32)
        if self._uses_path_length(step):
            found["path_noise"] = generator.standard_normal((3, SIZE, SIZE), np.float32)
        return found

    def _uses_path_length(self, step: int) -> bool:
        options = self.config.loss.adversarial
        return options.path_length_weight > 0 and step % options.path_length_interval == 0

    def _frame(self, generator: np.random.Generator, clip: Clip) -> Sample:
        index = int(generator.integers(0, last_start(clip) + 1))
        other = int(generator.integers(0, clip.frame_count))
        target, reference = (
            (clip.faces(SIZE, [frame])[0].astype(np.float32) / 255).transpose(2, 0, 1) for frame in (index, other)
        )
        mel = clip.mel(expert_window(index), MEL_STEPS)[None]
        return {"target": target, "reference": reference, "mel": mel}

    def check(self, batch: Batch) -> None:
        check_window_range(batch["target"], batch["mel"])

    def low_resolution_faces(self, batch: Batch) -> Tensor:
        """Return the frozen L-Net's faces [B, 3, 96, 96]."""
        with torch.no_grad():
            masked = batch["target"].clone()
            masked[:, :, SIZE // 2 :] = 0
            both = torch.cat([masked, batch["reference"]], dim=1)
            low = functional.interpolate(both, size=(LOW_SIZE, LOW_SIZE), mode="bilinear", align_corners=False)
            return self._lnet(batch["mel"], low)

    def _generate(self, network: nn.Module, batch: Batch, *, noisy: bool) -> Tensor:
        noise = [batch[f"noise{level}"] for level in range(len(NOISE_SIZES))] if noisy else None
        return network(self.low_resolution_faces(batch), batch["reference"], noise)

    def _generator_loss(self, batch: Batch, shared: MutableMapping[str, Tensor], step: int) -> LossTerms:
        faces = self._generate(self.network, batch, noisy=True)
        shared["faces"] = faces.detach()
        loss = self._criterion(faces, batch["target"], self.discriminator)
        if not self._uses_path_length(step):
            return loss
        options = self.config.loss.adversarial
        found = self._path_length(batch)
        total = loss.total + options.path_length_weight * options.path_length_interval * found.penalty
        return LossTerms(total, {**loss.terms, "path_length": found.penalty.detach()})

    def _path_length(self, batch: Batch) -> PathLength:
        """Return the path length penalty with respect to the identity codes, and update the running mean.

        GPEN computes it in a separate optimiser step, here it is part of the same step.
        """
        codes = self.network.encode(batch["reference"])[:, None]
        faces = self.network.decode(self.low_resolution_faces(batch), codes[:, 0])
        mean = self._path_mean.to(faces.device)
        decay = self.config.loss.adversarial.path_length_decay
        found = path_length_penalty(faces, codes, mean, decay, batch["path_noise"])
        self._path_mean = found.mean
        return found

    def task_state(self) -> dict[str, Any]:
        return {"path_mean": float(self._path_mean)}

    def load_task_state(self, state: Mapping[str, Any]) -> None:
        self._path_mean = torch.tensor(state.get("path_mean", 0.0))

    def after_evaluation(self, values: Mapping[str, float]) -> None:
        """Do nothing, because no option depends on an evaluation."""

    def _discriminator_loss(self, batch: Batch, shared: MutableMapping[str, Tensor], step: int) -> LossTerms:
        judge, options = self.discriminator, self.config.loss.adversarial
        assert judge is not None
        real = discriminator_images(batch["target"], judge.size)
        generated = discriminator_images(shared["faces"], judge.size)
        penalised = options.r1_weight > 0 and step % options.r1_interval == 0
        real.requires_grad_(penalised)
        logits = judge(real)
        terms = {"adversarial": (1.0, discriminator_loss(logits, judge(generated), options.kind))}
        if penalised:
            terms["r1"] = options.r1_weight / 2 * options.r1_interval, r1_penalty(logits, real)
        return weighted_sum(terms)

    def evaluate(self, networks: Mapping[str, nn.Module], step: int) -> dict[str, float]:
        """Return the mean absolute differences of the output and of the enlarged L-Net face to the target."""
        if (batch := self._evaluation_batch(networks["enet"])) is None:
            return {}
        low = self.low_resolution_faces(batch)
        enlarged = functional.interpolate(low, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
        found = self._generate(networks["enet"], batch, noisy=False)
        return {
            "validation/l1": float((found - batch["target"]).abs().mean()),
            "validation/enlarged_l1": float((enlarged - batch["target"]).abs().mean()),
        }

    def images(self, networks: Mapping[str, nn.Module], step: int) -> NDArray[np.uint8] | None:
        if (batch := self._evaluation_batch(networks["enet"])) is None:
            return None
        low = functional.interpolate(self.low_resolution_faces(batch), size=(SIZE, SIZE))
        found = self._generate(networks["enet"], batch, noisy=False)
        columns = (low, batch["reference"], found, batch["target"])
        return grid([[to_rgb(column[row]) for column in columns] for row in range(len(found))])

    def _evaluation_batch(self, network: nn.Module) -> Batch | None:
        if not self._validation:
            return None
        device = next(network.parameters()).device
        generators = (np.random.default_rng([self.config.seed, _EVALUATION, index]) for index in range(_EVALUATED))
        samples = [self._frame(each, choose_clip(each, self._validation)) for each in generators]
        return {name: torch.from_numpy(np.stack([s[name] for s in samples])).to(device) for name in samples[0]}
