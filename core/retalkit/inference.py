"""What every stage with a network does alike: load its weights, compute on the chosen device, draw its own noise.

Needs torch (``pip install 'retalkit[paper]'``); nothing else of the core imports this module.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from retalkit.errors import WeightsError

NetworkT = TypeVar("NetworkT", bound=nn.Module)

_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def empty_network(kind: Callable[[], NetworkT]) -> NetworkT:
    """Return ``kind()`` with uninitialised parameters: drawing random ones takes longer than loading a checkpoint."""
    with torch.device("meta"):
        network = kind()
    return network.to_empty(device="cpu")


def state_shapes(kind: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every entry of the state dict of ``kind()``."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in kind().state_dict().items()}


def load_weights(network: NetworkT, path: Path, device: str = "cpu") -> NetworkT:
    """The network with the weights of a safetensors file (float32), in evaluation mode, on the device.

    Raises WeightsError where the file cannot be read, or a name or a shape is missing, left over or another one.
    """
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        text = " ".join(str(error).split())
        raise WeightsError(
            f"{path}: cannot be read ({text}): pull or import '{path.stem}' again with --force"
        ) from error
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise WeightsError(f"{path}: does not fit the network: {' '.join(str(error).split())[:300]}") from error
    return network.eval().requires_grad_(False).to(device)


@contextmanager
def computing(device: str, precision: str) -> Generator[None]:
    """Inference without gradients; convolutions and products in ``precision`` where it is not float32.

    On a processor float16 and bfloat16 are slower than float32 unless it has instructions for them.
    """
    kind = torch.device(device).type
    with torch.inference_mode(), torch.autocast(kind, _TYPES[precision], enabled=precision != "float32"):
        yield


def noise_generator(seed: int, index: int) -> torch.Generator:
    """A generator of its own for one frame, on the processor: the same noise for any batch, order or device."""
    digest = hashlib.sha256(f"{seed}:{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def full_batches(count: int, size: int, device: str) -> Iterator[tuple[NDArray[np.int64], int]]:
    """For each call of a network that takes ``size`` of ``count`` rows at once: int64 [size] rows, and how many count.

    A call is always full, the last row repeated: another number of rows is computed in another way, and gives other
    last digits. On a processor a call is one row, so that no result depends on ``size`` either; more at once are no
    faster there.
    """
    size = 1 if torch.device(device).type == "cpu" else size
    for start in range(0, count, size):
        yield np.minimum(np.arange(start, start + size), count - 1), min(size, count - start)


def slices(count: int, size: int) -> Iterator[slice]:
    """Parts of at most ``size`` of ``count`` things, in order."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
