"""Network execution utilities for precision, batching and per-frame noise."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@contextmanager
def computing(device: str, precision: str) -> Generator[None]:
    """Disable gradients and compute convolutions and matrix products in ``precision`` during the block.

    On CPUs without native float16 or bfloat16 instructions, these types are slower than float32.
    """
    kind = torch.device(device).type
    with torch.inference_mode(), torch.autocast(kind, _TYPES[precision], enabled=precision != "float32"):
        yield


def noise_generator(seed: int, index: int) -> torch.Generator:
    """Return a CPU generator for one frame. The noise does not depend on batch size, frame order or device."""
    digest = hashlib.sha256(f"{seed}:{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def full_batches(count: int, size: int, device: str) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield batch indexes, int64 [size], for each network call, and the number of new items in the batch.

    On a GPU, every batch has exactly ``size`` items, and the last item is repeated as padding. A different batch size
    could select different kernels and change the least significant bits of the results. On the CPU, every batch has one
    item. Results therefore do not depend on ``size``, and larger batches would not be faster.
    """
    size = 1 if torch.device(device).type == "cpu" else size
    for start in range(0, count, size):
        yield np.minimum(np.arange(start, start + size), count - 1), min(size, count - start)


def slices(count: int, size: int) -> Iterator[slice]:
    """Yield slices of at most ``size`` items that cover ``count`` items in order."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def frame_noise(seed: int, indexes: Sequence[int], sizes: Sequence[int]) -> list[torch.Tensor]:
    """Return noise from N(0, 1), one tensor float32 [B, 1, n, n] for each n in ``sizes``.

    Item b depends only on ``seed`` and ``indexes[b]``.
    """
    generators = [noise_generator(seed, index) for index in indexes]
    return [torch.cat([torch.randn(1, 1, size, size, generator=each) for each in generators]) for size in sizes]


def flatten(outputs: torch.Tensor | Iterable[Any]) -> list[torch.Tensor]:
    """Return all tensors in a nested network output as a flat list."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [tensor for each in outputs for tensor in flatten(each)]
