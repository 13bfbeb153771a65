"""Run networks: precision, batches, and noise that belongs to a frame."""

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
    """Run the block without gradients, with convolutions and matrix products in ``precision``.

    On CPUs without instructions for them, float16 and bfloat16 are slower than float32.
    """
    kind = torch.device(device).type
    with torch.inference_mode(), torch.autocast(kind, _TYPES[precision], enabled=precision != "float32"):
        yield


def noise_generator(seed: int, index: int) -> torch.Generator:
    """Return the CPU generator of one frame: its noise is the same for any batch, order or device."""
    digest = hashlib.sha256(f"{seed}:{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def full_batches(count: int, size: int, device: str) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield rows int64 [size] for each call of a network with batch size ``size``, and how many of them are new.

    Every call has the full size, with the last row repeated: another batch size takes another code path and changes
    the last digits. On the CPU each call has one row, so that no result depends on ``size``; larger batches are not
    faster there.
    """
    size = 1 if torch.device(device).type == "cpu" else size
    for start in range(0, count, size):
        yield np.minimum(np.arange(start, start + size), count - 1), min(size, count - start)


def slices(count: int, size: int) -> Iterator[slice]:
    """Yield slices of at most ``size`` items that cover ``count`` items in order."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def frame_noise(seed: int, indexes: Sequence[int], sizes: Sequence[int]) -> list[torch.Tensor]:
    """Return noise from N(0, 1), one tensor float32 [B, 1, n, n] for each of ``sizes``.

    Row b depends on ``seed`` and ``indexes[b]`` alone.
    """
    generators = [noise_generator(seed, index) for index in indexes]
    return [torch.cat([torch.randn(1, 1, size, size, generator=each) for each in generators]) for size in sizes]


def flatten(outputs: torch.Tensor | Iterable[Any]) -> list[torch.Tensor]:
    """Return the tensors in the output of a network, in order."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [tensor for each in outputs for tensor in flatten(each)]
