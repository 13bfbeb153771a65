"""Kinds of dataset faults, and the report of a check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Severity = Literal["error", "warning"]
_WHOLE: Final = frozenset({"empty-train", "empty-validation", "few-speakers", "no-coefficients", "no-usable-clips"})
"""Faults of the whole dataset, which have no number of occurrences."""
_SHOWN: Final = 4
"""Number of affected items in the text report."""


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, such as ``1 clip`` or ``2 clips``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@dataclass(frozen=True, slots=True)
class FaultKind:
    """Static description of a fault."""

    severity: Severity
    """``error``: training cannot work with this fault."""
    title: str
    """What is wrong, followed in the report by the affected items."""
    effect: str
    """What the fault does to training, and what to do."""


KINDS: Final[Mapping[str, FaultKind]] = {
    "missing-shard": FaultKind(
        "error",
        "shards are missing",
        "Training stops at the first clip of a missing shard. Run `dataset prepare` again.",
    ),
    "corrupt-clip": FaultKind(
        "error",
        "clips are damaged",
        "Training stops when it reads a damaged clip. Delete the shard and run `dataset prepare` again.",
    ),
    "empty-train": FaultKind("error", "the split train is empty", "There is nothing to train on."),
    "no-usable-clips": FaultKind(
        "error",
        "no clip of the split train is usable",
        "Every clip has a fault that excludes it, so no network can learn from this dataset.",
    ),
    "empty-validation": FaultKind(
        "warning",
        "the split val is empty",
        "Overfitting cannot be detected, and no best checkpoint can be chosen. Add a second speaker.",
    ),
    "speaker-leak": FaultKind(
        "warning",
        "speakers occur in several splits",
        "Validation measures memory of known faces instead of generalisation. Split by speaker.",
    ),
    "video-leak": FaultKind(
        "warning",
        "recordings occur in several splits",
        "Validation frames are nearly identical to training frames. Split by recording.",
    ),
    "few-speakers": FaultKind(
        "warning",
        "few speakers in the split train",
        "A sync expert memorises fewer than about 20 speakers: its training loss falls, but it does not work for "
        "others. Add speakers, or fine-tune a published checkpoint for one person.",
    ),
    "unusable-video": FaultKind(
        "warning", "videos have no clips", "These videos are not used. The reason is given for each video."
    ),
    "rejected-part": FaultKind(
        "warning",
        "parts of videos were left out by the quality filter",
        "These parts are not used. `--no-filter` keeps small, blurred and turned faces, and `--shortest` short clips.",
    ),
    "no-coefficients": FaultKind(
        "warning",
        "there are no 3DMM coefficients",
        "D-Net cannot be trained with this dataset. The other networks can.",
    ),
    "invalid-coefficients": FaultKind(
        "warning",
        "3DMM coefficients are not finite",
        "The loss of D-Net is not finite when it reads such a frame, and its training stops. Run `dataset prepare` "
        "again.",
    ),
    "photo": FaultKind(
        "warning",
        "clips are still images",
        "Only D-Net can be trained with them, and only with the option `driving` (preset `reproduction`).",
    ),
    "too-short": FaultKind(
        "warning",
        "clips are too short",
        "A clip needs 16 frames, because the expert needs two different windows of 5 frames and 0.2 s of audio. "
        "Shorter clips are skipped.",
    ),
    "frame-rate": FaultKind(
        "warning",
        "videos do not have 25 frames per second",
        "Frames were repeated or dropped to obtain 25 frames per second, which adds up to 20 ms of jitter between lips "
        "and audio. Convert the videos with motion interpolation, or use others.",
    ),
    "repeated-frames": FaultKind(
        "warning",
        "clips contain repeated frames",
        "The mouth stops while the audio continues, so in-sync windows look out of sync.",
    ),
    "missing-frames": FaultKind(
        "warning",
        "frames are missing inside clips",
        "The frames after a gap belong to other audio than their number says, which shifts the lips.",
    ),
    "short-audio": FaultKind(
        "warning",
        "the audio is shorter than the video",
        "Windows after the end of the audio have the wrong label or contain silence.",
    ),
    "silent": FaultKind(
        "warning", "the audio is silent", "All windows of a silent clip are equal, so nothing can be learned from them."
    ),
    "no-speech": FaultKind(
        "warning",
        "the audio contains no speech",
        "Music and noise do not determine the lips. The expert learns to ignore the audio.",
    ),
    "clipped-audio": FaultKind(
        "warning",
        "the audio is clipped",
        "Clipping distorts the mel spectrogram. Networks then see other spectra in training than in use.",
    ),
    "wrong-mel": FaultKind(
        "warning",
        "the mel spectrogram does not belong to the audio",
        "The networks are trained with the wrong audio. Run `dataset prepare` again.",
    ),
    "offset": FaultKind(
        "warning",
        "lips and audio are more than one frame apart",
        "The most frequent cause of a sync loss that stays at 0.69. Run `dataset prepare` with offset correction.",
    ),
    "voice-over": FaultKind(
        "warning",
        "the mouth does not follow the audio",
        "The speaker of the audio is not visible (voice-over, dubbing), so in-sync labels are wrong.",
    ),
    "still-mouth": FaultKind(
        "warning",
        "the mouth does not move during speech",
        "In-sync and out-of-sync windows look equal, so their labels are noise.",
    ),
    "duplicate": FaultKind(
        "warning",
        "clips occur more than once",
        "Duplicates have more weight in training, and leak into validation if their speakers have different names.",
    ),
    "frame-leak": FaultKind(
        "warning",
        "clips of different splits show the same frames",
        "The audio differs, but validation measures memory of known frames. Remove one of the videos, or give both the "
        "same speaker with `--speakers`.",
    ),
    "mixed-identities": FaultKind(
        "warning",
        "clips contain a change of person or an undetected cut",
        "Reference frames show another person than the target frames. The networks then learn to blend faces.",
    ),
    "mixed-speaker": FaultKind(
        "warning",
        "clips of one speaker seem to show different faces",
        "If one name is used for several people, the splits are not disjoint by person, and references from other "
        "clips of the speaker show another person. Name the speakers with `--speakers`.",
    ),
    "low-resolution": FaultKind(
        "warning",
        "faces are small",
        "The crops were enlarged, so E-Net and D-Net learn blurred faces. Use videos with larger faces.",
    ),
    "blurred": FaultKind("warning", "faces are blurred", "Generated faces become blurred, too."),
    "non-frontal": FaultKind(
        "warning",
        "heads are turned far to the side",
        "Half of the mouth is hidden, so the lips can be read less reliably, and D-Net's fit is inaccurate.",
    ),
}
"""Mapping from code to kind, in the order of the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Fault found in a dataset."""

    code: str
    """Key in ``KINDS``."""
    items: tuple[str, ...]
    """Affected clips, videos, speakers or shards, with details."""
    total: int
    """Number of items that were examined."""

    @property
    def kind(self) -> FaultKind:
        return KINDS[self.code]

    def plain(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "code": self.code,
            "severity": self.kind.severity,
            "title": self.kind.title,
            "effect": self.kind.effect,
            "count": len(self.items),
            "total": self.total,
            "items": list(self.items),
        }

    def lines(self) -> list[str]:
        """Return the lines of the text report."""
        first = f"{self.kind.severity}: {self.kind.title} [{self.code}]"
        if self.code not in _WHOLE:
            first += f": {len(self.items)} of {self.total}"
        rest = len(self.items) - _SHOWN
        shown = [f"    {item}" for item in self.items[:_SHOWN]]
        return [first, *shown, *([f"    and {rest} more"] if rest > 0 else []), f"    {self.kind.effect}"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """Result of a dataset check."""

    folder: str
    clips: Mapping[str, int]
    """Mapping from split to the number of clips."""
    minutes: Mapping[str, float]
    speakers: Mapping[str, int]
    usable: int
    """Number of clips of the split ``train`` without a fault that excludes them."""
    faults: tuple[Fault, ...]

    @property
    def can_train(self) -> bool:
        """Whether no fault prevents training."""
        return not any(fault.kind.severity == "error" for fault in self.faults)

    def plain(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "folder": self.folder,
            "can_train": self.can_train,
            "clips": dict(self.clips),
            "minutes": {split: round(value, 3) for split, value in self.minutes.items()},
            "speakers": dict(self.speakers),
            "usable_train_clips": self.usable,
            "faults": [fault.plain() for fault in self.faults],
        }

    def text(self) -> str:
        """Return the text report."""
        lines = [
            f"{split}: {counted(count, 'clip')}, {self.minutes[split]:.1f} min, "
            f"{counted(self.speakers[split], 'speaker')}"
            for split, count in self.clips.items()
        ]
        lines.append(f"usable clips of train: {self.usable}")
        for fault in self.faults:
            lines += fault.lines()
        errors = sum(fault.kind.severity == "error" for fault in self.faults)
        verdict = "training can work" if self.can_train else "training cannot work"
        lines.append(
            f"{self.folder}: {verdict} ({counted(errors, 'error')}, {counted(len(self.faults) - errors, 'warning')})"
        )
        return "\n".join(lines)
