"""Tools for stages with networks: load weights, run networks on the chosen device, draw reproducible noise.

``compile_network`` runs a network with the library that the run chose (OpenVINO or PyTorch). Requires torch
(``pip install 'retalkit[paper]'``); nothing else in the core imports this package.
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
