"""What a plugin says of a checkpoint that a stage of its loads. Light: read whenever stages are listed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One published file of weights, as facts: where it is, what it holds, what may be done with it."""

    name: str
    """What stages and commands call it; lower case with underscores."""
    summary: str
    """One line."""
    file: str
    """Name under which it was published, such as ``DNet.pt``."""
    urls: tuple[str, ...]
    """Where it was published, best first. ``ADDRESS#MEMBER``: the file is that member of a published zip."""
    licence: str
    """SPDX expression, or in words what its publisher says."""
    commercial_use: bool | None
    """Whether its publisher allows it; None where nothing is said."""
    shapes: str
    """``package.module:function`` that returns the parameter names and shapes of the network (dict[str, tuple]); it
    may import torch. Empty: a file that no network of ours loads; it is kept as it was published, and never read."""
    size: int | None = None
    """Bytes of the published file, where known exactly."""
    least_size: int | None = None
    """Else: bytes of the parameters that the file holds, so that people know what is coming; a file may hold more."""
    sha256: str | None = None
    """SHA-256 of the published file, or the beginning of it where only that was published."""
    entries: tuple[str, ...] = ()
    """Keys under which the file may hold the network's parameters; the first that is there counts. A file that has none
    of them must be the parameters themselves."""
    removed: str = ""
    """Text that is taken out of every name, such as ``module.``."""
    dropped: tuple[str, ...] = ()
    """Regular expressions of names that published files hold besides and that this network does not take."""
    reader: str = ""
    """``package.module:function`` from the file's path to its arrays (dict[str, array]), for a file that torch did not
    write."""
    api: int = 1
    """Version of the contracts that it was made for (``retalkit.stages.CONTRACT_VERSIONS``)."""

    def expected_shapes(self) -> dict[str, tuple[int, ...]]:
        """Parameter names and shapes of the network."""
        return {name: tuple(shape) for name, shape in _imported(self.shapes)().items()}

    def read_other(self, path: Any) -> dict[str, Any]:
        """What ``reader`` reads of the file."""
        return _imported(self.reader)(path)


def _imported(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)
