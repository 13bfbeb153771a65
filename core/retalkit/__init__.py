"""Retalkit: edit a talking-head video so that its lips follow new speech.

``retalkit.dub(video, speech, output)`` does the whole job. Stages by themselves come from ``retalkit.discover()``;
their contracts stand in ``retalkit.stages``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from retalkit.config import RunConfig
    from retalkit.discovery import discover
    from retalkit.errors import RetalkitError
    from retalkit.records import RunRecord
    from retalkit.running import dub

__all__ = ["RetalkitError", "RunConfig", "RunRecord", "__version__", "discover", "dub"]

# Names are looked up on first use: `retalkit --help` must not wait for the video libraries.
_HOMES = {
    "RetalkitError": "retalkit.errors",
    "RunConfig": "retalkit.config",
    "RunRecord": "retalkit.records",
    "discover": "retalkit.discovery",
    "dub": "retalkit.running",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'retalkit' has no attribute '{name}'")
    return getattr(import_module(home), name)
