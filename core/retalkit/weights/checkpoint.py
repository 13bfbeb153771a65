"""Declaration of a published checkpoint.

This module is imported whenever stages are listed, so it does not import large libraries.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Static description of a published checkpoint file, including its URLs, contents and licence."""

    name: str
    """Checkpoint name that stages and commands use, in lower case with underscores."""
    summary: str
    """One-line summary."""
    file: str
    """Name of the published file, such as ``DNet.pt``."""
    urls: tuple[str, ...]
    """Published URLs in order of preference. ``URL#MEMBER`` denotes a member of a published zip archive."""
    licence: str
    """Licence as an SPDX expression or as a quotation from the publisher."""
    commercial_use: bool | None
    """Whether the publisher allows commercial use, or None if the publisher does not state whether commercial use is
    allowed."""
    shapes: str
    """Function ``package.module:function`` that returns the network's parameter names and shapes (dict[str, tuple]).

    The function may import torch. If the string is empty, no Retalkit network loads the file. Retalkit then stores the
    file as published and never parses its contents.
    """
    size: int | None = None
    """Size of the published file in bytes, or None if the exact size is unknown."""
    min_size: int | None = None
    """Size of the parameters in bytes if ``size`` is unknown. Commands show this value as a lower bound of the download
    size.
    """
    sha256: str | None = None
    """SHA-256 hash of the published file, or its leading digits if the complete hash was not published."""
    entries: tuple[str, ...] = ()
    """Keys under which the file may store the network's state dict. The first key that exists in the file is used. A
    file without any of these keys must be the state dict itself.
    """
    strip_from_names: str = ""
    """Substring to remove from every parameter name, such as ``module.``."""
    ignore_names: tuple[str, ...] = ()
    """Regular expressions for parameter names that published files contain but the network does not use."""
    reader: str = ""
    """Function ``package.module:function`` that converts a path to arrays (dict[str, array]), for files in a format
    other than PyTorch's.
    """
    api: int = 1
    """Contract version that the checkpoint was declared for, one of ``retalkit.stages.CONTRACT_VERSIONS``."""

    def expected_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the network's parameter names and shapes."""
        return {name: tuple(shape) for name, shape in pkgutil.resolve_name(self.shapes)().items()}

    def read_other(self, path: Any) -> dict[str, Any]:
        """Return the arrays that ``reader`` loads from the file."""
        return pkgutil.resolve_name(self.reader)(path)
