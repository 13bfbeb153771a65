"""Datasets of ``retalkit dataset prepare`` as training data."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from retalkit.errors import InputError
from retalkit.speech.mel import SILENT_LEVEL
from retalkit_renderers.dnet.coefficients import driving_window
from retalkit_training.datasets.clip_format import PreparedClip
from retalkit_training.datasets.index import ClipEntry, read_index
from retalkit_training.datasets.settings import FACE_SIZES, FRAME_RATE
from retalkit_training.datasets.shards import SHARDS, ShardReader
from retalkit_training.loop.data import Clip, Split, cut_wave

_DNET_SPACE: Final = "bfm257"
"""Space of the coefficients from which D-Net's are taken."""
_CACHE: Final = 2 * 2**30
"""Maximum size of the clips in memory in bytes, with faces as JPEG."""


class PreparedData:
    """Prepared dataset. Clips are read from the shards on demand and kept in memory up to a limit."""

    frame_rate: float = FRAME_RATE
    sizes: Sequence[int] = FACE_SIZES
    split_by: str = "speaker"

    def __init__(self, folder: Path) -> None:
        """Open a dataset. Raises InputError if ``folder`` is not a prepared dataset."""
        self._index = read_index(folder)
        self._clips = _ClipCache(ShardReader(folder, self._index))
        self._entries = {entry.key: entry for entry in self._index.clips}
        self.name = folder.name
        self.reference_editor = self._index.references
        self.restoration, self.chin = self._index.restoration, self._index.chin
        listed = sorted(f"{entry.split} {entry.speaker} {entry.key}" for entry in self._index.clips)
        self.key = hashlib.sha256("\n".join(listed).encode()).hexdigest()

    @property
    def has_coefficients(self) -> bool:
        return self._index.coefficients == _DNET_SPACE

    def first_second(self, clip: Clip) -> float:
        """Return the time of a clip's first frame in the source video in seconds."""
        return float(self._clips.read(self._entries[clip.name]).meta["first_seconds"])

    def clips(self, split: Split) -> Sequence[Clip]:
        return [_Clip(entry, self._clips, self.has_coefficients) for entry in self._index.of_split(split)]


@dataclass(frozen=True, slots=True, eq=False)
class _Clip:
    _entry: ClipEntry
    _source: _ClipCache
    _has_coefficients: bool

    @property
    def name(self) -> str:
        return self._entry.key

    @property
    def speaker(self) -> str:
        return self._entry.speaker

    @property
    def frame_count(self) -> int:
        return self._entry.frames

    @property
    def step_count(self) -> int:
        # 640 samples per frame and 200 per step, without reading the clip.
        return 1 + self._entry.frames * 16 // 5

    def faces(self, size: int, indexes: Sequence[int]) -> NDArray[np.uint8]:
        clip = self._source.read(self._entry)
        encoded = clip.faces.get(size)
        if encoded is None or len(encoded) != self.frame_count:
            count = 0 if encoded is None else len(encoded)
            raise InputError(
                f"{self._entry.shard}: {self.name} has {count} faces of {size} pixels, expected {self.frame_count}; "
                "run `retalkit dataset check`",
                code="corrupt-clip",
            )
        return np.stack([encoded.decode(index)[..., ::-1] for index in indexes])

    def references(self, indexes: Sequence[int]) -> NDArray[np.uint8] | None:
        encoded = self._source.read(self._entry).references
        return None if encoded is None else np.stack([encoded.decode(index)[..., ::-1] for index in indexes])

    def mel(self, start: int, count: int) -> NDArray[np.float32]:
        stored = self._source.read(self._entry).mel
        found = np.full((len(stored), count), SILENT_LEVEL, np.float32)
        first, last = max(start, 0), min(start + count, stored.shape[1])
        if last > first:
            found[:, first - start : last - start] = stored[:, first:last]
        return found

    def wave(self, start: int, count: int) -> NDArray[np.float32]:
        return cut_wave(self._source.read(self._entry).waveform(), start, count)

    def coefficients(self, indexes: Sequence[int]) -> NDArray[np.float32] | None:
        if not self._has_coefficients:
            return None
        rows = self._source.read(self._entry).arrays["coefficients"]
        return driving_window(rows[list(indexes)].astype(np.float32)).T


class _ClipCache:
    """Clips that were read last, for several threads."""

    def __init__(self, reader: ShardReader, limit: int = _CACHE) -> None:
        self._reader, self._limit, self._size = reader, limit, 0
        self._kept: OrderedDict[str, tuple[PreparedClip, int]] = OrderedDict()
        self._lock = threading.Lock()

    def _read(self, entry: ClipEntry) -> PreparedClip:
        try:
            return self._reader.read(entry)
        except InputError as error:
            if entry.shard in str(error):
                raise
            raise InputError(f"{self._reader.folder / SHARDS / entry.shard}: {error}", code=error.code) from error

    def read(self, entry: ClipEntry) -> PreparedClip:
        with self._lock:
            if (kept := self._kept.get(entry.key)) is not None:
                self._kept.move_to_end(entry.key)
                return kept[0]
        clip = self._read(entry)
        with self._lock:
            if entry.key not in self._kept:
                self._kept[entry.key] = clip, entry.size
                self._size += entry.size
                while self._size > self._limit and len(self._kept) > 1:
                    self._size -= self._kept.popitem(last=False)[1][1]
        return clip
