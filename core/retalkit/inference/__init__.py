"""Inference tools for stages that use neural networks: weight loading, network execution and reproducible noise.

``compile_network`` prepares a network for the inference library that the run selected (OpenVINO or PyTorch). The
package requires torch (``pip install 'retalkit[paper]'``). No other core package imports ``retalkit.inference``.
"""

from retalkit.inference.compilation import CompiledNetwork, compile_network
from retalkit.inference.execution import computing, frame_noise, full_batches, noise_generator, slices
from retalkit.inference.loading import empty_network, load_weights, state_shapes

__all__ = [
    "CompiledNetwork",
    "compile_network",
    "computing",
    "empty_network",
    "frame_noise",
    "full_batches",
    "load_weights",
    "noise_generator",
    "slices",
    "state_shapes",
]
