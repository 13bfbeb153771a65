"""Reader for the training corpus, which memory-maps speech and targets."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from retalkit_training.speech_to_mouth.corpus_synthesis import SAMPLE_RATE, SAMPLES_PER_TARGET, Shard

TARGET_COLUMNS = 6
"""Number of target columns: opening, width, protrusion, jaw, speech and class."""


@dataclass(frozen=True, slots=True)
class _Utterance:
    shard: int
    first: int
    count: int


class Corpus:
    """Utterances from a list of shards."""

    def __init__(self, shards: list[Shard]) -> None:
        self._waveforms = [np.load(shard.folder / "waveform.npy", mmap_mode="r") for shard in shards]
        self._targets = [np.load(shard.folder / "targets.npy", mmap_mode="r") for shard in shards]
        self._utterances: list[_Utterance] = []
        voices: set[str] = set()
        for number, shard in enumerate(shards):
            for first, count, voice in json.loads((shard.folder / "utterances.json").read_text(encoding="utf-8")):
                self._utterances.append(_Utterance(number, first, count))
                voices.add(voice)
        self.voices = tuple(sorted(voices))

    def __len__(self) -> int:
        return len(self._utterances)

    @property
    def hours(self) -> float:
        return sum(len(waveform) for waveform in self._waveforms) / SAMPLE_RATE / 3600.0

    def utterance(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the audio of an utterance at -24 dBFS, float32 [N], and its targets, float32 [N / 320, 6]."""
        found = self._utterances[index]
        samples = self._waveforms[found.shard][found.first : found.first + found.count]
        first, count = found.first // SAMPLES_PER_TARGET, found.count // SAMPLES_PER_TARGET
        targets = self._targets[found.shard][first : first + count]
        return samples.astype(np.float32) / 32767.0, targets.astype(np.float32)

    def random_crop(
        self, generator: np.random.Generator, count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return a random crop of ``count`` targets: audio [count * 320] and targets [count, 6].

        Shorter utterances are padded with silence.
        """
        waveform, targets = self.utterance(int(generator.integers(len(self))))
        spare = count - len(targets)
        if spare < 0:
            start = int(generator.integers(-spare + 1))
            part = slice(start * SAMPLES_PER_TARGET, (start + count) * SAMPLES_PER_TARGET)
            return waveform[part], targets[start : start + count]
        start = int(generator.integers(spare + 1))
        sound = np.zeros(count * SAMPLES_PER_TARGET, np.float32)
        sound[start * SAMPLES_PER_TARGET : (start + len(targets)) * SAMPLES_PER_TARGET] = waveform
        known = np.zeros((count, TARGET_COLUMNS), np.float32)
        known[:, 3] = targets[0, 3]
        known[start : start + len(targets)] = targets
        return sound, known

    def speaking_measures(self) -> NDArray[np.float32]:
        """Return the measures of every fifth target within speech, float32 [n, 4]."""
        targets = self._every_fifth_target()
        return targets[targets[:, 4] > 0.5, :4]

    def widths_and_classes(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the width and viseme class of every fifth target, [n] each."""
        targets = self._every_fifth_target()
        return targets[:, 1], targets[:, 5].astype(np.int64)

    def _every_fifth_target(self) -> NDArray[np.float32]:
        return np.concatenate([np.asarray(targets[::5], np.float32) for targets in self._targets])


def corpus_hash(shards: list[Shard]) -> str:
    """Return the SHA-256 hash of the shard files."""
    digest = hashlib.sha256()
    for shard in shards:
        for name in ("waveform.npy", "targets.npy", "utterances.json"):
            digest.update(hashlib.sha256((shard.folder / name).read_bytes()).digest())
    return digest.hexdigest()
