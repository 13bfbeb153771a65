"""Narrow versions of the networks with a fixed size, whose training steps take a fraction of a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from retalkit_enhancers.enet import network as enet
from retalkit_renderers.dnet import network as dnet
from retalkit_renderers.lnet import network as lnet

WIDTHS: tuple[tuple[Any, str, Any], ...] = (
    (dnet, "_CHANNELS", (2, 4, 8, 8)),
    (dnet, "DESCRIPTOR", 8),
    (lnet, "_CHANNELS", (8, 8, 16, 16)),
    (lnet, "_BLOCKS", 1),
    (lnet, "_SPEECH", 16),
    (enet, "_DOWN", ((2, 2), (2, 4), (4, 4), (4, 4), (4, 4), (4, 4))),
    (enet, "_LEVELS", (4, 4)),
)
"""Constants of the networks' modules, and their values."""


def narrow(replace: Callable[[Any, str, Any], None] = setattr) -> None:
    """Reduce the widths of the networks that are created from now on."""
    for module, name, value in WIDTHS:
        replace(module, name, value)
