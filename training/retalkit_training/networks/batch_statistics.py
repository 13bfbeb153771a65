"""Batch statistics over several processes, so that several processes train like one with the same batch."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor, nn

_LOCAL: ContextVar[bool] = ContextVar("local_statistics", default=False)
"""Whether batch statistics are those of this process only."""


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_batch(values: Tensor) -> Tensor:
    """Return the items of all processes, with gradients. ``values``: [B, ...], of equal size on all processes."""
    if world_size() == 1:
        return values
    return _Gather.apply(values)


class _Sum(torch.autograd.Function):
    """Sum over all processes, on each of them."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        found = values.contiguous().clone()
        dist.all_reduce(found)
        return found

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        # With ``apply``, gradient penalties can differentiate this pass again.
        return _Sum.apply(grad_outputs[0])


class _Gather(torch.autograd.Function):
    """Concatenation of the items of all processes, on each of them."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        values = values.contiguous()
        parts = [torch.empty_like(values) for _ in range(world_size())]
        dist.all_gather(parts, values)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return _Sum.apply(grad_outputs[0]).chunk(world_size())[dist.get_rank()]


def process_part(values: Tensor) -> Tensor:
    """Return this process's items of ``gather_batch``."""
    return values.chunk(world_size())[dist.get_rank()] if world_size() > 1 else values


@contextmanager
def local_statistics() -> Generator[None]:
    """Context for work that a single process does, such as evaluation: its batch statistics wait for no process."""
    token = _LOCAL.set(True)
    try:
        yield
    finally:
        _LOCAL.reset(token)


def statistics_are_shared() -> bool:
    """Return whether batch statistics are computed over several processes."""
    return world_size() > 1 and not _LOCAL.get()


@runtime_checkable
class BatchStatistics(Protocol):
    """Network, other than batch normalisation, whose output for an item depends on the other items of the batch."""

    over_processes: bool
    """Whether the statistics in training mode are those of all processes."""


class _ProcessNorm(nn.modules.batchnorm._BatchNorm):  # pyright: ignore[reportPrivateUsage]
    """Batch normalisation with the statistics of all processes, on any device. ``torch.nn.SyncBatchNorm`` requires a
    GPU."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input [B, C, ...]. Statistics have at least float32."""
        if not self.training or not statistics_are_shared():
            return super().forward(input)
        kind = input.dtype
        input = input.float() if kind in (torch.bfloat16, torch.float16) else input
        count = input.numel() / input.shape[1] * world_size()
        others = [0, *range(2, input.ndim)]
        # Shape in which a value per channel applies to the input.
        shape = (-1, *(1 for _ in range(2, input.ndim)))
        mean = _Sum.apply(input.sum(others)) / count
        centred = input - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(others)) / count
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * (count / max(count - 1, 1)), momentum)
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        found = centred * scale.view(shape)
        return (found + self.bias.view(shape) if self.affine else found).to(kind)


class ProcessBatchNorm(_ProcessNorm, nn.BatchNorm2d):
    """``BatchNorm2d`` with the statistics of all processes. With one process, the layer equals ``BatchNorm2d``."""


class ProcessBatchNorm1d(_ProcessNorm, nn.BatchNorm1d):
    """``BatchNorm1d`` with the statistics of all processes. With one process, the layer equals ``BatchNorm1d``."""


_SYNCHRONISED: Final[dict[type[nn.Module], type[nn.Module]]] = {
    nn.BatchNorm1d: ProcessBatchNorm1d,
    nn.BatchNorm2d: ProcessBatchNorm,
}


def synchronise_statistics(network: nn.Module) -> None:
    """Make batch normalisation and other batch statistics of a network use the items of all processes.

    The state of the network does not change.
    """
    for module in network.modules():
        if isinstance(module, BatchStatistics):
            module.over_processes = True
        elif (synchronised := _SYNCHRONISED.get(type(module))) is not None:
            # The class adds no attributes, so that only the forward pass changes.
            module.__class__ = synchronised
