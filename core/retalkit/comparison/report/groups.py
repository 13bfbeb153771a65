"""Cells that belong side by side: one clip with one speech, in every variant, frame for frame in step."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retalkit.comparison.report.previews import Box, Preview, PreviewSettings, make_preview
from retalkit.comparison.results import ANCHOR, ARMS, MISMATCHED, NOISY, OWN, REAL, SPEECH, CellResult, Results
from retalkit.errors import RetalkitError
from retalkit.observer import Observer

ARM_TITLES = {
    REAL: "real video, own sound",
    OWN: "own sound",
    SPEECH: "other speech",
    MISMATCHED: "mismatched speech",
    "silence": "silence",
    "noise": "noise only",
    **{name: f"noisy speech, {decibels:g} dB" for name, decibels in NOISY.items()},
}


@dataclass(frozen=True, slots=True)
class Group:
    """What is shown side by side."""

    clip: str
    arm: str
    speech: str
    seed: int
    cells: tuple[CellResult, ...]
    """The real video first where it shows the same words, then variants in their order; done cells with a video."""

    @property
    def id(self) -> str:
        """Letters and digits; the same for the same group."""
        return "g" + _digest(self.clip, self.arm, self.speech, str(self.seed))

    @property
    def title(self) -> str:
        parts = [self.clip, arm_title(self.arm, self.speech)]
        parts += [f"seed {self.seed}"] if self.seed else []
        return " / ".join(parts)


def arm_title(arm: str, speech: str = "") -> str:
    """What pages call an arm."""
    title = ARM_TITLES.get(arm, arm)
    return f"{title}: {speech}" if speech and arm == SPEECH else title


def groups(results: Results) -> list[Group]:
    """Every group with at least one video, ordered by clip, then arm. No reruns, and not the arm ``mismatched``: its
    videos are those of ``own``."""
    order = [variant.name for variant in results.variants]
    found: dict[tuple[str, str, str, int], list[CellResult]] = {}
    anchors: dict[str, CellResult] = {}
    for cell in results.cells:
        name = cell.name
        if cell.state != "done" or not cell.video or name.rerun or name.arm == MISMATCHED:
            continue
        if name.arm == REAL or name.variant == ANCHOR:
            anchors.setdefault(name.clip, cell)
        elif name.variant in order:
            found.setdefault((name.clip, name.arm, name.speech, name.seed), []).append(cell)
    clips = list(dict.fromkeys(cell.name.clip for cell in results.cells))
    arms = list(ARMS)

    def place(key: tuple[str, str, str, int]) -> tuple[int, int, str, int]:
        clip, arm, speech, seed = key
        return clips.index(clip), arms.index(arm) if arm in arms else len(arms), speech, seed

    listed: list[Group] = []
    for key in sorted(found, key=place):
        clip, arm, speech, seed = key
        cells = sorted(found[key], key=lambda cell: order.index(cell.name.variant))
        if clip in anchors and (arm == OWN or arm in NOISY):
            cells = [anchors[clip], *cells]
        listed.append(Group(clip, arm, speech, seed, tuple(cells)))
    return listed


@dataclass(slots=True)
class Previews:
    """The previews of a comparison: which there are, and which of them a page holds inside."""

    folder: Path
    found: dict[str, Preview]
    """Key of a cell -> its preview."""
    failed: dict[str, str]
    """Key of a cell -> why there is none; one line."""


def make_previews(
    listed: Sequence[Group],
    folder: Path,
    settings: PreviewSettings,
    faces: Mapping[str, Box],
    observer: Observer,
    kind: str = "",
) -> Previews:
    """Makes what is missing in ``folder/previews``. A video that cannot be read costs its own preview only.

    ``kind`` tells apart previews of one video that are made with other settings."""
    made = Previews(folder / "previews", {}, {})
    wanted = {cell.key: (cell, group.clip) for group in listed for cell in group.cells}
    started = time.monotonic()
    step = f"{kind} previews".strip()
    observer.started(step, len(wanted))
    for position, (key, (cell, clip)) in enumerate(wanted.items()):
        out = made.folder / f"{file_name(key)}{kind and '-'}{kind}.mp4"
        try:
            made.found[key] = make_preview(folder / cell.video, out, settings, faces.get(clip))
        except RetalkitError as error:
            made.failed[key] = str(error)
        observer.advanced(step, position + 1)
    observer.finished(step, time.monotonic() - started, False)
    return made


def within_budget(sizes: Mapping[str, int], order: list[list[str]], budget: int) -> set[str]:
    """Keys to hold inside a page of at most ``budget`` bytes of base64; sets of keys go in whole or not at all.

    Args:
        sizes: bytes of each file.
        order: sets of keys, the most important first.
        budget: bytes of text.
    """
    inside: set[str] = set()
    used = 0
    for keys in order:
        cost = sum(-(-sizes[key] // 3) * 4 for key in set(keys) - inside)
        if used + cost <= budget:
            used += cost
            inside |= set(keys)
    return inside


def importance(group: Group) -> int:
    """Which groups are held inside a page first: other speech, then own sound, then the rest."""
    return {SPEECH: 0, OWN: 1}.get(group.arm, 2)


def file_name(key: str) -> str:
    """A key as the name of a file in one folder; other letters than plain ones make way for a digest."""
    plain = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "_" for letter in key)
    return key if plain == key and not key.startswith(".") else f"{plain.lstrip('.')}-{_digest(key)}"


def _digest(*parts: str) -> str:
    return hashlib.blake2s("\0".join(parts).encode(), digest_size=6).hexdigest()
