"""Deterministic random weights and inputs for the networks of the metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from safetensors.torch import save_file


def random_state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return random values for the network's state that depend only on name and shape.

    Weights have He-like scale; norms and biases stay near their initial values.
    """
    return {name: _random_tensor(name, tuple(value.shape)) for name, value in network.state_dict().items()}


def save(network: torch.nn.Module, file: Path, **changes: Any) -> Path:
    """Write ``random_state`` of a network, with ``changes`` applied."""
    save_file({**random_state(network), **changes}, file)
    return file


def random_input(*shape: int) -> torch.Tensor:
    """Return random values in [0, 1) that depend only on the shape."""
    return torch.from_numpy(np.random.default_rng(shape).random(shape, np.float32))


def _random_tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.zeros((), dtype=torch.int64)
    generator = np.random.default_rng(crc32(name.encode()))
    if name.endswith("running_var"):
        return torch.from_numpy(1 + 0.2 * generator.random(shape, np.float32))
    values = torch.from_numpy(generator.standard_normal(shape, np.float32))
    if len(shape) == 1:
        return (0.0 if name.endswith(("bias", "running_mean")) else 1.0) + 0.1 * values
    return values * (2 / np.prod(shape[1:])) ** 0.5
