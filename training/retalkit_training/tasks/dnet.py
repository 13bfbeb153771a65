"""Trainer of D-Net, equations 1 to 3 of S, as PIRender publishes it (``trainers/face_trainer.py``).

The first stage trains the mapping and warping networks, the second one all networks. Each sample is a pair of random
frames of one clip, and both directions are trained.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit_metrics.lpips.interface import FEATURES as ALEXNET
from retalkit_metrics.lpips.interface import LINEAR
from retalkit_metrics.lpips.network import AlexNetFeatures, LinearLayers, distance
from retalkit_renderers.dnet.coefficients import EXPRESSIONS
from retalkit_renderers.dnet.interface import TEMPLATES
from retalkit_renderers.dnet.network import DNet
from retalkit_renderers.dnet.templates import PUBLISHED
from retalkit_training.loop.data import SHORTEST, Clip, TrainingData, check_data, usable_clips
from retalkit_training.loop.logs import grid
from retalkit_training.loop.task import Batch, BestMetric, Sample, Update
from retalkit_training.losses.dnet import DNetLoss
from retalkit_training.losses.terms import LossTerms
from retalkit_training.networks.loading import freeze, load_partial
from retalkit_training.networks.staged_dnet import DNetBatch, Stage, StagedDNet, both_directions, initialise_dnet
from retalkit_training.tasks.config import DNetConfig
from retalkit_training.tasks.frozen_weights import FrozenWeights
from retalkit_training.tasks.generators import to_rgb
from retalkit_training.tasks.supervision import perceptual_loss
from retalkit_training.tasks.syncnet import check_window_range
from retalkit_training.tasks.windows import choose_clip
from torch import Tensor, nn

_EVALUATION: Final = 2
_EVALUATED: Final = 8
_SHOWN: Final = 4


class DNetTask:
    """Training of D-Net in two stages."""

    name = "dnet"

    def __init__(self, config: DNetConfig, data: TrainingData, weights: FrozenWeights) -> None:
        """Create the network with weights from ``config.seed``, and load the VGG weights.

        Raises:
            RetalkitError: the dataset is unsuitable or has no coefficients, or weights are missing.
        """
        shortest = 1 if config.driving != "target" else SHORTEST
        check_data(data, 256, coefficients=True, shortest=shortest, sound=False)
        self.config, self.data_key = config, data.key
        self._clips = usable_clips(data.clips("train"), shortest, sound=False)
        self._validation = usable_clips(data.clips("val"), shortest, sound=False)
        self._expression = None if config.driving == "target" else expression_template(config.driving, weights)
        self._lpips = Lpips.from_weights(weights) if config.lpips else None
        loss = config.loss
        warp = perceptual_loss(loss.warp, weights)
        final = perceptual_loss(loss.final, weights)
        self._criterion = DNetLoss(loss, warp, final)
        self.network = DNet()
        if config.initialisation == "normal":
            initialise_dnet(self.network)
        self.networks: Mapping[str, nn.Module] = {"dnet": self.network}
        self.frozen: Sequence[nn.Module] = (self._criterion, *([] if self._lpips is None else [self._lpips]))
        self.best = BestMetric("validation/l1" if self._lpips is None else "validation/lpips", "lowest")
        self.averages: Mapping[str, float] = {"dnet": config.average_decay} if config.average_decay else {}

    def stage(self, step: int) -> Stage:
        """Return the training stage of a step. With a ``warp_weight`` of 0, there is no stage ``warp``."""
        return "warp" if 0 <= step < self.config.warp_steps and self.config.loss.warp_weight else "gen"

    def updates(self) -> Sequence[Update]:
        return [Update("generator", self._parameters, self.config.optimizer, self._loss)]

    def _parameters(self, step: int) -> list[nn.Parameter]:
        if self.stage(step) == "gen":
            return list(self.network.parameters())
        return [*self.network.mapping_net.parameters(), *self.network.warpping_net.parameters()]

    def start_step(self, step: int) -> bool:
        self.network.train()
        return self.config.reset_optimizer and step == self.config.warp_steps and step > 0

    def sample(self, generator: np.random.Generator, step: int) -> Sample:
        return self._pair(generator, choose_clip(generator, self._clips))

    def _pair(self, generator: np.random.Generator, clip: Clip) -> Sample:
        source, target = (int(index) for index in generator.integers(0, clip.frame_count, 2))
        if self._expression is not None:
            target = source
        found: Sample = {}
        for name, index in (("source", source), ("target", target)):
            found[f"{name}_image"] = face_image(clip, index, self.config.size)
            found[f"{name}_coefficients"] = coefficient_window(clip, index, self.config.columns)
        if self._expression is not None:
            found["target_coefficients"][:EXPRESSIONS] = self._expression[:, None]
        return found

    def check(self, batch: Batch) -> None:
        image = (batch["source_image"] + 1) / 2
        check_window_range(image, torch.linspace(-1, 1, 8).expand(2, -1))

    def _loss(self, batch: Batch, shared: MutableMapping[str, Tensor], step: int) -> LossTerms:
        if self._expression is None:
            pairs = both_directions(*(batch[name] for name in _PAIR))
        else:
            pairs = DNetBatch(batch["source_image"], batch["target_coefficients"], batch["target_image"])
        prediction = StagedDNet(self.network)(pairs.images, pairs.coefficients, self.stage(step))
        return self._criterion(prediction, pairs.targets)

    def evaluate(self, networks: Mapping[str, nn.Module], step: int) -> dict[str, float]:
        """Return the mean absolute differences, in [0, 1], of the output and of the unedited source to the target.

        With the option ``lpips``, the result contains LPIPS of the output. In a run, ``networks`` contains the moving
        average, as in PIRender.
        """
        if (batch := self._evaluation_batch(networks["dnet"])) is None:
            return {}
        found = networks["dnet"](batch["source_image"], batch["target_coefficients"])
        shown = found.image if self.stage(step - 1) == "gen" else found.warped
        values = {
            "validation/l1": float((shown - batch["target_image"]).abs().mean() / 2),
            "validation/source_l1": float((batch["source_image"] - batch["target_image"]).abs().mean() / 2),
        }
        if self._lpips is not None:
            values["validation/lpips"] = float(self._lpips(shown, batch["target_image"]).mean())
        return values

    def images(self, networks: Mapping[str, nn.Module], step: int) -> NDArray[np.uint8] | None:
        if (batch := self._evaluation_batch(networks["dnet"], _SHOWN)) is None:
            return None
        found = networks["dnet"](batch["source_image"], batch["target_coefficients"])
        columns = (batch["source_image"], found.warped, found.image, batch["target_image"])
        rows = range(len(batch["source_image"]))
        return grid([[to_rgb(column[row], signed=True, bgr=False) for column in columns] for row in rows])

    def _evaluation_batch(self, network: nn.Module, count: int = _EVALUATED) -> Batch | None:
        if not self._validation:
            return None
        device = next(network.parameters()).device
        generators = (np.random.default_rng([self.config.seed, _EVALUATION, index]) for index in range(count))
        samples = [self._pair(each, choose_clip(each, self._validation)) for each in generators]
        return {name: torch.from_numpy(np.stack([s[name] for s in samples])).to(device) for name in samples[0]}


class Lpips(nn.Module):
    """LPIPS with AlexNet (Zhang et al., CVPR 2018), as the metric ``lpips``."""

    def __init__(self, features: AlexNetFeatures, linear: LinearLayers) -> None:
        super().__init__()
        self.features, self.linear = freeze(features), freeze(linear)

    @classmethod
    def from_weights(cls, weights: FrozenWeights) -> Lpips:
        """Create the network. Raises WeightsError if the weights are missing."""
        features, linear = AlexNetFeatures(), LinearLayers()
        for network, name in ((features, ALEXNET), (linear, LINEAR)):
            load_partial(network, weights.stored(name, "lpips=true"), f"weights '{name}'")
        return cls(features, linear)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the distance [B] of images [B, 3, H, W], RGB in [-1, 1], at least 64 pixels wide and high."""
        return distance(self.features, self.linear, output, target)


def expression_template(name: Literal["neutral", "smile"], weights: FrozenWeights) -> NDArray[np.float32]:
    """Return a published expression template, float32 [64]. Raises WeightsError if it is not in the store."""
    tensors = weights.stored(TEMPLATES, f"driving={name}")
    return tensors[PUBLISHED[name]].float().numpy().reshape(EXPRESSIONS)


_PAIR: Final = ("source_image", "target_image", "source_coefficients", "target_coefficients")


def face_image(clip: Clip, index: int, size: int) -> NDArray[np.float32]:
    """Return a 256-pixel face as [3, size, size], RGB in [-1, 1]. Smaller sizes are means of blocks."""
    image = clip.faces(256, [index])[0, :, :, ::-1].astype(np.float32) / 127.5 - 1
    block = 256 // size
    if block > 1:
        image = image.reshape(size, block, size, block, 3).mean((1, 3))
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def coefficient_window(clip: Clip, index: int, columns: int) -> NDArray[np.float32]:
    """Return coefficients [73, columns] of the frames around ``index``, of which the first and last are repeated.

    27 columns are frame - 13 to frame + 13 (PIRender), 26 are frame - 13 to frame + 12 (VideoReTalking).
    """
    frames = np.clip(np.arange(columns) - columns // 2 + index, 0, clip.frame_count - 1)
    rows = clip.coefficients([int(frame) for frame in frames])
    assert rows is not None
    return np.ascontiguousarray(rows.T, np.float32)
