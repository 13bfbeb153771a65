"""Several processes: device, mean gradients, and batch normalisation over all processes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn

_BUCKET: Final = 25_000_000
"""Number of gradient elements that are communicated at once."""


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over all processes.

    ``DistributedDataParallel`` is not used, because a step of a GAN has several losses and backward passes, and some
    published networks have parameters without a gradient.
    """
    if world_size() == 1:
        return
    bucket: list[Tensor] = []
    for parameter in parameters:
        if parameter.grad is not None:
            bucket.append(parameter.grad)
        if sum(each.numel() for each in bucket) >= _BUCKET:
            _average(bucket)
            bucket = []
    if bucket:
        _average(bucket)


def _average(tensors: list[Tensor]) -> None:
    flat = torch.cat([each.flatten() for each in tensors])
    dist.all_reduce(flat)
    flat /= world_size()
    for tensor, part in zip(tensors, flat.split([each.numel() for each in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


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
        return _Sum.forward(ctx, grad_outputs[0])


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
        return _Sum.forward(ctx, grad_outputs[0]).chunk(world_size())[dist.get_rank()]


def broadcast_state(networks: Iterable[nn.Module]) -> None:
    """Copy the parameters and buffers of the first process to all others."""
    if world_size() == 1:
        return
    for network in networks:
        for value in network.state_dict().values():
            dist.broadcast(value, 0)


class _ProcessNorm(nn.modules.batchnorm._BatchNorm):  # pyright: ignore[reportPrivateUsage]
    """Batch normalisation with the statistics of all processes, on any device. ``torch.nn.SyncBatchNorm`` requires a
    GPU."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input [B, C, ...]. Statistics have at least float32."""
        if not self.training or world_size() == 1:
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


def synchronise_batch_norm(network: nn.Module) -> None:
    """Replace the classes of the batch normalisation layers of a network, without changing its state."""
    for module in network.modules():
        if (synchronised := _SYNCHRONISED.get(type(module))) is not None:
            # The class adds no attributes, so that only the forward pass changes.
            module.__class__ = synchronised


def mean_over_processes(values: dict[str, Tensor]) -> dict[str, float]:
    """Return scalars as floats, averaged over all processes."""
    if not values:
        return {}
    names = sorted(values)
    stacked = torch.stack([values[name].detach().float() for name in names])
    if world_size() > 1:
        dist.all_reduce(stacked)
        stacked /= world_size()
    return dict(zip(names, stacked.tolist(), strict=True))


def average_over_processes(value: Tensor) -> Tensor:
    """Return the mean of a tensor without gradient over all processes."""
    if world_size() == 1:
        return value
    found = value.detach().clone()
    dist.all_reduce(found)
    return found / world_size()


def broadcast_values(values: dict[str, float]) -> dict[str, float]:
    """Return the values of the first process on all processes."""
    if world_size() == 1:
        return values
    found: list[Any] = [values]
    dist.broadcast_object_list(found, 0)
    return found[0]


def process_state(device: str) -> Any:
    """Return accelerate's state: process number, number of processes and device.

    ``device``: ``auto``, ``cpu`` or ``cuda``. With ``accelerate launch`` or ``torchrun``, the processes are connected.
    """
    from accelerate import PartialState

    return PartialState(cpu=True) if device == "cpu" else PartialState()
