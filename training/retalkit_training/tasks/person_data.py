"""One person's clip as training data: prepared inside the run's directory, and split by time instead of by speaker."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from retalkit.errors import ConfigError, InputError, OutputError
from retalkit.observer import Observer
from retalkit.paths import missing
from retalkit.speech.mel import HOP
from retalkit_training.datasets.index import FILE, read_index
from retalkit_training.datasets.layouts import SourceVideo
from retalkit_training.datasets.prepare import prepare
from retalkit_training.datasets.settings import PrepareSettings, SplitSettings
from retalkit_training.loop.data import SHORTEST, Clip, Split
from retalkit_training.tasks.config import GeneratorConfig, LNetConfig
from retalkit_training.tasks.prepared_data import PreparedData
from retalkit_training.tasks.runs import PERSON_FOLDER as FOLDER

VALIDATION: Final = 0.2
"""Share of the frames, at the end of the clip, that are used for validation."""
_GAP: Final = 5
"""Number of frames between training and validation, and divisor of the first frame of each part: five frames are
exactly 16 mel steps."""

PERSON_DEFAULTS: Final[dict[str, Any]] = {
    "steps": 2_000,
    "optimizer": {"learning_rate": 1e-5},
    "evaluate_every": 100,
    "images_every": 100,
    "checkpoint_every": 100,
}
"""Default options of fine-tuning for one person. The learning rate is that of a published fine-tuning script for
L-Net."""
PERSON_TRAINERS: Final = ("lnet", "wav2lip", "dnet", "enet")


def person_defaults(trainer: str) -> dict[str, Any]:
    """Return the default options of fine-tuning for one person.

    Raises:
        ConfigError: the trainer cannot learn from one person.
    """
    if trainer not in PERSON_TRAINERS:
        raise ConfigError(
            f"--person: the trainer {trainer} cannot learn from one person; prepare a dataset with many speakers",
            code="invalid-option",
        )
    judged = {"discriminator_optimizer": {"learning_rate": 1e-5}} if trainer in ("wav2lip", "enet") else {}
    return {**PERSON_DEFAULTS, **judged}


def prepare_person(clip: Path, run: Path, config: Any, observer: Observer) -> None:
    """Prepare the clip in the directory of the run. A repeated call computes nothing.

    Raises:
        RetalkitError: the clip has no usable face.
    """
    if not clip.is_file():
        raise InputError(missing(clip, "no such file"), code="file-not-found")
    references = config.reference_expression if isinstance(config, LNetConfig) else "none"
    coefficients = not isinstance(config, GeneratorConfig) or references == "dnet"
    settings = PrepareSettings(references=references, coefficients=coefficients)
    folder = run / FOLDER
    if (folder / FILE).is_file():
        others = [video.path for video in read_index(folder).videos if Path(video.path).name != clip.name]
        if others:
            raise OutputError(
                f"{run}: contains the clip of another person ({others[0]}); use another output directory",
                code="output-exists",
            )
    source = SourceVideo(path=clip, speaker=clip.stem, video=clip.stem)
    prepare([source], folder, settings, SplitSettings(validation=0, test=0), observer=observer)


class PersonData:
    """Prepared clip of one person. The last part is used for validation."""

    split_by = "time"

    def __init__(self, folder: Path, validation: float = VALIDATION) -> None:
        """Open the dataset. Raises InputError if it is too short for both splits."""
        data = PreparedData(folder)
        self.frame_rate, self.sizes = data.frame_rate, data.sizes
        self.has_coefficients = data.has_coefficients
        self.reference_editor, self.restoration = data.reference_editor, data.restoration
        self.chin = data.chin
        clips = sorted(data.clips("train"), key=data.first_second)
        self.name = clips[0].speaker if clips else folder.name
        self.key = hashlib.sha256(f"time {validation} {data.key}".encode()).hexdigest()
        total = sum(clip.frame_count for clip in clips)
        self._clips: dict[str, list[ClipPart]] = {"train": [], "val": []}
        limit = (total - round(total * validation)) // _GAP * _GAP
        passed = 0
        for clip in clips:
            cut = min(max(limit - passed, 0) // _GAP * _GAP, clip.frame_count)
            self._add("train", clip, 0, cut)
            self._add("val", clip, cut + _GAP if 0 < cut < clip.frame_count else cut, clip.frame_count)
            passed += clip.frame_count
        if not all(self._clips.values()):
            least = round(SHORTEST / validation) + 2 * _GAP
            raise InputError(
                f"{self.name}: {total} frames with a face are too few for training and validation, expected at least "
                f"{least} ({least / self.frame_rate:.0f} s)",
                code="clips-too-short",
            )

    def _add(self, split: str, clip: Clip, first: int, last: int) -> None:
        if last - first >= SHORTEST:
            self._clips[split].append(ClipPart(clip, first, last - first))

    def clips(self, split: Split) -> Sequence[Clip]:
        return self._clips.get(split, [])


@dataclass(frozen=True, slots=True, eq=False)
class ClipPart:
    """Consecutive frames of a clip. ``first`` is a multiple of five, so that mel steps and frames stay aligned."""

    clip: Clip
    first: int
    frame_count: int

    @property
    def name(self) -> str:
        return f"{self.clip.name}-{self.first}"

    @property
    def speaker(self) -> str:
        return self.clip.speaker

    @property
    def _first_step(self) -> int:
        return self.first * 16 // 5

    @property
    def step_count(self) -> int:
        return min(1 + self.frame_count * 16 // 5, self.clip.step_count - self._first_step)

    def faces(self, size: int, indexes: Sequence[int]) -> NDArray[np.uint8]:
        return self.clip.faces(size, self._moved(indexes))

    def references(self, indexes: Sequence[int]) -> NDArray[np.uint8] | None:
        return self.clip.references(self._moved(indexes))

    def mel(self, start: int, count: int) -> NDArray[np.float32]:
        return self.clip.mel(start + self._first_step, count)

    def wave(self, start: int, count: int) -> NDArray[np.float32]:
        return self.clip.wave(start + self._first_step * HOP, count)

    def coefficients(self, indexes: Sequence[int]) -> NDArray[np.float32] | None:
        return self.clip.coefficients(self._moved(indexes))

    def _moved(self, indexes: Sequence[int]) -> list[int]:
        return [self.first + index for index in indexes]


def open_person(
    clip: Path, run: Path, config: Any, observer: Observer, *, main: bool, wait: Callable[[], None]
) -> PersonData:
    """Prepare the clip in the main process, and open it in all processes. ``wait``: barrier of all processes."""
    if main:
        prepare_person(clip, run, config, observer)
    wait()
    return PersonData(run / FOLDER)
