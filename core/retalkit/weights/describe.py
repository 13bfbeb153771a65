"""Formatting of checkpoint sizes, licences and installation instructions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from retalkit.weights.checkpoint import Checkpoint


def format_size(size: int | None) -> str:
    """Format a number of bytes as ``89 MB``, or None as ``size unknown``."""
    return "size unknown" if size is None else f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{max(1, size // 1000)} kB"


def checkpoint_size(checkpoint: Checkpoint) -> str:
    """Format the known size of the published file, such as ``89 MB`` or ``at least 511 MB``."""
    if checkpoint.size is None and checkpoint.min_size is not None:
        return f"at least {format_size(checkpoint.min_size)}"
    return format_size(checkpoint.size)


def commercial_use(allowed: bool | None) -> str:
    """Format ``Checkpoint.commercial_use`` as a phrase."""
    return {True: "allowed", False: "not allowed", None: "not stated"}[allowed]


def checkpoint_facts(checkpoint: Checkpoint) -> str:
    """Return the file name, size, licence and commercial use of a checkpoint as one line."""
    return (
        f"{checkpoint.file}, {checkpoint_size(checkpoint)}, licence: {checkpoint.licence}; "
        f"commercial use: {commercial_use(checkpoint.commercial_use)}"
    )


def missing_weights(names: Sequence[str], declared: Iterable[Checkpoint] = (), folder: Path | None = None) -> str:
    """Return the message for checkpoints that are missing from the store, as a phrase that begins with ``needs``.

    For checkpoints in ``declared``, the message contains the file, size, licence and installation commands. ``folder``
    is the store directory that does not contain the checkpoints.
    """
    known = {checkpoint.name: checkpoint for checkpoint in declared}
    found = [known[name] for name in names if name in known]
    described = ", ".join(f"'{name}' ({checkpoint_facts(known[name])})" if name in known else name for name in names)
    text = f"needs the weights {described}" + (f", not found in {folder}" if folder is not None else "")
    if len(names) == 1 and found and not found[0].urls:
        return f"{text}: {manual_import(found[0])}"
    text += f": run `retalkit weights pull {' '.join(names)}`"
    if len(found) == 1:
        return f"{text}; {manual_import(found[0])}"
    if found:
        return (
            f"{text}; to install them without a network, get the files (URLs: `retalkit weights list`) and run "
            "`retalkit weights import FILE` for each"
        )
    return text


def manual_import(checkpoint: Checkpoint) -> str:
    """Return installation instructions without ``retalkit weights pull``, formatted as the end of a sentence."""
    source = checkpoint.urls[0] if checkpoint.urls else "its publisher"
    return (
        f"to install it without a network, get {checkpoint.file} from {source} and run "
        f"`retalkit weights import {checkpoint.file} --as {checkpoint.name}`"
    )
