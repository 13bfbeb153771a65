"""Declaration of a published checkpoint. Imported whenever stages are listed, so it imports nothing heavy."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Static description of one published file of weights: where it is, what it contains, and its licence."""

    name: str
    """Name that stages and commands use; lower case with underscores."""
    summary: str
    """One line."""
    file: str
    """Name of the published file, such as ``DNet.pt``."""
    urls: tuple[str, ...]
    """Published URLs, in order of preference. ``URL#MEMBER``: the file is that member of a published zip archive."""
    licence: str
    """SPDX expression, or the publisher's own words."""
    commercial_use: bool | None
    """Whether the publisher allows commercial use; None if not stated."""
    shapes: str
    """``package.module:function`` that returns the parameter names and shapes of the network (dict[str, tuple]); it
    may import torch. Empty: no network of Retalkit loads the file. It is stored as published and never read."""
    size: int | None = None
    """Size of the published file in bytes, if known exactly."""
    min_size: int | None = None
    """If ``size`` is unknown: bytes of the parameters in the file, shown as a lower bound of the download."""
    sha256: str | None = None
    """SHA-256 of the published file, or its first digits if only those were published."""
    entries: tuple[str, ...] = ()
    """Keys under which the file may hold the network's state dict; the first one present is used. A file with none of
    these keys must be the state dict itself."""
    strip_from_names: str = ""
    """Substring to remove from every parameter name, such as ``module.``."""
    ignore_names: tuple[str, ...] = ()
    """Regular expressions of parameter names that published files contain but this network does not use."""
    reader: str = ""
    """``package.module:function`` that reads the file (path) into arrays (dict[str, array]), for files that torch did
    not write."""
    api: int = 1
    """Version of the contracts that it was made for (``retalkit.stages.CONTRACT_VERSIONS``)."""

    def expected_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the parameter names and shapes of the network."""
        return {name: tuple(shape) for name, shape in pkgutil.resolve_name(self.shapes)().items()}

    def read_other(self, path: Any) -> dict[str, Any]:
        """Return the arrays that ``reader`` reads from the file."""
        return pkgutil.resolve_name(self.reader)(path)
