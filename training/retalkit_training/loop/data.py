"""Training data: the protocol that prepared datasets satisfy, clips in memory, and checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from retalkit.errors import InputError
from retalkit.speech.mel import SILENT_LEVEL, STEPS_PER_SECOND

FRAME_RATE: Final = 25
"""Frame rate of training clips. All published networks are trained at this rate."""
WINDOW_FRAMES: Final = 5
MEL_STEPS: Final = 16
"""Number of mel steps of a window of five frames, at 80 steps per second."""
SHORTEST: Final = 16
"""Minimum number of frames of a clip. Wav2Lip skips videos of 15 frames or fewer."""

Split = Literal["train", "val", "test"]


class Clip(Protocol):
    """One face of one speaker with its sound, at 25 frames per second."""

    @property
    def name(self) -> str: ...

    @property
    def speaker(self) -> str: ...

    @property
    def frame_count(self) -> int: ...

    @property
    def step_count(self) -> int:
        """Number of mel steps, at 80 steps per second. Step k is centred on the time k / 80 of the first frame."""
        ...

    def faces(self, size: int, indexes: Sequence[int]) -> NDArray[np.uint8]:
        """Return face crops [N, size, size, 3], BGR. ``size``: 96, 256 or 384."""
        ...

    def references(self, indexes: Sequence[int]) -> NDArray[np.uint8] | None:
        """Return faces with the canonical expression [N, 96, 96, 3], BGR, or None if the clip has none."""
        ...

    def mel(self, start: int, count: int) -> NDArray[np.float32]:
        """Return mel steps [80, count] in [-4, 4]. Steps outside of the sound are silence."""
        ...

    def wave(self, start: int, count: int) -> NDArray[np.float32]:
        """Return samples of the sound at 16 kHz, float32 [count] in [-1, 1]. Samples outside of the sound are 0."""
        ...

    def coefficients(self, indexes: Sequence[int]) -> NDArray[np.float32] | None:
        """Return D-Net's coefficients [N, 73], or None if the clip has none.

        Columns: 64 expression, 3 angles, 3 translation, 3 crop (ratio, t0, t1).
        """
        ...


class TrainingData(Protocol):
    """Prepared dataset."""

    @property
    def name(self) -> str: ...

    @property
    def key(self) -> str:
        """Key of the dataset's content. A run refuses to resume with a different key."""
        ...

    @property
    def frame_rate(self) -> float: ...

    @property
    def sizes(self) -> Sequence[int]:
        """Sides of the stored face crops in pixels."""
        ...

    @property
    def has_coefficients(self) -> bool:
        """Whether all clips have D-Net's coefficients."""
        ...

    @property
    def reference_editor(self) -> str:
        """Expression editor of the clips' reference faces: ``neutral_warp``, ``dnet``, or ``none``."""
        ...

    @property
    def restoration(self) -> str:
        """Restorer of the 384-pixel faces: ``gpen``, ``gfpgan``, or ``none``."""
        ...

    @property
    def chin(self) -> float:
        """Downward extension of the face boxes in box heights."""
        ...

    @property
    def split_by(self) -> str:
        """``speaker`` if the splits have no speaker in common, or ``time`` for the parts of one person's clip."""
        ...

    def clips(self, split: Split) -> Sequence[Clip]: ...


@dataclass(frozen=True, slots=True, eq=False)
class ArrayClip:
    """Clip in memory."""

    name: str
    speaker: str
    crops: dict[int, NDArray[np.uint8]]
    """Face crops [T, size, size, 3], BGR, by size."""
    spectrogram: NDArray[np.float32]
    """[80, steps]."""
    rows: NDArray[np.float32] | None = None
    """Coefficients [T, 73]."""
    edited: NDArray[np.uint8] | None = None
    """Faces with the canonical expression [T, 96, 96, 3], BGR."""
    samples: NDArray[np.float32] | None = None
    """Sound at 16 kHz in [-1, 1], for augmentation."""

    @property
    def frame_count(self) -> int:
        return len(next(iter(self.crops.values())))

    @property
    def step_count(self) -> int:
        return self.spectrogram.shape[1]

    def faces(self, size: int, indexes: Sequence[int]) -> NDArray[np.uint8]:
        return self.crops[size][list(indexes)]

    def references(self, indexes: Sequence[int]) -> NDArray[np.uint8] | None:
        return None if self.edited is None else self.edited[list(indexes)]

    def mel(self, start: int, count: int) -> NDArray[np.float32]:
        found = np.full((len(self.spectrogram), count), SILENT_LEVEL, np.float32)
        first, last = max(start, 0), min(start + count, self.step_count)
        if last > first:
            found[:, first - start : last - start] = self.spectrogram[:, first:last]
        return found

    def wave(self, start: int, count: int) -> NDArray[np.float32]:
        if self.samples is None:
            raise ValueError(f"{self.name}: the clip has no samples")
        return cut_wave(self.samples, start, count)

    def coefficients(self, indexes: Sequence[int]) -> NDArray[np.float32] | None:
        return None if self.rows is None else self.rows[list(indexes)]


@dataclass(frozen=True, slots=True, eq=False)
class ArrayData:
    """Dataset in memory."""

    name: str
    key: str
    splits: dict[str, list[ArrayClip]]
    frame_rate: float = FRAME_RATE
    sizes: Sequence[int] = field(default=(96,))
    reference_editor: str = "none"
    restoration: str = "none"
    chin: float = 0.0
    split_by: str = "speaker"

    @property
    def has_coefficients(self) -> bool:
        return all(clip.rows is not None for clips in self.splits.values() for clip in clips)

    def clips(self, split: Split) -> Sequence[Clip]:
        return self.splits.get(split, [])


def cut_wave(wave: NDArray[np.float32], start: int, count: int) -> NDArray[np.float32]:
    """Return the samples [start, start + count) of ``wave``, with zeros outside of it."""
    found = np.zeros(count, np.float32)
    first, last = max(start, 0), min(start + count, len(wave))
    if last > first:
        found[first - start : last - start] = wave[first:last]
    return found


def check_data(
    data: TrainingData, size: int, *, coefficients: bool = False, shortest: int = SHORTEST, sound: bool = True
) -> None:
    """Check that a dataset is suitable for a trainer.

    ``size``: side of the face crops in pixels. ``shortest``: number of frames that a clip needs. ``sound``: whether
    clips need sound.

    Raises:
        InputError: the dataset cannot be used. The message has one line.
    """
    if data.frame_rate != FRAME_RATE:
        raise InputError(
            f"{data.name}: clips have {data.frame_rate:g} frames per second, training requires {FRAME_RATE}; prepare "
            "the dataset again",
            code="frame-rate-mismatch",
        )
    if size not in data.sizes:
        stored = ", ".join(str(each) for each in data.sizes)
        raise InputError(
            f"{data.name}: no face crops of {size} pixels (stored: {stored}); prepare the dataset again",
            code="missing-crops",
        )
    training = data.clips("train")
    if not training:
        raise InputError(f"{data.name}: no training clips; run `retalkit dataset check`", code="no-clips")
    if not usable_clips(training, shortest, sound=sound):
        longest = max(clip.frame_count for clip in training)
        raise InputError(
            f"{data.name}: all {len(training)} training clips are too short: the longest has {longest} frames, "
            f"training requires {shortest}",
            code="clips-too-short",
        )
    shared = {clip.speaker for clip in training} & {clip.speaker for clip in data.clips("val")}
    if shared and data.split_by == "speaker":
        raise InputError(
            f"{data.name}: {len(shared)} speakers are in the training and the validation split, for example "
            f"{min(shared)!r}; evaluation requires other speakers",
            code="speakers-overlap",
        )
    if coefficients and not data.has_coefficients:
        raise InputError(
            f"{data.name}: clips without face model coefficients; install the weights `face3d` and prepare the dataset "
            "again",
            code="missing-coefficients",
        )


def usable_clips(clips: Sequence[Clip], shortest: int = SHORTEST, *, sound: bool = True) -> list[Clip]:
    """Return the clips with enough frames and, if ``sound``, with sound for several windows."""
    return [clip for clip in clips if clip.frame_count >= shortest and (not sound or last_start(clip) > 0)]


def last_start(clip: Clip) -> int:
    """Return the last frame from which a window of five frames has sound, or -1."""
    sounding = (clip.step_count - MEL_STEPS) * FRAME_RATE // STEPS_PER_SECOND
    return min(clip.frame_count - WINDOW_FRAMES, sounding)
