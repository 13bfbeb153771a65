"""Prepare a network for inference with the library of the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from retalkit.inference.execution import computing, flatten
from retalkit.stages import Runtime


class CompiledNetwork(Protocol):
    """A network ready for inference. Safe to use from several threads."""

    @property
    def backend(self) -> str:
        """``torch`` or ``openvino``."""
        ...

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Return all outputs, float32 on the CPU, for inputs on any device."""
        ...


def compile_network(
    network: nn.Module, example_inputs: Sequence[Tensor], runtime: Runtime, *, variable_size: bool = False
) -> CompiledNetwork:
    """Return a callable that runs ``network`` on the device and with the library and precision of ``runtime``.

    ``network`` is in evaluation mode, has its weights, takes tensors by position and returns a tensor or a sequence of
    tensors. Do not use it afterwards: it may have been moved or released.

    ``example_inputs`` have the shapes of every later call, apart from the batch size with PyTorch; with
    ``variable_size`` the height and width of the first input may change between calls.
    """
    if runtime.backend == "openvino":
        # Imported here: the package is optional.
        from retalkit.inference.openvino_backend import OpenVinoNetwork

        return OpenVinoNetwork(network, example_inputs, threads=runtime.threads, variable_size=variable_size)
    return TorchNetwork(network, runtime.device, runtime.precision)


class TorchNetwork:
    """A network run by PyTorch, operation by operation."""

    backend = "torch"

    def __init__(self, network: nn.Module, device: str, precision: str) -> None:
        self._network = network.to(device)
        self._device, self._precision = device, precision

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        with computing(self._device, self._precision):
            outputs = self._network(*(each.to(self._device) for each in inputs))
            return [each.float().cpu() for each in flatten(outputs)]
