"""Interface between the training loop and the trainers of the networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from retalkit_training.averaging import MovingAverage
from retalkit_training.loop.config import LoopConfig, OptimizerConfig
from retalkit_training.losses.terms import LossTerms
from torch import Tensor, nn

Batch = Mapping[str, Tensor]
Sample = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class BestMetric:
    """Evaluation result that selects the best checkpoint."""

    name: str
    direction: Literal["highest", "lowest"]

    def is_better(self, value: float, best: float | None) -> bool:
        if math.isnan(value):
            return False
        if best is None:
            return True
        return value > best if self.direction == "highest" else value < best


@dataclass(frozen=True, slots=True)
class Update:
    """One optimiser of a training step. A step of a GAN has two."""

    name: str
    parameters: Callable[[int], list[nn.Parameter]]
    """Return the parameters that are trained in a step. All others receive no gradient during this update."""
    optimizer: OptimizerConfig
    loss: Callable[[Batch, MutableMapping[str, Tensor], int], LossTerms]
    """Return the loss for a batch, a mapping that the updates of this step share, and the step."""
    active: Callable[[int], bool] = lambda step: True
    """Whether the update takes place in a step."""


class Task(Protocol):
    """Networks, losses, samples and metrics of one trainer."""

    @property
    def name(self) -> str: ...

    @property
    def config(self) -> LoopConfig: ...

    @property
    def data_key(self) -> str:
        """Key of the dataset's content."""
        ...

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Networks that are stored in checkpoints."""
        ...

    @property
    def frozen(self) -> Sequence[nn.Module]:
        """Losses and networks that are not trained and not stored."""
        ...

    @property
    def averages(self) -> Mapping[str, float | MovingAverage]:
        """Moving average of the parameters, or its decay, by network."""
        ...

    @property
    def best(self) -> BestMetric:
        """Metric that selects the best checkpoint."""
        ...

    def updates(self) -> Sequence[Update]:
        """Return the updates of a step in order."""
        ...

    def start_step(self, step: int) -> bool:
        """Set the networks' modes for a step. Return whether all optimisers start anew, with empty moments."""
        ...

    def sample(self, generator: np.random.Generator, step: int) -> Sample:
        """Return one training sample. The result depends only on the generator and the step."""
        ...

    def check(self, batch: Batch) -> None:
        """Check the first batch. Raises RetalkitError."""
        ...

    def evaluate(self, networks: Mapping[str, nn.Module], step: int) -> dict[str, float]:
        """Return metrics of the validation speakers, or an empty mapping if there are none."""
        ...

    def images(self, networks: Mapping[str, nn.Module], step: int) -> NDArray[np.uint8] | None:
        """Return a grid of images, RGB [H, W, 3], or None."""
        ...


@runtime_checkable
class StatefulTask(Protocol):
    """Task whose losses depend on earlier steps or evaluations, in addition to ``Task``."""

    def task_state(self) -> dict[str, Any]:
        """Return the state that checkpoints contain, as numbers and strings."""
        ...

    def load_task_state(self, state: Mapping[str, Any]) -> None:
        """Restore the state. The mapping is empty if the checkpoint contains none."""
        ...

    def after_evaluation(self, values: Mapping[str, float]) -> None:
        """Receive the results of a periodic evaluation, on all processes."""
        ...
