"""Index of a prepared dataset: ``dataset.json``."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from retalkit.errors import InputError

FILE: Final = "dataset.json"
FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoEntry:
    """One source video."""

    key: str
    """Hash of the video's content and of the settings."""
    path: str
    speaker: str
    video: str
    """Name of the recording."""
    split: str
    clips: tuple[str, ...]
    """Keys of the clips."""
    rejected: tuple[dict[str, Any], ...] = ()
    """Parts that the quality filter left out: ``first`` and ``last`` (seconds), ``reason`` and ``detail``."""
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    """Measurements of the whole video, such as ``rate`` and ``offset``."""
    error: str = ""
    """Reason for which the video has no clips, or an empty string."""
    duplicate_of: str = ""
    """Path of another video with identical content, or an empty string."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipEntry:
    """Position of one clip in the shards."""

    key: str
    shard: str
    offset: int
    """Position of the clip's first tar block in bytes."""
    size: int
    """Size of the clip's tar blocks in bytes."""
    split: str
    speaker: str
    video: str
    """Name of the recording."""
    source: str
    """Path of the source video."""
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardEntry:
    """One tar file in the directory ``shards``."""

    name: str
    split: str
    clips: int
    size: int
    """Size in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetIndex:
    """Contents of ``dataset.json``."""

    videos: tuple[VideoEntry, ...]
    clips: tuple[ClipEntry, ...]
    shards: tuple[ShardEntry, ...]
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    coefficients: str = ""
    """Space of the 3DMM coefficients, such as ``bfm257``, or an empty string."""
    without_coefficients: str = ""
    """Reason for which the dataset has no 3DMM coefficients, or an empty string."""
    references: str = "none"
    """Expression editor of the reference faces: ``neutral_warp``, ``dnet``, or ``none`` without such faces."""
    restoration: str = "none"
    """Restorer of the 384-pixel faces: ``gpen``, ``gfpgan``, or ``none`` for the frames as they are."""

    @property
    def chin(self) -> float:
        """Downward extension of the face boxes in box heights."""
        # Older datasets have no such setting, and their boxes are not extended.
        return float(self.settings.get("clips", {}).get("chin", 0.0))

    def of_split(self, split: str) -> list[ClipEntry]:
        """Return the clips of a split in the order of the shards."""
        return [clip for clip in self.clips if clip.split == split]

    def write(self, folder: Path) -> None:
        """Write ``dataset.json`` atomically."""
        partial = folder / f".{FILE}.{os.getpid()}"
        partial.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n", encoding="utf-8")
        partial.replace(folder / FILE)


def read_index(folder: Path) -> DatasetIndex:
    """Read the index of a prepared dataset.

    Raises:
        InputError: the directory or the index does not exist, or the index is damaged or has an unsupported format.
    """
    path = folder / FILE
    if not path.is_file():
        hint = "run `retalkit dataset prepare VIDEOS... -o DATA` first"
        raise InputError(f"{folder}: not a prepared dataset, {FILE} is missing; {hint}", code="not-a-dataset")
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        found = stored.pop("format")
        if found == FORMAT:
            videos = tuple(_video(row) for row in stored.pop("videos"))
            clips = tuple(ClipEntry(**row) for row in stored.pop("clips"))
            shards = tuple(ShardEntry(**row) for row in stored.pop("shards"))
            return DatasetIndex(videos=videos, clips=clips, shards=shards, **stored)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); prepare the dataset again", code="unreadable-file"
        ) from error
    raise InputError(
        f"{path}: format {found} is not supported, expected {FORMAT}; prepare the dataset again",
        code="unsupported-format",
    )


def _video(row: dict[str, Any]) -> VideoEntry:
    clips, rejected = tuple(row.pop("clips")), tuple(row.pop("rejected"))
    return VideoEntry(clips=clips, rejected=rejected, **row)
