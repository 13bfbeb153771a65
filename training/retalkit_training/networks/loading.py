"""Weights of the frozen networks that losses use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from retalkit.errors import WeightsError
from torch import Tensor, nn

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def freeze(network: NetworkT) -> NetworkT:
    """Return the network in evaluation mode with parameters that receive no gradient."""
    return network.eval().requires_grad_(False)


def load_partial(network: NetworkT, tensors: Mapping[str, Tensor], source: str) -> NetworkT:
    """Load the network's parameters from a state dict that may contain additional layers.

    ``source``: name of the checkpoint in error messages.

    Raises:
        WeightsError: a parameter is missing or has another shape.
    """
    expected = network.state_dict()
    missing = [name for name in expected if name not in tensors]
    if missing:
        raise WeightsError(
            f"{source}: not the weights of {type(network).__name__}: missing {', '.join(missing[:4])}",
            code="weights-mismatch",
        )
    other = [
        f"{name} {list(tensors[name].shape)}, expected {list(value.shape)}"
        for name, value in expected.items()
        if tensors[name].shape != value.shape
    ]
    if other:
        raise WeightsError(
            f"{source}: not the weights of {type(network).__name__}: shape mismatch: {'; '.join(other[:4])}",
            code="weights-mismatch",
        )
    network.load_state_dict({name: tensors[name] for name in expected})
    return network
