"""Small corpus of lip motion. The audio contains voiced syllables whose loudness is proportional to the lip opening."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from scipy.io import wavfile

COLUMNS = ("opening", "width", "protrusion", "jaw", "eyes")


def syllables(seconds: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return audio at 16 kHz and the corresponding lip motion [T, 5] at 50 Hz."""
    generator = np.random.default_rng(seed)
    rows = round(seconds * 50)
    times = (2 * np.arange(rows) + 1) / 100
    rate, phase = generator.uniform(3.0, 5.0), generator.uniform(0, 6)
    opening = 0.09 * (1 + np.sin(2 * np.pi * rate * times + phase)) * (0.6 + 0.4 * np.sin(1.7 * times + phase))
    width = 0.7 + 0.03 * np.sin(2 * np.pi * 1.1 * times + phase)
    lips = np.stack([opening, width, np.full(rows, 0.1), 0.5 + 0.5 * opening, np.ones(rows)], axis=1)
    samples = np.arange(rows * 320) / 16000
    voice = np.sign(np.sin(2 * np.pi * generator.uniform(100, 200) * samples)) * 0.2
    loudness = np.interp(samples, times, opening / 0.18)
    return (voice * loudness + 1e-4 * generator.standard_normal(len(samples))).astype(np.float32), lips


def write_corpus(folder: Path, clips: int = 6, seconds: float = 3.0, offset_ms: int = 0) -> Path:
    """Write a corpus with two clips per speaker and one collection per speaker. ``clips``: total number of clips."""
    (folder / "audio").mkdir(parents=True)
    arrays: dict[str, np.ndarray] = {"features": np.array(COLUMNS)}
    names = ("clip", "speaker", "seconds", "flags", "offset_ms", "offset_fit_ms", "collection")
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for number in range(clips):
            sound, lips = syllables(seconds, number)
            late = offset_ms // 20
            arrays[f"c{number}"] = np.roll(lips, late, axis=0).astype(np.float32) * 2.0
            # The reader accepts any audio that FFmpeg can decode, regardless of the suffix.
            wavfile.write(folder / "audio" / f"c{number}.flac", 16000, (sound * 32767).astype(np.int16))
            speaker = f"s{number // 2}"
            writer.writerow(
                [f"c{number}", speaker, seconds, "small_face" if number == 1 else "", "0", offset_ms, speaker]
            )
    np.savez(folder / "lips.npz", **arrays)
    return folder
