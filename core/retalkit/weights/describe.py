"""A checkpoint in words: which file, how large, under which licence, and the commands that bring it in."""

from __future__ import annotations

from collections.abc import Sequence

from retalkit.weights.checkpoint import Checkpoint


def readable_size(size: int | None) -> str:
    """``89 MB``; ``size unknown`` for None."""
    return "size unknown" if size is None else f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{max(1, size // 1000)} kB"


def told_size(checkpoint: Checkpoint) -> str:
    """How large the published file is, as far as that is known: ``89 MB``, ``at least 511 MB``."""
    if checkpoint.size is None and checkpoint.least_size is not None:
        return f"at least {readable_size(checkpoint.least_size)}"
    return readable_size(checkpoint.size)


def commercial_use(allowed: bool | None) -> str:
    """In words."""
    return {True: "allowed", False: "not allowed", None: "not stated"}[allowed]


def facts(checkpoint: Checkpoint) -> str:
    """The published file, its size, its licence, and whether commercial use is allowed."""
    return (
        f"{checkpoint.file}, {told_size(checkpoint)}, licence: {checkpoint.licence}; "
        f"commercial use: {commercial_use(checkpoint.commercial_use)}"
    )


def how_to_get(checkpoint: Checkpoint) -> str:
    """Which file, how large, under which licence, and the commands that put it into the store."""
    offline = f"`retalkit weights import {checkpoint.file} --as {checkpoint.name}`"
    if not checkpoint.urls:
        return f"'{checkpoint.name}' ({facts(checkpoint)}; get it from its publisher, then run {offline})"
    address = checkpoint.urls[0]
    return (
        f"'{checkpoint.name}' ({facts(checkpoint)}; `retalkit weights pull {checkpoint.name}` gets it; without a "
        f"network: bring it from {address} and run {offline})"
    )


def how_to_get_all(checkpoints: Sequence[Checkpoint]) -> str:
    """The same of several at once: each with its facts, and one command for all."""
    if len(checkpoints) == 1:
        return how_to_get(checkpoints[0])
    told = ", ".join(f"'{checkpoint.name}' ({facts(checkpoint)})" for checkpoint in checkpoints)
    names = " ".join(checkpoint.name for checkpoint in checkpoints)
    return (
        f"{told}; `retalkit weights pull {names}` gets them; without a network: bring the files (`retalkit weights "
        "list` has their addresses) and run `retalkit weights import FILE` for each"
    )
