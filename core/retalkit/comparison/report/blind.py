"""The page on which people vote without knowing which variant they see."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retalkit.comparison.report.groups import Previews, within_budget
from retalkit.comparison.results import Results
from retalkit.comparison.votes import comparison_id, pairs


@dataclass(frozen=True, slots=True)
class BlindPage:
    """What its template needs."""

    count: int
    """Pairs to vote on."""
    identical: int
    """Pairs left out, because both videos are the same."""
    shown: dict[str, Any]
    """What may be read: the name of the comparison and the number of pairs."""
    hidden: str
    """Pairs, their variants and videos, out of sight."""
    inside: list[tuple[str, str]]
    """Neutral name of a video -> its bytes as base64."""
    linked: int
    """Videos that lie beside the page."""


def blind_page(results: Results, previews: Previews, budget: int) -> BlindPage:
    """Gathers the pairs. Videos beyond the budget get copies with neutral names in ``previews/blind``.

    Args:
        results: the comparison.
        previews: of its cells.
        budget: bytes of base64 inside the page.
    """
    identity = comparison_id(results)
    names = [variant.name for variant in results.variants]
    digests = {key: hashlib.sha256(preview.path.read_bytes()).hexdigest() for key, preview in previews.found.items()}
    kept: list[dict[str, Any]] = []
    used: list[list[str]] = []
    identical = 0
    for pair in pairs(results):
        first, second = pair.first.key, pair.second.key
        if first not in digests or second not in digests:
            continue
        if digests[first] == digests[second]:
            identical += 1
            continue
        shorter = min((previews.found[first], previews.found[second]), key=lambda each: each.end)
        kept.append(
            {
                "id": pair.id,
                "first": {"variant": names.index(pair.variants[0]), "video": first},
                "second": {"variant": names.index(pair.variants[1]), "video": second},
                "times": shorter.times,
                "end": shorter.end,
            }
        )
        used.append([first, second])
    sizes = {key: previews.found[key].size for keys in used for key in keys}
    held = within_budget(sizes, used, budget)
    neutral = {key: hashlib.blake2s(f"{identity} {key}".encode(), digest_size=8).hexdigest() for key in sizes}
    _copies(previews, {key: name for key, name in neutral.items() if key not in held})
    for pair in kept:
        for side in (pair["first"], pair["second"]):
            key = side["video"]
            side["video"] = neutral[key]
            if key not in held:
                side["link"] = f"previews/blind/{neutral[key]}.mp4"
    # In the order of their neutral names, so that not even the order of the page tells anything.
    inside = sorted((neutral[key], encoded(previews.found[key].path)) for key in held)
    return BlindPage(
        count=len(kept),
        identical=identical,
        shown={"comparison": identity, "pairs": len(kept)},
        hidden=veiled({"variants": names, "pairs": kept}, identity),
        inside=inside,
        linked=len(sizes) - len(held),
    )


def encoded(path: Path) -> str:
    """A file as base64."""
    return base64.b64encode(path.read_bytes()).decode("ascii")


def veiled(data: object, key: str) -> str:
    """JSON that cannot be read at a glance: exclusive or with ``key``, then base64. It keeps no secret."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    letters = key.encode()
    mixed = bytes(byte ^ letters[index % len(letters)] for index, byte in enumerate(text))
    return base64.b64encode(mixed).decode("ascii")


def _copies(previews: Previews, wanted: Mapping[str, str]) -> None:
    folder = previews.folder / "blind"
    if folder.is_dir():
        keep = {f"{name}.mp4" for name in wanted.values()}
        for old in folder.glob("*.mp4"):
            if old.name not in keep:
                old.unlink()
    for key, name in wanted.items():
        folder.mkdir(parents=True, exist_ok=True)
        copy = folder / f"{name}.mp4"
        partial = folder / f".{name}.{os.getpid()}.partial"
        try:
            with suppress(OSError):
                os.link(previews.found[key].path, partial)
            if not partial.exists():
                shutil.copyfile(previews.found[key].path, partial)
            partial.replace(copy)
        finally:
            partial.unlink(missing_ok=True)
