"""Tar shards of a prepared dataset: packing and reading."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from retalkit.errors import InputError
from retalkit_training.datasets.clip_format import PreparedClip, from_members, read_tar, to_tar
from retalkit_training.datasets.index import ClipEntry, DatasetIndex, ShardEntry, read_index
from retalkit_training.datasets.settings import SplitSettings

SHARDS: Final = "shards"
CLIPS: Final = "clips"
"""Directory of clips that are not yet in a shard."""
_NAME: Final = re.compile(r"^\.?(train|val|test)-\d{6}-[0-9a-f]{12}\.tar(\.\d+)?$")
"""Names of shards, and of incomplete shards of a process."""
_END: Final = b"\0" * 1024
"""End-of-archive marker of a tar file."""


@dataclass(frozen=True, slots=True)
class LabelledClip:
    """Clip that is to be packed."""

    key: str
    split: str
    speaker: str
    video: str
    source: str
    frames: int


def loose_path(folder: Path, key: str) -> Path:
    """Return the path of a clip that is not yet in a shard."""
    return folder / CLIPS / f"{key}.tar"


def write_loose(folder: Path, clip: PreparedClip) -> Path:
    """Write a clip atomically as a separate tar file. ``pack`` moves it into a shard."""
    path = loose_path(folder, clip.key)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{clip.key}.{os.getpid()}")
    partial.write_bytes(to_tar(clip))
    partial.replace(path)
    return path


def pack(
    folder: Path, clips: Sequence[LabelledClip], settings: SplitSettings, former: Mapping[str, ClipEntry]
) -> tuple[tuple[ClipEntry, ...], tuple[ShardEntry, ...]]:
    """Write the shards of all splits and return the entries of clips and shards.

    ``former``: entries of clips that are already in shards. A shard's name contains a hash of its clips, so shards that
    already exist are not written again. Former shards are not removed, see ``remove_unreferenced``.
    """
    (folder / SHARDS).mkdir(parents=True, exist_ok=True)
    entries: list[ClipEntry] = []
    shards: list[ShardEntry] = []
    for split in dict.fromkeys(clip.split for clip in clips):
        chosen = sorted((clip for clip in clips if clip.split == split), key=lambda clip: _shuffled(clip.key))
        sizes = {clip.key: _size(folder, clip.key, former) for clip in chosen}
        for number, group in enumerate(_groups(chosen, sizes, round(settings.shard_megabytes * 1e6))):
            digest = hashlib.sha256(" ".join(clip.key for clip in group).encode()).hexdigest()[:12]
            name = f"{split}-{number:06d}-{digest}.tar"
            path = folder / SHARDS / name
            total = sum(sizes[clip.key] for clip in group) + len(_END)
            if not path.is_file() or path.stat().st_size != total:
                _write_shard(folder, path, group, former)
            offset = 0
            for clip in group:
                size = sizes[clip.key]
                entries.append(
                    ClipEntry(
                        key=clip.key,
                        shard=name,
                        offset=offset,
                        size=size,
                        split=split,
                        speaker=clip.speaker,
                        video=clip.video,
                        source=clip.source,
                        frames=clip.frames,
                    )
                )
                offset += size
            shards.append(ShardEntry(name=name, split=split, clips=len(group), size=total))
    return tuple(entries), tuple(shards)


def remove_unreferenced(folder: Path, index: DatasetIndex) -> None:
    """Remove shards that the index does not contain, and the separate files of clips that are in shards."""
    named = {shard.name for shard in index.shards}
    for path in (folder / SHARDS).glob("*"):
        if path.name not in named and _NAME.search(path.name):
            path.unlink()
    for clip in index.clips:
        loose_path(folder, clip.key).unlink(missing_ok=True)
    with suppress(OSError):
        (folder / CLIPS).rmdir()


class ShardReader:
    """Random access to the clips of a prepared dataset. Instances can be pickled and used in worker processes."""

    def __init__(self, folder: Path, index: DatasetIndex | None = None) -> None:
        """Open a dataset. Raises InputError if ``folder`` is not a prepared dataset."""
        self.folder = folder
        self.index = index if index is not None else read_index(folder)

    def read(self, entry: ClipEntry, sides: Collection[int] | None = None) -> PreparedClip:
        """Return a clip with the crops of the given sides, or with all crops if ``sides`` is None.

        Raises InputError if the shard is missing or damaged.
        """
        with _open_shard(self.folder, entry) as file:
            return read_tar(file, entry.key, entry.size, sides)


def stream(
    folder: Path, split: str, *, sides: Collection[int] | None = None, shuffle_seed: int | None = None
) -> Iterator[tuple[ClipEntry, PreparedClip]]:
    """Yield all clips of a split by reading its shards sequentially with ``webdataset``.

    ``sides``: sides of the crops that the clips contain, or None for all.
    ``shuffle_seed``: seed of the order of the shards, or None for the order of the index.

    Raises:
        InputError: the dataset, a shard or a clip is missing or damaged.
    """
    index = read_index(folder)
    names = [shard.name for shard in index.shards if shard.split == split]
    if shuffle_seed is not None:
        names.sort(key=lambda name: hashlib.sha256(f"{shuffle_seed}:{name}".encode()).digest())
    entries = {clip.key: clip for clip in index.clips}
    for sample in _samples([folder / SHARDS / name for name in names]):
        key = str(sample.pop("__key__"))
        members = {name: content for name, content in sample.items() if isinstance(content, bytes)}
        yield entries[key], from_members(key, members, sides)


def _samples(paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    from webdataset.compat import WebDataset

    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: no such shard; prepare the dataset again", code="missing-shard")
    if paths:
        yield from WebDataset([str(path) for path in paths], shardshuffle=False)


def _shuffled(key: str) -> str:
    """Return a sort key that mixes the videos, so that a shard contains clips of many speakers."""
    return hashlib.sha256(key.encode()).hexdigest()


def _groups(clips: Sequence[LabelledClip], sizes: Mapping[str, int], limit: int) -> Iterator[list[LabelledClip]]:
    group: list[LabelledClip] = []
    total = 0
    for clip in clips:
        if group and total + sizes[clip.key] > limit:
            yield group
            group, total = [], 0
        group.append(clip)
        total += sizes[clip.key]
    if group:
        yield group


def _size(folder: Path, key: str, former: Mapping[str, ClipEntry]) -> int:
    loose = loose_path(folder, key)
    return loose.stat().st_size if loose.is_file() else former[key].size


def _write_shard(folder: Path, path: Path, group: Sequence[LabelledClip], former: Mapping[str, ClipEntry]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("wb") as file:
        for clip in group:
            loose = loose_path(folder, clip.key)
            file.write(loose.read_bytes() if loose.is_file() else _read_blocks(folder, former[clip.key]))
        file.write(_END)
    partial.replace(path)


def _read_blocks(folder: Path, entry: ClipEntry) -> bytes:
    with _open_shard(folder, entry) as file:
        return file.read(entry.size)


@contextmanager
def _open_shard(folder: Path, entry: ClipEntry) -> Generator[BinaryIO]:
    """Open the shard of a clip at the clip's first block. Raises InputError if the shard is missing or truncated."""
    path = folder / SHARDS / entry.shard
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); prepare again", code="missing-shard") from error
    with file:
        size = file.seek(0, os.SEEK_END)
        if size < entry.offset + entry.size:
            raise InputError(
                f"{path}: truncated, expected at least {entry.offset + entry.size} bytes, got {size}",
                code="corrupt-clip",
            )
        file.seek(entry.offset)
        yield file
