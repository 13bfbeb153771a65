"""Corpus of speech audio with the lip motion of the speakers.

A corpus directory contains the following files:

* ``index.csv``: one line per clip with the columns ``clip``, ``speaker``, ``seconds``, ``flags`` (separated by spaces)
  and ``offset_ms`` (delay of the lips relative to the audio). If the optional column ``offset_fit_ms`` contains a
  value, this value replaces ``offset_ms``. The optional column ``collection`` contains the clip's source. All clips
  from one source are assigned to one fold.
* ``lips.npz``: column names (``features``) and one array per clip, float32 [T, F] at 50 Hz. Row ``j`` is at the time
  (2 j + 1) / 100 s of the audio. Lengths may have any unit, because lengths are divided by the clip's mean of the
  column ``eyes``, the distance between the outer eye corners.
* ``audio/CLIP.flac``: the audio of each clip.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from retalkit.errors import InputError
from retalkit.media.sound import open_sound
from retalkit.stages import SPEECH_RATE

ROW_RATE: Final = 50
"""Sample rate of the lip motion in Hz."""
TRACKING_FLAGS: Final = frozenset({"small_face", "turned", "low_fps", "second_face"})
"""Flags that mark a clip with imprecise lip tracking."""
LONG: Final = 5.0
"""Minimum duration of a long clip in seconds."""
_REQUIRED = ("clip", "speaker", "seconds", "flags", "offset_ms")


@dataclass(frozen=True, slots=True)
class CorpusClip:
    """Index entry of one clip."""

    name: str
    speaker: str
    collection: str
    """Source of the clip, or the speaker if the index contains no source. All clips from one source are in one fold."""
    seconds: float
    flags: frozenset[str]
    offset: float
    """Delay of the lips relative to the audio in seconds. A negative value means that the lips are early."""
    audio: Path

    @property
    def is_long_and_clear(self) -> bool:
        """Whether the clip lasts at least 5 s and has no tracking flag."""
        return self.seconds >= LONG and not self.flags & TRACKING_FLAGS


class LipsCorpus:
    """Clips and lip motion of one corpus directory."""

    def __init__(self, folder: Path) -> None:
        """Load the index of a corpus directory. Raises InputError if a file or a column is missing."""
        self.folder = folder
        for name in ("index.csv", "lips.npz"):
            if not (folder / name).is_file():
                raise InputError(f"{folder / name}: no such file; pass a corpus directory", code="file-not-found")
        with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        missing = [name for name in _REQUIRED if not rows or name not in rows[0]]
        if missing:
            raise InputError(f"{folder / 'index.csv'}: missing column {missing[0]!r}", code="unreadable-file")
        self.clips = tuple(self._clip(row) for row in rows)
        self._lips = np.load(folder / "lips.npz")
        self.columns: tuple[str, ...] = tuple(str(name) for name in self._lips["features"])

    def _clip(self, row: dict[str, str]) -> CorpusClip:
        offset = row.get("offset_fit_ms") or row["offset_ms"]
        return CorpusClip(
            name=row["clip"],
            speaker=row["speaker"],
            collection=row.get("collection") or row["speaker"],
            seconds=float(row["seconds"]),
            flags=frozenset(row["flags"].split()),
            offset=float(offset) / 1000.0,
            audio=self.folder / "audio" / f"{row['clip']}.flac",
        )

    def lips(self, clip: CorpusClip, *columns: str) -> NDArray[np.float32]:
        """Return columns of the lip motion in units of the outer eye corner distance, float32 [len(columns), T]."""
        values: NDArray[np.float32] = self._lips[clip.name]
        eyes = float(values[:, self.columns.index("eyes")].mean())
        return values[:, [self.columns.index(name) for name in columns]].T / np.float32(eyes)

    def waveform(self, clip: CorpusClip) -> NDArray[np.float32]:
        """Return the clip's mono audio, float32 [N] at 16 kHz."""
        return np.concatenate([np.zeros(0, np.float32), *open_sound(clip.audio).chunks(SPEECH_RATE)])


def folds(clips: Sequence[CorpusClip], count: int = 5) -> dict[str, int]:
    """Return a mapping from clip name to fold.

    Folds have approximately equal durations. All clips of a speaker are in one fold, and so are all clips of a
    collection. If the corpus contains fewer than ``count`` collections, collections may be split.
    """
    whole = len({clip.collection for clip in clips}) >= count
    group_of = _groups([(clip.speaker, clip.collection if whole else clip.speaker) for clip in clips])
    durations: dict[int, float] = {}
    for clip, group in zip(clips, group_of, strict=True):
        durations[group] = durations.get(group, 0.0) + clip.seconds
    loads = [0.0] * count
    fold_of: dict[int, int] = {}
    for group in sorted(durations, key=lambda number: (-durations[number], number)):
        fold_of[group] = loads.index(min(loads))
        loads[fold_of[group]] += durations[group]
    return {clip.name: fold_of[group] for clip, group in zip(clips, group_of, strict=True)}


def _groups(pairs: Sequence[tuple[str, str]]) -> list[int]:
    """Return the group index of each (speaker, collection) pair.

    Pairs with a common speaker or a common collection are in one group.
    """
    speakers = {speaker: number for number, speaker in enumerate(sorted({speaker for speaker, _ in pairs}))}
    collections = {name: number for number, name in enumerate(sorted({name for _, name in pairs}))}
    links = coo_matrix(
        (
            np.ones(len(pairs)),
            ([speakers[speaker] for speaker, _ in pairs], [len(speakers) + collections[name] for _, name in pairs]),
        ),
        shape=(len(speakers) + len(collections),) * 2,
    )
    labels = connected_components(links, directed=False)[1]
    return [int(labels[speakers[speaker]]) for speaker, _ in pairs]
