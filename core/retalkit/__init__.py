"""Retalkit edits a talking-head video so that the lips follow new speech.

``retalkit.dub(video, speech, output)`` runs the full pipeline. ``retalkit.discover()`` returns a registry of the
installed stages, which can also be used individually. ``retalkit.stages`` defines the stage contracts.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from retalkit._version import __version__

if TYPE_CHECKING:
    from retalkit.config.model import RunConfig
    from retalkit.errors import RetalkitError
    from retalkit.pipeline.record import RunRecord
    from retalkit.pipeline.run import dub
    from retalkit.plugins.discovery import discover

__all__ = ["RetalkitError", "RunConfig", "RunRecord", "__version__", "discover", "dub"]

# Names are imported lazily so that `retalkit --help` does not load the video libraries.
_HOMES = {
    "RetalkitError": "retalkit.errors",
    "RunConfig": "retalkit.config.model",
    "RunRecord": "retalkit.pipeline.record",
    "discover": "retalkit.plugins.discovery",
    "dub": "retalkit.pipeline.run",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'retalkit' has no attribute '{name}'")
    return getattr(import_module(home), name)
