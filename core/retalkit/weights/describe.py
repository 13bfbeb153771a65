"""Formatting of checkpoint sizes, licences and installation instructions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from retalkit.weights.checkpoint import Checkpoint

_LISTED: Final = 3
"""Maximum number of missing checkpoints that are described individually."""


def format_size(size: int | None) -> str:
    """Return a byte count in the form ``89 MB``, or ``size unknown`` for None."""
    return "size unknown" if size is None else f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{max(1, size // 1000)} kB"


def checkpoint_size(checkpoint: Checkpoint) -> str:
    """Return the size of the published file in the form ``89 MB`` or ``at least 511 MB``."""
    if checkpoint.size is None and checkpoint.min_size is not None:
        return f"at least {format_size(checkpoint.min_size)}"
    return format_size(checkpoint.size)


def commercial_use(allowed: bool | None) -> str:
    """Return ``Checkpoint.commercial_use`` as a phrase."""
    return {True: "allowed", False: "not allowed", None: "not stated"}[allowed]


def checkpoint_facts(checkpoint: Checkpoint) -> str:
    """Return a checkpoint's file name, size, licence and commercial use as one line."""
    return (
        f"{checkpoint.file}, {checkpoint_size(checkpoint)}, licence: {checkpoint.licence}; "
        f"commercial use: {commercial_use(checkpoint.commercial_use)}"
    )


def missing_weights(names: Sequence[str], declared: Iterable[Checkpoint] = (), folder: Path | None = None) -> str:
    """Return the message for checkpoints that are missing from the store, as a phrase that begins with ``needs``.

    For checkpoints in ``declared``, the message contains the file, size, licence and installation commands. For more
    than three checkpoints, the message contains only their total size. ``folder`` is the store directory that does not
    contain the checkpoints.
    """
    known = {checkpoint.name: checkpoint for checkpoint in declared}
    found = [known[name] for name in names if name in known]
    described = ", ".join(f"'{name}' ({checkpoint_facts(known[name])})" if name in known else name for name in names)
    if len(names) > _LISTED:
        size = sum(each.size or each.min_size or 0 for each in found)
        described = f"of {len(names)} checkpoints (at least {format_size(size)} in total)"
    text = f"needs the weights {described}" + (f", which are not installed in {folder}" if folder is not None else "")
    if len(names) == 1 and found and not found[0].urls:
        return f"{text}; {manual_import(found[0])}"
    text += f"; run `retalkit weights pull {' '.join(names)}`"
    if len(found) == 1:
        return f"{text}; {manual_import(found[0])}"
    if found:
        return (
            f"{text}; to install the weights offline, download the files (`retalkit weights list` prints the URLs and "
            "the licences) and run `retalkit weights import FILE` for each file"
        )
    return text


def manual_import(checkpoint: Checkpoint) -> str:
    """Return instructions for an installation without ``retalkit weights pull``, formatted as the end of a sentence."""
    source = checkpoint.urls[0] if checkpoint.urls else "its publisher"
    return (
        f"to install the checkpoint offline, download {checkpoint.file} from {source} and run "
        f"`retalkit weights import {checkpoint.file} --as {checkpoint.name}`"
    )
