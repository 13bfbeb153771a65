"""Precision of forward passes."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from retalkit.pipeline.devices import has_instructions


def forward_precision(requested: str, device: torch.device) -> str:
    """Return ``fp32``, ``bf16`` or ``fp16`` for a requested precision, which may be ``auto``."""
    if requested != "auto":
        return requested
    if device.type == "cuda":
        suitable = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        suitable = device.type == "cpu" and has_instructions("bfloat16") is True
    return "bf16" if suitable else "fp32"


@contextmanager
def autocast(device: str, precision: str) -> Generator[None]:
    """Context with the precision of forward passes."""
    if precision == "fp32":
        yield
        return
    with torch.autocast(device, torch.bfloat16 if precision == "bf16" else torch.float16):
        yield
