"""Parts of networks that compute in float32 under autocast."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def without_autocast(device: str) -> AbstractContextManager[object]:
    """Return a context without autocast, on devices that have it. ``device``: device type, such as ``cuda``."""
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def at_least_float32(values: Tensor) -> Tensor:
    """Return values of half precision as float32, and others unchanged."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
