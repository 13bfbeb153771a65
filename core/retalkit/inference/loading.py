"""Network creation and weight loading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.overrides import TorchFunctionMode

from retalkit.errors import WeightsError

NetworkT = TypeVar("NetworkT", bound=nn.Module)
_INITIALISATION: Final = (torch.Tensor.normal_, nn.functional.normalize)
"""Functions of spectral normalisation that torch implements in Python for meta tensors."""


class _WithoutInitialisation(TorchFunctionMode):
    """Context in which ``_INITIALISATION`` returns its first argument.

    The first call for a meta tensor would import about 800 modules of torch, which takes longer than a second.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func in _INITIALISATION else func(*args, **(kwargs or {}))


def empty_network(make: Callable[[], NetworkT]) -> NetworkT:
    """Return the network that ``make()`` creates, with uninitialised parameters. Random initialisation would take
    longer than loading a checkpoint."""
    with torch.device("meta"), _WithoutInitialisation():
        network = make()
    return network.to_empty(device="cpu")


def state_shapes(make: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of each entry in the state dict of ``make()``."""
    with torch.device("meta"), _WithoutInitialisation():
        return {name: tuple(value.shape) for name, value in make().state_dict().items()}


def load_weights(network: NetworkT, path: Path, device: str = "cpu") -> NetworkT:
    """Load the weights of a safetensors file (float32) and return the network in evaluation mode on the device.

    Raises:
        WeightsError: the file cannot be read, or its parameter names or shapes differ from the network's parameters.
    """
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        text = " ".join(str(error).split())
        raise WeightsError(
            f"{path}: the file cannot be read ({text}); pull or import '{path.stem}' again with --force",
            code="unreadable-file",
        ) from error
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"{path}: the weights do not match the network: {' '.join(str(error).split())[:300]}",
            code="weights-mismatch",
        ) from error
    return network.eval().requires_grad_(False).to(device)
