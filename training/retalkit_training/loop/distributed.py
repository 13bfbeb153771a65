"""Several processes: device, mean gradients, and values of all processes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch
import torch.distributed as dist
from retalkit_training.networks.batch_statistics import world_size
from torch import Tensor, nn

_BUCKET: Final = 25_000_000
"""Number of gradient elements that are communicated at once."""


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


def broadcast_state(networks: Iterable[nn.Module]) -> None:
    """Copy the parameters and buffers of the first process to all others."""
    if world_size() == 1:
        return
    for network in networks:
        for value in network.state_dict().values():
            dist.broadcast(value, 0)


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
