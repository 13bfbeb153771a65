"""Content of the page for blind voting. The page does not reveal the variants."""

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

from retalkit.comparison.report.groups import Previews, select_within_budget
from retalkit.comparison.results import Results
from retalkit.comparison.votes import comparison_id, pairs


@dataclass(frozen=True, slots=True)
class BlindPage:
    """Values for the voting page's template."""

    count: int
    """Number of video pairs to vote on."""
    identical: int
    """Number of pairs that are omitted because both videos are identical."""
    shown: dict[str, Any]
    """Data in readable form: the comparison's identifier and the number of pairs."""
    hidden: str
    """Data in obfuscated form: the pairs with their variants and videos."""
    embedded: list[tuple[str, str]]
    """Neutral name and base64-encoded content of each embedded video."""
    linked: int
    """Number of videos that are stored in files next to the page instead of being embedded."""


def blind_page(results: Results, previews: Previews, budget: int) -> BlindPage:
    """Return the page's data. Videos that do not fit into the budget are stored under neutral names in
    ``previews/blind``.

    Args:
        results: the comparison's results.
        previews: previews of the comparison's cells.
        budget: maximum total size of the embedded videos in bytes, after base64 encoding.
    """
    identity = comparison_id(results)
    names = [variant.name for variant in results.variants]
    digests = {key: hashlib.sha256(preview.path.read_bytes()).hexdigest() for key, preview in previews.found.items()}
    entries: list[dict[str, Any]] = []
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
        entries.append(
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
    embedded = select_within_budget(sizes, used, budget)
    neutral = {key: hashlib.blake2s(f"{identity} {key}".encode(), digest_size=8).hexdigest() for key in sizes}
    _copy_videos(previews, {key: name for key, name in neutral.items() if key not in embedded})
    for pair in entries:
        for side in (pair["first"], pair["second"]):
            key = side["video"]
            side["video"] = neutral[key]
            if key not in embedded:
                side["link"] = f"previews/blind/{neutral[key]}.mp4"
    return BlindPage(
        count=len(entries),
        identical=identical,
        shown={"comparison": identity, "pairs": len(entries)},
        hidden=obfuscate({"variants": names, "pairs": entries}, identity),
        # The videos are sorted by neutral name, so that their order does not reveal the variants.
        embedded=sorted((neutral[key], base64_text(previews.found[key].path)) for key in embedded),
        linked=len(sizes) - len(embedded),
    )


def base64_text(path: Path) -> str:
    """Return a file's content, encoded as base64."""
    return base64.b64encode(path.read_bytes()).decode("ascii")


def obfuscate(data: object, key: str) -> str:
    """Return the data as JSON, XORed with ``key`` and encoded as base64. The data is obfuscated but not encrypted."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    key_bytes = key.encode()
    mixed = bytes(byte ^ key_bytes[index % len(key_bytes)] for index, byte in enumerate(text))
    return base64.b64encode(mixed).decode("ascii")


def _copy_videos(previews: Previews, wanted: Mapping[str, str]) -> None:
    """Hard-link or copy the previews to neutral file names, and delete outdated files."""
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
