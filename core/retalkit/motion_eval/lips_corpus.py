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
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from retalkit.errors import InputError
from retalkit.media.npz_archive import NpzArchive
from retalkit.media.sound import open_sound
from retalkit.stages import SPEECH_RATE

ROW_RATE: Final = 50
"""Sample rate of the lip motion in Hz."""
TRACKING_FLAGS: Final = frozenset({"small_face", "turned", "low_fps", "second_face"})
"""Flags that mark a clip with imprecise lip tracking."""
LONG: Final = 5.0
"""Minimum duration of a long clip in seconds."""
MIN_ROWS: Final = 25
"""Minimum number of rows of a clip."""
MAX_OFFSET: Final = 1.0
"""Maximum magnitude of a clip's offset in seconds."""
MAX_DIFFERENCE: Final = 0.2
"""Maximum difference in seconds between the durations of a clip's lip motion and audio."""
_COLUMNS = ("opening", "width", "eyes")
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
        """Load the index of a corpus directory.

        Raises InputError if a file, a column or a number is missing or invalid.
        """
        self.folder = folder
        self._index, self._archive_path = folder / "index.csv", folder / "lips.npz"
        for path in (self._index, self._archive_path):
            if not path.is_file():
                raise InputError(f"{path}: no such file; pass a corpus directory", code="file-not-found")
        self.clips = tuple(self._clip(line, row) for line, row in self._rows())
        try:
            self._archive = NpzArchive(self._archive_path)
            self.columns = self._archive.strings("features")
        except ValueError as error:
            raise InputError(f"{self._archive_path}: {error}", code="unreadable-file") from error
        except KeyError as error:
            raise InputError(
                f"{self._archive_path}: missing array 'features' with the column names", code="missing-column"
            ) from error
        if missing := [name for name in _COLUMNS if name not in self.columns]:
            raise InputError(
                f"{self._archive_path}: features: missing columns: {', '.join(missing)}", code="missing-column"
            )

    def _rows(self) -> list[tuple[int, dict[str, str]]]:
        """Return the line number and the cells of each row in the index."""
        try:
            with self._index.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file, restval="")
                names = list(reader.fieldnames or ())
                rows = [(reader.line_num, row) for row in reader]
        except UnicodeDecodeError as error:
            message = f"{self._index}: the file is not encoded in UTF-8; save the file as UTF-8"
            raise InputError(message, code="unreadable-file") from error
        except (OSError, csv.Error) as error:
            raise InputError(f"{self._index}: cannot read the file: {error}", code="unreadable-file") from error
        if missing := [name for name in _REQUIRED if name not in names]:
            raise InputError(f"{self._index}: missing columns: {', '.join(missing)}", code="missing-column")
        if not rows:
            raise InputError(f"{self._index}: the file contains no clips", code="empty-file")
        return rows

    def _clip(self, line: int, row: dict[str, str]) -> CorpusClip:
        if not row["clip"].strip():
            raise InputError(f"{self._index}: line {line}: clip: expected a name", code="invalid-value")
        offset = "offset_fit_ms" if row.get("offset_fit_ms") else "offset_ms"
        seconds = self._number(line, "seconds", row["seconds"])
        if not 0.0 < seconds < math.inf:
            message = f"{self._index}: line {line}: seconds: expected a number above 0, got {seconds:g}"
            raise InputError(message, code="invalid-value")
        return CorpusClip(
            name=row["clip"],
            speaker=row["speaker"],
            collection=row.get("collection") or row["speaker"],
            seconds=seconds,
            flags=frozenset(row["flags"].split()),
            offset=self._number(line, offset, row[offset]) / 1000.0,
            audio=self.folder / "audio" / f"{row['clip']}.flac",
        )

    def _number(self, line: int, column: str, text: str) -> float:
        try:
            return float(text)
        except ValueError as error:
            message = f"{self._index}: line {line}: {column}: expected a number, got '{text[:40]}'"
            raise InputError(message, code="invalid-value") from error

    def lips(self, clip: CorpusClip, *columns: str) -> NDArray[np.float32]:
        """Return columns of the lip motion in units of the outer eye corner distance, float32 [len(columns), T].

        Raises InputError if the clip's array is missing or invalid.
        """
        place = f"{self._archive_path}: clip '{clip.name}'"
        try:
            values = np.asarray(self._archive.numbers(clip.name), np.float32)
        except KeyError as error:
            raise InputError(f"{self._archive_path}: no array for clip '{clip.name}'", code="missing-lips") from error
        except ValueError as error:
            raise InputError(f"{self._archive_path}: {error}", code="invalid-lips") from error
        if values.ndim != 2 or values.shape[1] != len(self.columns):
            message = f"{place}: expected an array [T, {len(self.columns)}], got {list(values.shape)}"
            raise InputError(message, code="invalid-lips")
        if not len(values):
            raise InputError(f"{place}: the array contains no rows", code="invalid-lips")
        if missing := [name for name in columns if name not in self.columns]:
            raise InputError(
                f"{self._archive_path}: features: missing columns: {', '.join(missing)}", code="missing-column"
            )
        found = values[:, [self.columns.index(name) for name in columns]].T
        eyes = float(values[:, self.columns.index("eyes")].mean())
        if not np.isfinite(found).all() or not np.isfinite(eyes):
            raise InputError(f"{place}: expected finite numbers", code="invalid-lips")
        if eyes <= 0.0:
            raise InputError(f"{place}: eyes: expected a mean above 0, got {eyes:g}", code="invalid-lips")
        return found / np.float32(eyes)

    def check(self, clip: CorpusClip, duration: float) -> None:
        """Check that the lip motion of a clip can be compared with audio that lasts ``duration`` seconds.

        Raises InputError if lips and audio have different durations, the lips do not move, or the offset is too large.
        """
        if not abs(clip.offset) <= MAX_OFFSET:
            message = (
                f"{self._index}: clip '{clip.name}': offset: expected at most {MAX_OFFSET:g} s, got {clip.offset:g} s"
            )
            raise InputError(message, code="invalid-offset")
        lips = self.lips(clip, "opening", "width")
        if lips.shape[1] < MIN_ROWS:
            raise InputError(
                f"{self._archive_path}: clip '{clip.name}': expected at least {MIN_ROWS} rows, got {lips.shape[1]}",
                code="invalid-lips",
            )
        seconds = lips.shape[1] / ROW_RATE
        if abs(seconds - duration) > MAX_DIFFERENCE:
            raise InputError(
                f"{self._archive_path}: clip '{clip.name}': the lips last {seconds:.2f} s, but the audio lasts "
                f"{duration:.2f} s; expected a difference of at most {MAX_DIFFERENCE:g} s",
                code="duration-mismatch",
            )
        if (np.ptp(lips, axis=1) < 1e-6).any():
            message = f"{self._archive_path}: clip '{clip.name}': opening or width is constant"
            raise InputError(message, code="invalid-lips")

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
