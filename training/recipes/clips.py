"""Training data of the recorded runs: parts of the clips of a prepared dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from retalkit_training.loop.data import FRAME_RATE, Clip, Split
from retalkit_training.tasks.prepared_data import PreparedData


@dataclass(frozen=True, slots=True, eq=False)
class ClipPart:
    """Frames ``first`` to ``first + frame_count - 1`` of a clip, with their sound. ``first`` is a multiple of 5."""

    clip: Clip
    first: int
    frame_count: int
    speaker: str

    @property
    def name(self) -> str:
        return f"{self.clip.name}[{self.first}:{self.first + self.frame_count}]"

    @property
    def step_count(self) -> int:
        return 1 + self.frame_count * 16 // 5

    def faces(self, size: int, indexes: Sequence[int]) -> NDArray[np.uint8]:
        return self.clip.faces(size, [self.first + index for index in indexes])

    def references(self, indexes: Sequence[int]) -> NDArray[np.uint8] | None:
        return self.clip.references([self.first + index for index in indexes])

    def mel(self, start: int, count: int) -> NDArray[np.float32]:
        return self.clip.mel(self.first * 16 // 5 + start, count)

    def coefficients(self, indexes: Sequence[int]) -> NDArray[np.float32] | None:
        return self.clip.coefficients([self.first + index for index in indexes])


@dataclass(frozen=True, slots=True, eq=False)
class ClipParts:
    """Dataset of parts of clips. Training and validation parts can be of one recording."""

    name: str
    splits: Mapping[str, Sequence[ClipPart]]
    frame_rate: float = FRAME_RATE
    sizes: Sequence[int] = (96, 256, 384)
    reference_editor: str = "none"
    restoration: str = "none"
    chin: float = 0.0
    split_by: str = "speaker"

    @property
    def key(self) -> str:
        names = [f"{split} {part.name}" for split, parts in self.splits.items() for part in parts]
        return hashlib.sha256("\n".join(names).encode()).hexdigest()

    @property
    def has_coefficients(self) -> bool:
        return all(part.coefficients([0]) is not None for parts in self.splits.values() for part in parts)

    def clips(self, split: Split) -> Sequence[Clip]:
        return self.splits.get(split, [])


def longest_clip(folder: Path, video: str) -> Clip:
    """Return the longest clip of a speaker in a prepared dataset."""
    clips = [clip for clip in PreparedData(folder).clips("train") if clip.speaker == video]
    return max(clips, key=lambda clip: clip.frame_count)


def one_person(folder: Path, video: str, trained: int, *, held_out: int = 24) -> ClipParts:
    """Return the first frames of a speaker's longest clip for training, and its last frames for validation."""
    clip = longest_clip(folder, video)
    last = (clip.frame_count - held_out) // 5 * 5
    parts = {
        "train": [ClipPart(clip, 0, trained, video)],
        "val": [ClipPart(clip, last, clip.frame_count - last, video)],
    }
    return ClipParts(f"{video}, {trained} frames", parts, chin=PreparedData(folder).chin, split_by="time")
