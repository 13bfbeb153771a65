"""Windows of five frames with their sound, cut from clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from retalkit.errors import InputError
from retalkit_training.augmentation import MelReader
from retalkit_training.loop.data import MEL_STEPS, WINDOW_FRAMES, Clip, last_start
from retalkit_training.mel_windows import Alignment, expert_window, generator_window

SIDE = 96


def faces(clip: Clip, indexes: Sequence[int], size: int = SIDE) -> NDArray[np.float32]:
    """Return frames as [3, T, size, size], BGR in [0, 1]."""
    return (clip.faces(size, indexes).astype(np.float32) / 255).transpose(3, 0, 1, 2)


def edited_faces(clip: Clip, indexes: Sequence[int]) -> NDArray[np.float32]:
    """Return faces with the canonical expression as [3, T, 96, 96], BGR in [0, 1].

    Raises:
        InputError: the clip has none.
    """
    found = clip.references(indexes)
    if found is None:
        raise InputError(
            f"{clip.name}: the clip has no reference faces; prepare the dataset again", code="missing-references"
        )
    return (found.astype(np.float32) / 255).transpose(3, 0, 1, 2)


def mouths(clip: Clip, start: int) -> NDArray[np.float32]:
    """Return the expert's input [15, 48, 96] for the five frames from ``start``."""
    window = clip.faces(SIDE, range(start, start + WINDOW_FRAMES))[:, SIDE // 2 :]
    # [T, H, W, C] -> [T C, H, W]
    return np.ascontiguousarray(window.transpose(0, 3, 1, 2)).reshape(-1, SIDE // 2, SIDE).astype(np.float32) / 255


def mouths_of(window: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the expert's input [15, 48, 96] for faces [3, 5, 96, 96]."""
    return np.ascontiguousarray(window[:, :, SIDE // 2 :].transpose(1, 0, 2, 3)).reshape(-1, SIDE // 2, SIDE)


def expert_mel(mel: MelReader, start: int) -> NDArray[np.float32]:
    """Return the sound [1, 80, 16] of the five frames from ``start``. ``mel``: reader such as ``Clip.mel``."""
    return mel(expert_window(start), MEL_STEPS)[None]


def frame_mels(mel: MelReader, start: int, alignment: Alignment) -> NDArray[np.float32]:
    """Return the sound [5, 1, 80, 16] of each of the five frames from ``start``."""
    frames = range(start, start + WINDOW_FRAMES)
    return np.stack([mel(generator_window(frame, alignment), MEL_STEPS)[None] for frame in frames])


def window_steps(start: int, alignment: Alignment = "inference") -> tuple[int, int, int]:
    """Return the range of all mel steps of the five frames from ``start``, and the step in the middle of the frames."""
    first = expert_window(start)
    last = expert_window(start + WINDOW_FRAMES - 1) + MEL_STEPS
    return min(first, generator_window(start, alignment)), last, first + MEL_STEPS // 2


def random_start(generator: np.random.Generator, clip: Clip, first: int = 0) -> int:
    """Return the first frame of a random window with sound."""
    return int(generator.integers(first, last_start(clip) + 1))


def other_start(generator: np.random.Generator, clip: Clip, start: int) -> int:
    """Return the first frame of another random window of the clip, at any distance."""
    found = int(generator.integers(0, last_start(clip)))
    return found + (found >= start)


def reference_frames(
    generator: np.random.Generator, clip: Clip, start: int, kind: Literal["consecutive", "random"]
) -> list[int]:
    """Return five reference frames of the clip: consecutive ones from another start, or random ones."""
    if kind == "random":
        return [int(index) for index in generator.integers(0, clip.frame_count, WINDOW_FRAMES)]
    other = other_start(generator, clip, start)
    return list(range(other, other + WINDOW_FRAMES))


def choose_clip(generator: np.random.Generator, clips: Sequence[Clip]) -> Clip:
    return clips[int(generator.integers(len(clips)))]
