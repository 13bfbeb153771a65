"""Training corpus synthesis. Separate processes write shards of speech with mouth targets.

A shard only depends on its number, the seed and the program versions, so an interrupted synthesis resumes and yields an
identical corpus. A shard is a directory with three files. ``waveform.npy`` contains the concatenated utterances with
speech at -24 dBFS, int16 [N] at 16 kHz. ``targets.npy`` contains opening, width, protrusion, jaw, speech and class,
float16 [N / 320, 6]. ``utterances.json`` contains [first sample, sample count, voice] for each utterance.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import random
import shutil
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from retalkit_renderers.speech_to_mouth.coarticulation import Phone, merge_silences, mouth_targets
from retalkit_training.speech_to_mouth.tts import Espeak, Flite, Utterance
from scipy.signal import resample_poly

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16000
SAMPLES_PER_TARGET = 320
STORED_LEVEL = -24.0
"""Level of the speech segments in dBFS."""
_MAX_FAILURES = 400


@dataclass(frozen=True, slots=True)
class Shard:
    """Description of a shard."""

    folder: Path
    synthesiser: str
    """Synthesiser name, ``espeak`` or ``flite``."""
    seed: int
    seconds: float
    held_out: bool


def plan(folder: Path, hours: float, seed: int, flite_share: float, shard_minutes: float) -> list[Shard]:
    """Return the shards of a corpus.

    ``hours``: hours of speech from training voices. The corpus additionally contains a thirtieth of this duration from
    held-out voices.
    """
    shards: list[Shard] = []
    for held_out, total in ((False, hours), (True, hours / 30.0)):
        for number, (synthesiser, share) in enumerate((("espeak", 1.0 - flite_share), ("flite", flite_share))):
            minutes = 60.0 * total * share
            count = int(np.ceil(minutes / shard_minutes - 1e-9))
            for index in range(count):
                name = f"{'held_out' if held_out else 'training'}-{synthesiser}-{index:03d}"
                own_seed = seed * 1_000_003 + index * 101 + number * 17 + held_out * 7
                shards.append(Shard(folder / name, synthesiser, own_seed, 60.0 * minutes / count, held_out))
    return shards


def synthesise(shards: list[Shard], processes: int) -> None:
    """Write the missing shards."""
    missing = [shard for shard in shards if not shard.folder.is_dir()]
    logger.info("synthesis: %d of %d shards missing", len(missing), len(shards))
    if not missing:
        return
    # Each shard runs in a new process, because espeak-ng keeps its random state between sentences.
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(processes, len(missing)), maxtasksperchild=1) as pool:
        for number, name in enumerate(pool.imap_unordered(_write_shard, missing, chunksize=1), 1):
            logger.info("synthesis: %s (%d of %d)", name, number, len(missing))


def resample(utterance: Utterance, speed: float = 1.0) -> tuple[NDArray[np.float32], list[Phone]]:
    """Return the audio at 16 kHz and its phones.

    ``speed``: playback speed factor, which also scales pitch and formants.
    """
    ratio = Fraction(SAMPLE_RATE / (utterance.rate * speed)).limit_denominator(200)
    waveform = resample_poly(utterance.waveform, ratio.numerator, ratio.denominator).astype(np.float32)
    stretch = float(ratio) * utterance.rate / SAMPLE_RATE
    phones = [Phone(phone.start * stretch, phone.stop * stretch, phone.letter) for phone in utterance.phones]
    return waveform, phones


def _write_shard(shard: Shard) -> str:
    generator = random.Random(shard.seed)
    synthesiser = Espeak(shard.seed % 2**31) if shard.synthesiser == "espeak" else Flite()
    waveforms: list[NDArray[np.int16]] = []
    targets: list[NDArray[np.float16]] = []
    utterances: list[tuple[int, int, str]] = []
    samples = failures = 0
    while samples < shard.seconds * SAMPLE_RATE:
        utterance = synthesiser.speak(generator, shard.held_out)
        prepared = None if utterance is None else _prepare(utterance, generator)
        if utterance is None or prepared is None:
            failures += 1
            if failures > _MAX_FAILURES:
                raise RuntimeError(
                    f"{shard.folder.name}: {shard.synthesiser} failed {failures} times to produce speech"
                )
            continue
        waveforms.append(prepared[0])
        targets.append(prepared[1])
        utterances.append((samples, len(prepared[0]), utterance.voice))
        samples += len(prepared[0])
    temporary = shard.folder.with_name(f"{shard.folder.name}.{os.getpid()}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    np.save(temporary / "waveform.npy", np.concatenate(waveforms))
    np.save(temporary / "targets.npy", np.concatenate(targets))
    (temporary / "utterances.json").write_text(json.dumps(utterances), encoding="utf-8")
    temporary.rename(shard.folder)
    return shard.folder.name


def _prepare(utterance: Utterance, generator: random.Random) -> tuple[NDArray[np.int16], NDArray[np.float16]] | None:
    speed = float(np.exp(generator.uniform(-0.16, 0.16)))
    sound, phones = resample(utterance, speed)
    if len(phones) < 5 or len(sound) < SAMPLE_RATE // 2:
        return None
    lead, tail = generator.uniform(0.1, 0.7), generator.uniform(0.1, 0.8)
    head = round(lead * SAMPLE_RATE)
    count = (head + len(sound) + round(tail * SAMPLE_RATE)) // SAMPLES_PER_TARGET
    waveform = np.zeros(count * SAMPLES_PER_TARGET, np.float32)
    speech = sound[: len(waveform) - head]
    waveform[head : head + len(speech)] = speech
    shifted = [Phone(p.start + head / SAMPLE_RATE, p.stop + head / SAMPLE_RATE, p.letter) for p in phones]
    targets = mouth_targets(merge_silences(shifted), count)
    speaking = np.repeat(targets.speech > 0.5, SAMPLES_PER_TARGET)
    power = float(np.mean(waveform[speaking] ** 2)) if speaking.any() else 0.0
    if power < 1e-8:
        return None
    waveform *= 10.0 ** (STORED_LEVEL / 20.0) / np.sqrt(power)
    stored = np.clip(np.round(waveform * 32767.0), -32768, 32767).astype(np.int16)
    columns = np.concatenate([targets.measures, targets.speech[:, None], targets.classes[:, None]], axis=1)
    return stored, columns.astype(np.float16)
