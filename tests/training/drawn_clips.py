"""Prepared clips of the drawn speakers in the folder ``parity_training``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit_training.datasets.clip_format import EncodedImages, PreparedClip
from retalkit_training.datasets.settings import FACE_SIZES
from retalkit_training.datasets.sync_offset import MARGIN
from retalkit_training.datasets.writer import NewClip, build_clip

from tests.pseudo_weights import load_module

SECONDS = 4.0


@lru_cache(maxsize=8)
def talking(folder: Path, seed: int) -> dict[str, NDArray[Any]]:
    """Return RGB frames, the audio and the mouth of a drawn speaker."""
    drawn = load_module(folder / "inputs_training.py").talking(seed, SECONDS)
    return {**drawn, "frames": np.ascontiguousarray(drawn["frames"][..., ::-1])}


def enlarged(frames: NDArray[np.uint8], sides: Sequence[int] = FACE_SIZES) -> dict[int, NDArray[np.uint8]]:
    """Return the frames at all stored sizes."""
    return {side: np.stack([cv2.resize(frame, (side, side)) for frame in frames]) for side in sides}


@lru_cache(maxsize=8)
def encoded(folder: Path, seed: int) -> Mapping[int, EncodedImages]:
    """Return the encoded frames of a drawn speaker at all stored sizes."""
    drawn = talking(folder, seed)
    return build_clip("faces", enlarged(drawn["frames"]), drawn["wave"]).faces


def drawn_clip(
    folder: Path,
    seed: int,
    *,
    frames: NDArray[np.uint8] | None = None,
    wave: NDArray[np.float32] | None = None,
    delay: int = 0,
    arrays: dict[str, Any] | None = None,
    **meta: Any,
) -> PreparedClip:
    """Return a drawn clip. ``delay``: delay of the lips in frames relative to the predicted motion.

    The predicted motion is the drawn mouth's. The voice activity is given, because the synthetic voice is no speech.
    """
    drawn = talking(folder, seed)
    mouth = np.stack([0.2 * drawn["opening"], drawn["width"]], 1).astype(np.float64)
    motion = np.roll(np.pad(mouth, ((MARGIN, MARGIN), (0, 0)), mode="edge"), -delay, axis=0)
    shown = drawn["frames"] if frames is None else frames
    # Encoding takes most of the time. The quality is measured in the smallest frames.
    sides = FACE_SIZES if frames is not None else FACE_SIZES[:1]
    clip = build_clip(
        f"clip-{seed}",
        enlarged(shown, sides),
        drawn["wave"] if wave is None else wave,
        arrays={"lips": mouth[: len(shown)], "motion": motion[: len(shown) + 2 * MARGIN], **(arrays or {})},
        meta={"speech": 0.9, "face_width": 96.0, "yaw": 5.0, **meta},
    )
    return replace(clip, faces=encoded(folder, seed)) if frames is None else clip


def labelled(clip: PreparedClip, speaker: str, split: str | None = None, **labels: Any) -> NewClip:
    """Return the clip with the speaker's name, which is also the name of the recording."""
    return NewClip(clip=clip, speaker=speaker, split=split, video=labels.pop("video", f"{speaker}-1"), **labels)


def renamed(clip: PreparedClip, key: str) -> PreparedClip:
    """Return the clip with another key."""
    return replace(clip, key=key)
