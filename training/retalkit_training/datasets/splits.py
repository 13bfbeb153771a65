"""Assignment of speakers and recordings to the splits of a dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from retalkit_training.datasets.settings import SplitSettings

SPLITS: Final = ("train", "val", "test")


def assign_splits(pairs: Sequence[tuple[str, str]], settings: SplitSettings) -> list[str]:
    """Return the split of each (speaker, recording) pair.

    Pairs with a common speaker or a common recording are in one split. A group's rank depends on a hash of its smallest
    speaker name, so the order of the videos is irrelevant. With one group, all pairs are in ``train``. With two groups
    or more, ``val`` has at least one group if its fraction is above 0, and with three groups or more, so has ``test``.
    """
    groups = _groups(pairs)
    names: dict[int, str] = {}
    for group, (speaker, _) in zip(groups, pairs, strict=True):
        names[group] = min(names.get(group, speaker), speaker)
    ranked = sorted(names, key=lambda group: _rank(names[group], settings.seed))
    count = len(ranked)
    validation = max(round(settings.validation * count), 1) if settings.validation and count > 1 else 0
    test = max(round(settings.test * count), 1) if settings.test and count > 2 else 0
    test = min(test, max(count - 1 - validation, 0))
    of = dict.fromkeys(ranked, "train")
    of |= dict.fromkeys(ranked[:validation], "val")
    of |= dict.fromkeys(ranked[validation : validation + test], "test")
    return [of[group] for group in groups]


def _rank(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def _groups(pairs: Sequence[tuple[str, str]]) -> list[int]:
    """Return the group index of each pair, by union of pairs with a common speaker or recording."""
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for speaker, video in pairs:
        parent[root(("speaker", speaker))] = root(("video", video))
    roots = [root(("speaker", speaker)) for speaker, _ in pairs]
    numbers = {node: number for number, node in enumerate(dict.fromkeys(roots))}
    return [numbers[node] for node in roots]
