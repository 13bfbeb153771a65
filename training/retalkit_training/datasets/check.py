"""Check of a prepared dataset. The clips are read from the shards, so damaged and modified clips are found."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.errors import InputError
from retalkit.observer import Observer, SilentObserver
from retalkit.speech.mel import mel_spectrogram
from retalkit.stages import SPEECH_RATE
from retalkit_training.datasets.clip_format import PreparedClip
from retalkit_training.datasets.equal_frames import FrameSignature, candidates, frame_signature, have_equal_frames
from retalkit_training.datasets.face_shape import outliers
from retalkit_training.datasets.faults import KINDS, CheckReport, Fault, counted
from retalkit_training.datasets.index import ClipEntry, DatasetIndex, read_index
from retalkit_training.datasets.quality import SILENCE, appearance_jump, frozen_fraction, sharpness, sound_quality
from retalkit_training.datasets.settings import FACE_SIZES, FRAME_RATE, NEAREST, PrepareSettings
from retalkit_training.datasets.shards import SHARDS, ShardReader
from retalkit_training.datasets.splits import SPLITS
from retalkit_training.datasets.sync_offset import OffsetEstimate, estimate

SHORTEST: Final = 16
"""Minimum length of a clip in frames. Wav2Lip skips videos of 15 frames or fewer."""
SAMPLE: Final = 32
"""Number of clips that a trainer examines before it starts."""
FEW_SPEAKERS: Final = 20
MOST_CLIPPED: Final = 0.001
"""Fraction of clipped samples above which audio is reported."""
LEAST_SPEECH: Final = 0.1
"""Fraction of the time with speech below which audio is reported."""
MOST_FROZEN: Final = 0.05
LARGEST_JUMP: Final = 2.0
"""Largest ``quality.appearance_jump`` of a clip with one person."""
STILL: Final = 0.004
"""Standard deviation of the lip opening of a mouth that does not move, in units of the eye corner distance."""
EXCLUDING: Final = frozenset(
    {"missing-shard", "corrupt-clip", "too-short", "silent", "no-speech", "wrong-mel", "voice-over", "still-mouth"}
)
"""Faults of clips from which nothing can be learned."""
_SAMPLES = SPEECH_RATE // FRAME_RATE
_PARENTHESES: Final = re.compile(r" \((?:[^()]|\([^()]*\))*\)")


@dataclass(frozen=True, slots=True)
class _Clip:
    """Measurements of one clip that comparisons between clips require."""

    entry: ClipEntry
    lips: NDArray[np.float64] | None
    motion: NDArray[np.float64] | None
    shape: NDArray[np.float32] | None
    spectrum: NDArray[np.float32]
    """Standardised mel spectrogram, averaged to 16 bands and 32 steps, float32 [512]."""
    image: NDArray[np.bool_]
    """Difference hash of the middle face, bool [64]."""
    frames: FrameSignature | None


class _Findings:
    """Affected items by fault code."""

    def __init__(self) -> None:
        self.items: dict[str, list[str]] = defaultdict(list)
        self.excluded: set[str] = set()
        """Keys of clips from which nothing can be learned."""

    def add(self, code: str, item: str, clips: Iterable[ClipEntry] = ()) -> None:
        self.items[code].append(item)
        if code in EXCLUDING:
            self.excluded |= {clip.key for clip in clips}

    def reporter(self, entry: ClipEntry) -> Callable[[str, str], None]:
        """Return a function that adds a fault of the clip, from its code and details."""
        return lambda code, detail: self.add(code, f"{_name(entry)}: {detail}", [entry])


def check(folder: Path, *, observer: Observer | None = None) -> CheckReport:
    """Return the faults of a prepared dataset. Raises InputError if ``folder`` is not a prepared dataset."""
    index = read_index(folder)
    observer = observer or SilentObserver()
    found = _Findings()
    _check_index(index, found)
    clips = _check_clips(folder, index, found, observer)
    _check_sync(clips, found)
    duplicates = _check_duplicates(clips, found)
    _check_equal_frames(clips, duplicates, found)
    _check_identities(clips, found)
    train = index.of_split("train")
    usable = sum(clip.key not in found.excluded for clip in train)
    if train and not usable:
        found.add("no-usable-clips", f"{counted(len(train), 'clip')} with faults")
    totals = _totals(index)
    faults = tuple(
        Fault(code=code, items=tuple(found.items[code]), total=max(totals.get(code, len(index.clips)), 1))
        for code in KINDS
        if found.items.get(code)
    )
    splits = [split for split in SPLITS if split == "train" or index.of_split(split)]
    return CheckReport(
        folder=str(folder),
        clips={split: len(index.of_split(split)) for split in splits},
        minutes={split: sum(clip.frames for clip in index.of_split(split)) / FRAME_RATE / 60 for split in splits},
        speakers={split: len({clip.speaker for clip in index.of_split(split)}) for split in splits},
        usable=usable,
        faults=faults,
    )


def check_sample(folder: Path, limit: int = SAMPLE) -> None:
    """Check the sound and the lip motion of some training clips, without decoding images.

    Raises:
        InputError: nothing can be learned from any of these clips. ``check`` reports the same for the dataset.
    """
    index = read_index(folder)
    train = index.of_split("train")
    chosen = train[:: max(1, -(-len(train) // limit))]
    reader, found = ShardReader(folder, index), _Findings()
    clips: list[_Clip] = []
    for entry in chosen:
        clip = reader.read(entry, ())
        if clip.meta.get("photo") or entry.frames < SHORTEST:
            return
        _check_sound(clip, clip.waveform(), found.reporter(entry))
        lips, motion = clip.arrays.get("lips"), clip.arrays.get("motion")
        clips.append(_Clip(entry, lips, motion, None, np.zeros(0, np.float32), np.zeros(0, bool), None))
    _check_sync(clips, found)
    if not chosen or not all(entry.key in found.excluded for entry in chosen):
        return
    code = max((each for each in EXCLUDING if each in found.items), key=lambda each: len(found.items[each]))
    raise InputError(
        f"{folder}: nothing can be learned from any of {len(chosen)} examined training clips, for example because "
        f"{KINDS[code].title} ({found.items[code][0]}); run `retalkit dataset check`",
        code="no-usable-clips",
    )


def _totals(index: DatasetIndex) -> dict[str, int]:
    """Return the number of examined items of faults that do not concern clips."""
    videos = len(index.videos)
    kept = sum(bool(video.clips) for video in index.videos)
    parts = sum(len(video.clips) + len(video.rejected) for video in index.videos)
    sources = len({clip.source for clip in index.clips})
    return {
        "missing-shard": len(index.shards),
        "speaker-leak": len({clip.speaker for clip in index.clips}),
        "video-leak": len({clip.video for clip in index.clips}),
        "unusable-video": videos,
        "rejected-part": parts,
        "frame-rate": kept,
        "offset": sources,
        "voice-over": sources,
        "empty-train": 1,
        "empty-validation": 1,
        "few-speakers": 1,
        "no-coefficients": 1,
        "no-usable-clips": 1,
    }


def _check_index(index: DatasetIndex, found: _Findings) -> None:
    if not index.of_split("train"):
        found.add("empty-train", "train: 0 clips")
    if not index.of_split("val"):
        found.add("empty-validation", "val: 0 clips")
    for code, name in (("speaker-leak", "speaker"), ("video-leak", "video")):
        splits: dict[str, set[str]] = defaultdict(set)
        for clip in index.clips:
            splits[getattr(clip, name)].add(clip.split)
        for each, used in sorted(splits.items()):
            if len(used) > 1:
                found.add(code, f"{each}: {', '.join(sorted(used))}")
    speakers = {clip.speaker for clip in index.of_split("train")}
    if speakers and len(speakers) < FEW_SPEAKERS:
        found.add("few-speakers", f"{counted(len(speakers), 'speaker')}, expected at least {FEW_SPEAKERS}")
    if not index.coefficients:
        found.add("no-coefficients", _shortened(index.without_coefficients) or "coefficients are missing")
    for video in index.videos:
        if video.error:
            # Errors of files begin with the path.
            found.add("unusable-video", f"{video.path}: {video.error.removeprefix(f'{video.path}: ')}")
        if video.duplicate_of:
            found.add("duplicate", f"{video.path} = {video.duplicate_of}")
        for part in video.rejected:
            span = f"{part['first']:.2f} to {part['last']:.2f} s"
            found.add("rejected-part", f"{video.path}, {span}: {part['reason']}, {part['detail']}")
        rate = float(video.facts.get("rate", FRAME_RATE))
        if video.clips and abs(rate - FRAME_RATE) > 0.05:
            found.add("frame-rate", f"{video.path}: {rate:g} frames per second")


def _shortened(reason: str) -> str:
    """Return a reason for missing coefficients without the file names, sizes and licences of the weights."""
    return _PARENTHESES.sub("", reason).partition("; to install")[0]


def _check_clips(folder: Path, index: DatasetIndex, found: _Findings, observer: Observer) -> list[_Clip]:
    missing = {shard.name for shard in index.shards if not (folder / SHARDS / shard.name).is_file()}
    for name in sorted(missing):
        found.add("missing-shard", name, [clip for clip in index.clips if clip.shard == name])
    reader = ShardReader(folder, index)
    clips: list[_Clip] = []
    settings = PrepareSettings(**index.settings.get("clips", {}))
    started = time.monotonic()
    observer.started("clips", len(index.clips))
    for number, entry in enumerate(index.clips, 1):
        if entry.shard not in missing:
            try:
                clips.append(_check_clip(entry, reader.read(entry), settings, found))
            except InputError as error:
                found.add("corrupt-clip", f"{_name(entry)} in {entry.shard}: {error}", [entry])
        observer.advanced("clips", number)
    observer.finished("clips", time.monotonic() - started, False)
    return clips


def _check_clip(entry: ClipEntry, clip: PreparedClip, settings: PrepareSettings, found: _Findings) -> _Clip:
    count, meta = clip.frame_count, clip.meta
    counts = {side: len(clip.faces.get(side, ())) for side in FACE_SIZES}
    if set(counts.values()) != {entry.frames}:
        raise InputError(f"expected {entry.frames} crops of each size, got {counts}", code="corrupt-clip")
    faces, wave = clip.images(FACE_SIZES[0]), clip.waveform()
    for side in FACE_SIZES[1:]:
        clip.images(side, count - 1)

    report = found.reporter(entry)
    if meta.get("photo"):
        report("photo", "one frame without audio")
    else:
        if count < SHORTEST:
            report("too-short", f"{counted(count, 'frame')}, expected at least {SHORTEST}")
        _check_frames(clip, report)
        if (lacking := count * _SAMPLES - len(wave)) > _SAMPLES:
            report("short-audio", f"{lacking / SPEECH_RATE:.2f} s are missing")
        _check_sound(clip, wave, report)
    coefficients = clip.arrays.get("coefficients")
    if coefficients is not None and (wrong := int((~np.isfinite(coefficients)).any(1).sum())):
        report("invalid-coefficients", counted(wrong, "frame"))
    if (frozen := frozen_fraction(faces)) > MOST_FROZEN:
        report("repeated-frames", f"{100 * frozen:.0f} % of the frames")
    if (jump := appearance_jump(faces)) > LARGEST_JUMP:
        report("mixed-identities", f"jump {jump:.1f}, expected at most {LARGEST_JUMP:g}")
    width = float(meta.get("face_width", np.inf))
    if width < max(settings.smallest_face, 1.0):
        report("low-resolution", f"{width:.0f} pixels, expected at least {settings.smallest_face:g}")
    if (sharp := sharpness(faces)) < settings.blurriest:
        report("blurred", f"sharpness {sharp:.1f}, expected at least {settings.blurriest:g}")
    if (yaw := float(meta.get("yaw", 0.0))) > settings.largest_yaw:
        report("non-frontal", f"{yaw:.0f} degrees, expected at most {settings.largest_yaw:g}")
    lips, motion = clip.arrays.get("lips"), clip.arrays.get("motion")
    return _Clip(
        entry,
        lips,
        motion,
        clip.arrays.get("face_shape"),
        _spectrum(clip.mel),
        _difference_hash(faces[count // 2]),
        frame_signature(faces),
    )


def _check_frames(clip: PreparedClip, report: Callable[[str, str], None]) -> None:
    times = clip.arrays.get("source_times")
    if times is None:
        return
    expected = float(clip.meta.get("first_seconds", 0.0)) + np.arange(len(times)) / FRAME_RATE
    wrong = np.flatnonzero(np.abs(times - expected) > NEAREST)
    if len(wrong):
        late = 1000 * float(np.abs(times - expected).max())
        report(
            "missing-frames", f"{counted(len(wrong), 'frame')} from frame {int(wrong[0])} on, up to {late:.0f} ms off"
        )


def _check_sound(clip: PreparedClip, wave: NDArray[np.float32], report: Callable[[str, str], None]) -> None:
    stored = clip.meta.get("speech")
    known = None if stored is None else np.full(1, stored, np.float32)
    quality = sound_quality(wave, known)
    speech = quality.speech if stored is None else float(stored)
    if quality.rms < SILENCE:
        report("silent", f"RMS {quality.rms:.5f}")
    elif speech < LEAST_SPEECH:
        report("no-speech", f"speech in {100 * speech:.0f} % of the time")
    if quality.clipped > MOST_CLIPPED:
        report("clipped-audio", f"{100 * quality.clipped:.2f} % of the samples")
    expected = mel_spectrogram(wave)
    if clip.mel.shape != expected.shape:
        report("wrong-mel", f"{clip.mel.shape[1]} steps, expected {expected.shape[1]}")
    elif not (difference := float(np.abs(clip.mel - expected).max(initial=0.0))) <= 0.01:
        report("wrong-mel", f"differences up to {difference:.2f}")
    lips = clip.arrays.get("lips")
    if lips is not None and speech >= LEAST_SPEECH and quality.rms >= SILENCE and len(lips) >= FRAME_RATE:
        spread = float(np.nanstd(lips[:, 0])) if np.isfinite(lips[:, 0]).any() else 0.0
        if spread < STILL:
            report("still-mouth", f"standard deviation of the opening {spread:.4f}")


def _check_sync(clips: Sequence[_Clip], found: _Findings) -> None:
    """Report videos whose lips are early or late, or do not follow the audio. The clips of a video are pooled."""
    videos: dict[str, list[_Clip]] = defaultdict(list)
    for clip in clips:
        if clip.lips is not None and clip.motion is not None and clip.entry.key not in found.excluded:
            videos[clip.entry.source].append(clip)
    for source, pooled in sorted(videos.items()):
        pairs = [(clip.lips, clip.motion) for clip in pooled if clip.lips is not None and clip.motion is not None]
        estimated: OffsetEstimate = estimate(pairs)
        entries = [clip.entry for clip in pooled]
        # The score is the sum of two correlations.
        scores = f"score {estimated.score:.2f} of at most 2, by chance {estimated.chance:.2f}"
        if estimated.unrelated:
            found.add("voice-over", f"{source}: {scores}", entries)
        elif estimated.follows and abs(estimated.offset) > 1:
            late = "later" if estimated.offset > 0 else "earlier"
            found.add(
                "offset",
                f"{source}: lips {abs(estimated.offset)} frames {late} than the audio, {scores}",
                entries,
            )


def _check_duplicates(clips: Sequence[_Clip], found: _Findings) -> set[tuple[str, str]]:
    """Report clips with equal audio and similar faces, including re-encoded copies. Returns the keys of each pair."""
    pairs: set[tuple[str, str]] = set()
    if not clips:
        return pairs
    spectra = np.stack([clip.spectrum for clip in clips])
    block = 1024
    for start in range(0, len(clips), block):
        close = spectra[start : start + block] @ spectra.T > 0.995
        for row, column in np.argwhere(close):
            one, other = clips[start + int(row)], clips[int(column)]
            if start + row >= column or abs(one.entry.frames - other.entry.frames) > 2:
                continue
            if int((one.image != other.image).sum()) <= 8:
                across = "" if one.entry.split == other.entry.split else f" ({one.entry.split}, {other.entry.split})"
                found.add("duplicate", f"{_name(one.entry)} = {_name(other.entry)}{across}")
                pairs.add((one.entry.key, other.entry.key))
    return pairs


def _check_equal_frames(clips: Sequence[_Clip], reported: set[tuple[str, str]], found: _Findings) -> None:
    """Report clips of different splits that show the same frames with different audio."""
    known = [clip for clip in clips if clip.frames is not None]
    signatures = [clip.frames for clip in known if clip.frames is not None]
    for row, column in candidates(signatures):
        one, other = known[row].entry, known[column].entry
        if one.split == other.split or (one.key, other.key) in reported:
            continue
        if have_equal_frames(signatures[row], signatures[column]):
            found.add("frame-leak", f"{_name(one)} ({one.split}) and {_name(other)} ({other.split})")


def _check_identities(clips: Sequence[_Clip], found: _Findings) -> None:
    """Report clips whose face differs from the other clips of the same speaker."""
    speakers: dict[str, list[tuple[ClipEntry, NDArray[np.float32]]]] = defaultdict(list)
    for clip in clips:
        if clip.shape is not None:
            speakers[clip.entry.speaker].append((clip.entry, clip.shape))
    for speaker, known in sorted(speakers.items()):
        for position in outliers([shape for _, shape in known]):
            found.add("mixed-speaker", f"{speaker}: {_name(known[position][0])}")


def _name(entry: ClipEntry) -> str:
    return f"{entry.source} {entry.key}"


def _spectrum(mel: NDArray[np.float32]) -> NDArray[np.float32]:
    small = cv2.resize(np.ascontiguousarray(mel, np.float32), (32, 16), interpolation=cv2.INTER_AREA).ravel()
    centred = small - small.mean()
    length = float(np.linalg.norm(centred))
    # A constant spectrogram, such as that of silence, is similar to no other.
    return (centred / length if length > 1e-3 else np.zeros_like(centred)).astype(np.float32)


def _difference_hash(face: NDArray[np.uint8]) -> NDArray[np.bool_]:
    grey = cv2.resize(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    return (np.diff(grey, axis=1) > 0).ravel()
