"""Datasets from clips that do not come from ``prepare``, such as drawn speakers and dubbed videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from retalkit.speech.mel import mel_spectrogram
from retalkit_training.datasets.clip_format import EncodedImages, PreparedClip
from retalkit_training.datasets.index import DatasetIndex, VideoEntry
from retalkit_training.datasets.quality import clip_quality
from retalkit_training.datasets.settings import FACE_SIZES, FRAME_RATE, PrepareSettings, SplitSettings
from retalkit_training.datasets.shards import LabelledClip, pack, remove_unreferenced, write_loose
from retalkit_training.datasets.splits import assign_splits


@dataclass(frozen=True, slots=True, kw_only=True)
class NewClip:
    """Clip with its labels."""

    clip: PreparedClip
    speaker: str
    video: str
    """Name of the recording."""
    split: str | None = None
    """Split of the clip, or None to choose the split by speaker and recording."""
    facts: Mapping[str, Any] | None = None
    """Measurements of the source video, such as ``rate``."""


def build_clip(
    key: str,
    faces: Mapping[int, NDArray[np.uint8]],
    wave: NDArray[np.float32],
    *,
    arrays: Mapping[str, NDArray[Any]] | None = None,
    meta: Mapping[str, Any] | None = None,
    jpeg_quality: int = 95,
) -> PreparedClip:
    """Return a clip with its mel spectrogram and measurements.

    ``key``: unique name without dots. ``faces``: mapping from side to RGB crops at 25 frames per second, uint8
    [T, side, side, 3]. ``wave``: mono audio at 16 kHz, float32 [N] in [-1, 1], that starts with the first frame.
    ``meta``: measurements that replace the computed ones.
    """
    rounded = np.round(np.clip(wave, -1, 32767 / 32768) * 32768).astype(np.int16)
    sampled = (rounded / np.float32(32768)).astype(np.float32)
    small = faces[FACE_SIZES[0]]
    known = (meta or {}).get("speech")
    measured = clip_quality(small, sampled, None if known is None else np.full(1, known, np.float32))
    return PreparedClip(
        key=key,
        faces={side: EncodedImages.encode(images, jpeg_quality) for side, images in faces.items()},
        wave=rounded,
        mel=mel_spectrogram(sampled),
        arrays={"source_times": np.arange(len(small)) / FRAME_RATE, **(arrays or {})},
        meta={"frames": len(small), "first_seconds": 0.0, **measured, **(meta or {})},
    )


def write_dataset(folder: Path, clips: Sequence[NewClip], splits: SplitSettings | None = None) -> DatasetIndex:
    """Write a dataset that contains exactly the given clips, and return its index."""
    splits = splits or SplitSettings()
    assigned = assign_splits([(new.speaker, new.video) for new in clips], splits)
    chosen = [new.split or split for new, split in zip(clips, assigned, strict=True)]
    labelled: list[LabelledClip] = []
    videos: dict[str, VideoEntry] = {}
    for new, split in zip(clips, chosen, strict=True):
        write_loose(folder, new.clip)
        source = f"{new.speaker}/{new.video}"
        labelled.append(LabelledClip(new.clip.key, split, new.speaker, new.video, source, new.clip.frame_count))
        former = videos.get(source)
        keys = (*(former.clips if former is not None else ()), new.clip.key)
        entry = VideoEntry(
            key=source,
            path=source,
            speaker=new.speaker,
            video=new.video,
            split=split,
            clips=keys,
            facts=dict(new.facts or {}),
        )
        videos[source] = entry if former is None else replace(former, clips=keys)
    packed, shards = pack(folder, labelled, splits, {})
    spaces = {str(new.clip.meta.get("coefficient_space", "")) for new in clips}
    space = spaces.pop() if len(spaces) == 1 else ""
    index = DatasetIndex(
        videos=tuple(videos.values()),
        clips=packed,
        shards=shards,
        settings={"clips": PrepareSettings().model_dump(mode="json"), "splits": splits.model_dump(mode="json")},
        coefficients=space,
        without_coefficients="" if space else "the clips have none",
    )
    index.write(folder)
    remove_unreferenced(folder, index)
    return index
