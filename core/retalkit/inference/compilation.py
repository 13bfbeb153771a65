"""Preparation of a network for inference with the run's inference library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from retalkit.inference.execution import computing, flatten
from retalkit.stages import Runtime


class CompiledNetwork(Protocol):
    """Network that is ready for inference. Instances are thread-safe."""

    @property
    def backend(self) -> str:
        """Name of the inference library, ``torch`` or ``openvino``."""
        ...

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Return all outputs, float32 on the CPU, for inputs on any device."""
        ...


def compile_network(
    network: nn.Module,
    example_inputs: Sequence[Tensor],
    runtime: Runtime,
    *,
    variable_size: bool = False,
    full_precision: bool = False,
) -> CompiledNetwork:
    """Return a callable that runs ``network`` with the device, inference library and precision specified by
    ``runtime``.

    ``network``: module in evaluation mode with loaded weights. The network's inputs are positional tensors, and the
    output is a tensor or a sequence of tensors. Callers must not use ``network`` after the call because the function
    may move the module or release its memory.

    ``example_inputs``: tensors with the input shapes of every later call. With PyTorch, the batch size may vary. With
    ``variable_size``, the height and width of the first input may also vary.

    ``full_precision``: whether OpenVINO computes the network in float32 at any precision of the run. At a reduced
    precision, OpenVINO reduces every operation, whereas PyTorch keeps sensitive operations in float32. Networks that
    compute positions or spectra therefore require full precision.
    """
    if runtime.backend == "openvino":
        # The import is local because openvino is an optional dependency.
        from retalkit.inference.openvino_backend import OpenVinoNetwork

        precision = "float32" if full_precision else runtime.precision
        return OpenVinoNetwork(
            network, example_inputs, threads=runtime.threads, precision=precision, variable_size=variable_size
        )
    return TorchNetwork(network, runtime.device, runtime.precision)


class TorchNetwork:
    """Network that PyTorch executes in eager mode."""

    backend = "torch"

    def __init__(self, network: nn.Module, device: str, precision: str) -> None:
        self._network = network.to(device)
        self._device, self._precision = device, precision

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        with computing(self._device, self._precision):
            outputs = self._network(*(each.to(self._device) for each in inputs))
            return [each.float().cpu() for each in flatten(outputs)]
