"""Training steps, evaluation, checkpoints and exact resume of one run."""

from __future__ import annotations

import copy
import hashlib
import random
import resource
import sys
import time
from collections.abc import Callable, Generator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from retalkit.errors import ConfigError, InputError, RetalkitError
from retalkit_training.averaging import MovingAverage
from retalkit_training.loop.batches import batches_from, load_batches, part_size
from retalkit_training.loop.checkpoints import CheckpointFolder, read_state
from retalkit_training.loop.config import OptimizerConfig
from retalkit_training.loop.distributed import (
    average_gradients,
    broadcast_state,
    broadcast_values,
    mean_over_processes,
    process_state,
)
from retalkit_training.loop.logs import RunLog, is_finite
from retalkit_training.loop.precision import autocast, forward_precision
from retalkit_training.loop.task import Batch, StatefulTask, Task, Update
from retalkit_training.networks.batch_statistics import local_statistics, synchronise_statistics
from torch import Tensor, nn

CHECKPOINTS: Final = "checkpoints"
_FORMAT: Final = 1
"""Version of the checkpoints' contents."""
_DRY_STEPS: Final = 3


@dataclass(frozen=True, slots=True)
class Progress:
    """State after one step."""

    step: int
    """Number of finished steps."""
    values: Mapping[str, float]
    """Scalars that were logged after this step, or an empty mapping."""
    steps_per_second: float


@dataclass(frozen=True, slots=True)
class DryRun:
    """Cost of a training step on this machine."""

    steps_per_second: float
    memory: int
    """Peak memory in bytes: of the GPU, or of the process on the CPU."""
    device: str
    parameters: int
    """Number of trained parameters."""


class Trainer:
    """Training run of one task.

    Each step seeds the random number generators from the seed, the step and the process. The samples depend on the seed
    and on their number only. A checkpoint therefore needs no position in the data, and a run that resumes at a
    checkpoint ends with the same weights as an uninterrupted run.
    """

    def __init__(self, task: Task, *, device: str = "auto", folder: Path | None = None) -> None:
        """Move the networks to the device. ``folder``: directory of the run, not needed for ``dry_run``.

        Raises:
            ConfigError: the precision is not available on the device, or the batch cannot be divided.
        """
        config = task.config
        state = process_state(device)
        self.task, self.config, self.folder = task, config, folder
        self.device: torch.device = state.device
        self.process: int = state.process_index
        self.processes: int = state.num_processes
        part_size(config, self.processes)
        self.precision: str = forward_precision(config.precision, self.device)
        if self.precision == "fp16" and self.device.type != "cuda":
            raise ConfigError(
                f"precision: fp16 requires a CUDA GPU, this run uses {self.device.type}; use bf16 or fp32",
                code="unsupported-precision",
            )
        self.networks = {name: network.to(self.device) for name, network in task.networks.items()}
        for module in task.frozen:
            module.to(self.device)
        broadcast_state(self.networks.values())
        if config.synchronised_batch_norm and self.processes > 1:
            # A frozen expert uses batch statistics with the option ``batch_statistics``.
            for network in (*self.networks.values(), *task.frozen):
                synchronise_statistics(network)
        self._frozen_parameters, self._frozen_modules = _frozen_parts(self.networks, config.frozen)
        self.averages = {
            name: copy.deepcopy(self.networks[name]).requires_grad_(False).eval() for name in task.averages
        }
        self._moving = {
            name: value if isinstance(value, MovingAverage) else MovingAverage(value)
            for name, value in task.averages.items()
        }
        self._updates = list(task.updates())
        self._optimizers = {update.name: self._optimizer(update) for update in self._updates}
        self._scalers = {
            update.name: torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
            for update in self._updates
        }
        self._sums: dict[str, Tensor] = {}
        self._summed = 0
        self._best: float | None = None
        self._all_parameters = [each for network in self.networks.values() for each in network.parameters()]

    # ------------------------------------------------------------------ runs

    def run(self, report: Callable[[Progress], None] = lambda progress: None) -> int:
        """Train until the last step, and return the number of finished steps.

        The run resumes at the newest checkpoint of the directory. ``report`` is called after each step.

        Raises:
            InputError: the checkpoint belongs to another dataset or another trainer.
            RetalkitError: a loss is not finite, or the first batch is invalid.
        """
        if self.folder is None:
            raise ValueError("a run requires a directory")
        checkpoints = CheckpointFolder(self.folder / CHECKPOINTS, self.config.keep_checkpoints)
        done = 0
        if (newest := checkpoints.newest) is not None:
            done = self._restore(read_state(newest), newest)
        if done >= self.config.steps:
            return done
        self.check_first_batch(done)
        main = self.process == 0
        log = RunLog(self.folder, resumed_at=done, tensorboard=self.config.tensorboard) if main else None
        batches = batches_from(self.task, done, self.process, self.processes)
        start, first = time.perf_counter(), done
        try:
            for loaded in batches:
                values = self._logged_step(done, loaded)
                done += 1
                last = done == self.config.steps
                improved = False
                if last or done % self.config.evaluate_every == 0:
                    values |= (measured := self._evaluate(done))
                    improved = self._is_best(measured)
                    # The evaluation after the last step depends on the number of steps, which may change later.
                    if isinstance(self.task, StatefulTask) and done % self.config.evaluate_every == 0:
                        self.task.after_evaluation(measured)
                rate = (done - first) / (time.perf_counter() - start)
                if log is not None:
                    log.scalars(done, values)
                    if last or done % self.config.images_every == 0:
                        self._write_images(log, done)
                if last or improved or done % self.config.checkpoint_every == 0:
                    self._check_finite(done, {name: float(value) for name, value in self._sums.items()})
                    self._save(checkpoints, done, best=improved)
                report(Progress(done, values, rate))
        finally:
            batches.close()  # pyright: ignore[reportAttributeAccessIssue]
            if log is not None:
                log.close()
        return done

    def dry_run(self, report: Callable[[str], None] = lambda text: None, steps: int = _DRY_STEPS) -> DryRun:
        """Train for a few steps without writing anything, and measure them. ``report`` is called before each part."""
        report("first batch")
        self.check_first_batch(0)
        loaded = load_batches(self.task, 0, self.process, self.processes)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        report(f"step 1 of {steps + 1}")
        self.step(0, loaded)
        self._synchronise()
        start = time.perf_counter()
        for step in range(1, steps + 1):
            report(f"step {step + 1} of {steps + 1}")
            self.step(step, loaded)
        self._synchronise()
        rate = steps / (time.perf_counter() - start)
        trained = {id(each): each.numel() for update in self._updates for each in self._trained(update, 0)}
        return DryRun(rate, self._peak_memory(), str(self.device), sum(trained.values()))

    def check_first_batch(self, step: int) -> None:
        """Load one batch and check that its values are finite and in the range that the trainer expects.

        Raises:
            RetalkitError: the batch is invalid.
        """
        batch = load_batches(self.task, step, self.process, self.processes)[0]
        for name, value in batch.items():
            if not torch.isfinite(value).all():
                raise InputError(f"first batch: {name} contains values that are not finite", code="non-finite-data")
        self.task.check(batch)

    # ------------------------------------------------------------------ steps

    def step(self, step: int, loaded: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Run all updates of a step, and return the mean losses as ``UPDATE/TERM``."""
        self._seed(step)
        if self.task.start_step(step):
            for optimizer in self._optimizers.values():
                optimizer.state.clear()
        for module in self._frozen_modules:
            module.eval()
        parts = [{name: value.to(self.device, non_blocking=True) for name, value in batch.items()} for batch in loaded]
        shared: list[dict[str, Tensor]] = [{} for _ in parts]
        losses: dict[str, Tensor] = {}
        for update in self._updates:
            if update.active(step):
                losses |= self._update(update, step, parts, shared)
        for name, moving in self._moving.items():
            moving.update(self.averages[name], self.networks[name], step)
        return losses

    def _update(
        self, update: Update, step: int, parts: list[dict[str, Tensor]], shared: list[dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        optimizer, scaler = self._optimizers[update.name], self._scalers[update.name]
        parameters = self._trained(update, step)
        for group in optimizer.param_groups:
            group["lr"] = update.optimizer.rate(step, self.config.steps)
        losses: dict[str, Tensor] = {}
        with only_trained(self._all_parameters, parameters):
            for batch, memory in zip(parts, shared, strict=True):
                with autocast(self.device.type, self.precision):
                    terms = update.loss(batch, memory, step)
                scaler.scale(terms.total / len(parts)).backward()
                for name, value in {"total": terms.total.detach(), **terms.terms}.items():
                    key = f"{update.name}/{name}"
                    losses[key] = losses.get(key, 0) + value.float() / len(parts)
            average_gradients(parameters)
            if self.config.clip_norm is not None:
                scaler.unscale_(optimizer)
                norm = nn.utils.clip_grad_norm_(parameters, self.config.clip_norm)
                losses[f"{update.name}/gradient_norm"] = norm.detach()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
        return losses

    def _logged_step(self, step: int, loaded: list[dict[str, Tensor]]) -> dict[str, float]:
        for name, value in self.step(step, loaded).items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._summed += 1
        last = step + 1 == self.config.steps
        if not (last or (step + 1) % self.config.log_every == 0 or step == 0):
            return {}
        values = mean_over_processes({name: value / self._summed for name, value in self._sums.items()})
        self._sums, self._summed = {}, 0
        self._check_finite(step + 1, values)
        for update in self._updates:
            values[f"{update.name}/learning_rate"] = update.optimizer.rate(step, self.config.steps)
        return values

    def _check_finite(self, step: int, values: Mapping[str, float]) -> None:
        """Raise RetalkitError if a loss is not finite. Checkpoints before this step stay usable."""
        if is_finite(values) or self.precision == "fp16":
            return
        wrong = ", ".join(name for name, value in values.items() if not is_finite({name: value}))
        raise RetalkitError(
            f"step {step}: {wrong} is not finite; lower the learning rate, or set clip_norm", code="non-finite-loss"
        )

    # ------------------------------------------------------------------ evaluation

    @property
    def evaluated_networks(self) -> dict[str, nn.Module]:
        """Networks with the moving averages in place of the trained networks that have one."""
        return {**self.networks, **self.averages}

    def _evaluate(self, step: int) -> dict[str, float]:
        values: dict[str, float] = {}
        if self.process == 0:
            with local_statistics(), evaluation_mode(self.evaluated_networks), torch.no_grad():
                values = self.task.evaluate(self.evaluated_networks, step)
        return broadcast_values(values)

    def _is_best(self, values: Mapping[str, float]) -> bool:
        metric = self.task.best
        value = values.get(metric.name)
        if value is None or not metric.is_better(value, self._best):
            return False
        self._best = value
        return True

    def _write_images(self, log: RunLog, step: int) -> None:
        with local_statistics(), evaluation_mode(self.evaluated_networks), torch.no_grad():
            image = self.task.images(self.evaluated_networks, step)
        if image is not None:
            log.image(step, "samples", image)

    # ------------------------------------------------------------------ state

    def state(self, step: int) -> dict[str, Any]:
        """Return everything that a resumed run needs."""
        return {
            "format": _FORMAT,
            "task": self.task.name,
            "task_state": self.task.task_state() if isinstance(self.task, StatefulTask) else {},
            "data": self.task.data_key,
            "step": step,
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "averages": {name: network.state_dict() for name, network in self.averages.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self._optimizers.items()},
            "scalers": {name: scaler.state_dict() for name, scaler in self._scalers.items()},
            "sums": dict(self._sums),
            "summed": self._summed,
            "best": self._best,
        }

    def _restore(self, state: dict[str, Any], path: Path) -> int:
        if state.get("format") != _FORMAT:
            raise InputError(f"{path}: checkpoint of another version of Retalkit", code="incompatible-version")
        advice = "use another output directory"
        if state["task"] != self.task.name:
            raise InputError(f"{path}: checkpoint of the trainer {state['task']}; {advice}", code="other-trainer")
        if state["data"] != self.task.data_key:
            raise InputError(f"{path}: the run was started with a different dataset; {advice}", code="other-dataset")
        for name, network in self.networks.items():
            network.load_state_dict(state["networks"][name])
        for name, network in self.averages.items():
            network.load_state_dict(state["averages"][name])
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
            self._scalers[name].load_state_dict(state["scalers"][name])
        if isinstance(self.task, StatefulTask):
            self.task.load_task_state(state.get("task_state", {}))
        self._sums = {name: value.to(self.device) for name, value in state["sums"].items()}
        self._summed, self._best = state["summed"], state["best"]
        return state["step"]

    def _save(self, checkpoints: CheckpointFolder, step: int, *, best: bool) -> None:
        if self.process == 0:
            checkpoints.save(self.state(step), step, best=best)

    # ------------------------------------------------------------------ helpers

    def _optimizer(self, update: Update) -> torch.optim.Optimizer:
        return make_optimizer(update.optimizer, self._trained(update, -1))

    def _trained(self, update: Update, step: int) -> list[nn.Parameter]:
        return [each for each in update.parameters(step) if id(each) not in self._frozen_parameters]

    def _seed(self, step: int) -> None:
        seed_all(self.config.seed, step, self.process)

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _peak_memory(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _frozen_parts(networks: Mapping[str, nn.Module], prefixes: Sequence[str]) -> tuple[set[int], list[nn.Module]]:
    """Return the identities of the frozen parameters of the first network, and the frozen modules.

    Raises:
        ConfigError: no parameter has the prefix, or all parameters are frozen.
    """
    network = next(iter(networks.values()))
    parameters: set[int] = set()
    for prefix in prefixes:
        found = {id(value) for name, value in network.named_parameters() if f"{name}.".startswith(f"{prefix}.")}
        if not found:
            parts = ", ".join(name for name, _ in network.named_children())
            raise ConfigError(f"frozen: no parameter begins with '{prefix}'; parts: {parts}", code="unknown-name")
        parameters |= found
    if prefixes and all(id(value) in parameters for value in network.parameters()):
        raise ConfigError("frozen: all parameters are frozen, so that nothing can be trained", code="invalid-option")
    modules = [
        module
        for name, module in network.named_modules()
        if name and any(f"{name}.".startswith(f"{prefix}.") for prefix in prefixes)
    ]
    return parameters, modules


def make_optimizer(config: OptimizerConfig, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Create the optimiser of an update."""
    kind = torch.optim.AdamW if config.kind == "adamw" else torch.optim.Adam
    return kind(parameters, lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay)


def seed_all(seed: int, step: int, process: int = 0) -> None:
    """Seed all random number generators from the seed, the step and the process."""
    digest = hashlib.sha256(f"{seed} {step} {process}".encode()).digest()
    number = int.from_bytes(digest[:7], "big")
    torch.manual_seed(number)
    np.random.seed(number % 2**32)
    random.seed(number)


@contextmanager
def only_trained(parameters: list[nn.Parameter], trained: list[nn.Parameter]) -> Generator[None]:
    """Context in which only the parameters in ``trained`` receive gradients."""
    before = [parameter.requires_grad for parameter in parameters]
    chosen = {id(parameter) for parameter in trained}
    for parameter in parameters:
        parameter.requires_grad_(id(parameter) in chosen)
    try:
        yield
    finally:
        for parameter, required in zip(parameters, before, strict=True):
            parameter.requires_grad_(required)


@contextmanager
def evaluation_mode(networks: Mapping[str, nn.Module]) -> Generator[None]:
    """Context in which the networks are in evaluation mode."""
    modes = [(module, module.training) for network in networks.values() for module in network.modules()]
    for network in networks.values():
        network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def run_losses(task: Task, batch: Batch, step: int = 0) -> dict[str, Tensor]:
    """Compute all losses of a step and their gradients, without optimisers. Returns the total of each update."""
    task.start_step(step)
    shared: MutableMapping[str, Tensor] = {}
    totals: dict[str, Tensor] = {}
    everything = [each for network in task.networks.values() for each in network.parameters()]
    for update in task.updates():
        if update.active(step):
            with only_trained(everything, update.parameters(step)):
                totals[update.name] = update.loss(batch, shared, step).total
                totals[update.name].backward()
    return totals
