"""Groups of videos for side-by-side display, and their previews. A group contains all variants for one clip and
speech."""

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
    REAL: "real video, own audio",
    OWN: "own audio",
    SPEECH: "other speech",
    MISMATCHED: "mismatched speech",
    "silence": "silence",
    "noise": "noise only",
    **{name: f"noisy speech, {decibels:g} dB" for name, decibels in NOISY.items()},
}


@dataclass(frozen=True, slots=True)
class Group:
    """Finished cells for one clip and speech, which are displayed side by side."""

    clip: str
    arm: str
    speech: str
    seed: int
    cells: tuple[CellResult, ...]
    """Finished cells with a video. If the real video has the same speech, it precedes the variants."""

    @property
    def id(self) -> str:
        """Deterministic identifier that consists of letters and digits."""
        return "g" + _digest(self.clip, self.arm, self.speech, str(self.seed))

    @property
    def title(self) -> str:
        parts = [self.clip, arm_title(self.arm, self.speech)]
        parts += [f"seed {self.seed}"] if self.seed else []
        return " / ".join(parts)


def arm_title(arm: str, speech: str = "") -> str:
    """Return the arm's title for the report."""
    title = ARM_TITLES.get(arm, arm)
    return f"{title}: {speech}" if speech and arm == SPEECH else title


def video_groups(results: Results) -> list[Group]:
    """Return all groups with at least one video, ordered by clip and by arm.

    Reruns are excluded. The arm ``mismatched`` is excluded because it reuses the videos of the arm ``own``.
    """
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

    def sort_key(key: tuple[str, str, str, int]) -> tuple[int, int, str, int]:
        clip, arm, speech, seed = key
        return clips.index(clip), arms.index(arm) if arm in arms else len(arms), speech, seed

    groups: list[Group] = []
    for key in sorted(found, key=sort_key):
        clip, arm, speech, seed = key
        cells = sorted(found[key], key=lambda cell: order.index(cell.name.variant))
        if clip in anchors and (arm == OWN or arm in NOISY):
            cells = [anchors[clip], *cells]
        groups.append(Group(clip, arm, speech, seed, tuple(cells)))
    return groups


@dataclass(slots=True)
class Previews:
    """Preview videos of a comparison."""

    folder: Path
    found: dict[str, Preview]
    """Mapping from cell key to preview."""
    failed: dict[str, str]
    """Mapping from cell key to a one-line reason why the preview is missing."""


def make_previews(
    groups: Sequence[Group],
    folder: Path,
    settings: PreviewSettings,
    faces: Mapping[str, Box],
    observer: Observer,
    kind: str = "",
) -> Previews:
    """Create missing previews in ``folder/previews``. Unreadable videos are recorded in ``Previews.failed``.

    ``kind`` is part of the file names and distinguishes previews of one video with different settings.
    """
    previews = Previews(folder / "previews", {}, {})
    wanted = {cell.key: (cell, group.clip) for group in groups for cell in group.cells}
    started = time.monotonic()
    step = f"{kind} previews".strip()
    observer.started(step, len(wanted))
    for position, (key, (cell, clip)) in enumerate(wanted.items()):
        out = previews.folder / f"{safe_file_name(key)}{kind and '-'}{kind}.mp4"
        try:
            previews.found[key] = make_preview(folder / cell.video, out, settings, faces.get(clip))
        except RetalkitError as error:
            previews.failed[key] = str(error)
        observer.advanced(step, position + 1)
    observer.finished(step, time.monotonic() - started, False)
    return previews


def select_within_budget(sizes: Mapping[str, int], order: list[list[str]], budget: int) -> set[str]:
    """Return the keys of the files to embed in a page, such that the total size does not exceed a budget.

    Args:
        sizes: size of each file in bytes.
        order: sets of keys, in descending priority. Each set is embedded either completely or not at all.
        budget: maximum total size in bytes, after base64 encoding.
    """
    embedded: set[str] = set()
    used = 0
    for keys in order:
        cost = sum(-(-sizes[key] // 3) * 4 for key in set(keys) - embedded)
        if used + cost <= budget:
            used += cost
            embedded |= set(keys)
    return embedded


def embedding_priority(group: Group) -> int:
    """Return the sort key for embedding. Groups with other speech are first, followed by groups with the clip's own
    audio and all remaining groups."""
    return {SPEECH: 0, OWN: 1}.get(group.arm, 2)


def safe_file_name(key: str) -> str:
    """Return a file name for a key. Special characters are replaced, leading periods are removed, and a digest is
    appended to a modified name."""
    safe = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "_" for letter in key)
    return key if safe == key and not key.startswith(".") else f"{safe.lstrip('.')}-{_digest(key)}"


def _digest(*parts: str) -> str:
    return hashlib.blake2s("\0".join(parts).encode(), digest_size=6).hexdigest()
