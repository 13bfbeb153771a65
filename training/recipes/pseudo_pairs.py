"""Pseudo-pairs: synthetic utterances dubbed onto clips of real faces, with known synchrony.

    python -m training.recipes.pseudo_pairs CLIP... -o FOLDER [--count 144]

``FOLDER`` receives the dubbed videos and the dataset ``FOLDER/data``. The teacher is the speech-to-mouth driver of the
preset ``embedded``. An expert that is trained with this dataset must not judge the output of that driver.
"""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import numpy as np
import retalkit
import typer
from numpy.typing import NDArray
from retalkit.stages import SPEECH_RATE, ObjectPool
from retalkit_training.datasets.layouts import find_sources
from retalkit_training.datasets.prepare import prepare
from retalkit_training.datasets.settings import PrepareSettings, SplitSettings
from retalkit_training.speech_to_mouth.tts import Espeak
from scipy.io import wavfile
from scipy.signal import resample_poly

_SECONDS = (3.0, 9.0)
"""Shortest and longest utterance that is used."""


def speak(folder: Path, count: int, seed: int) -> list[Path]:
    """Write utterances with random voices and languages, and return the files. Existing files are kept."""
    synthesiser, generator = Espeak(seed), random.Random(seed)
    files: list[Path] = []
    folder.mkdir(parents=True, exist_ok=True)
    while len(files) < count:
        utterance = synthesiser.speak(generator)
        if utterance is None:
            continue
        wave = _resampled(utterance.waveform, utterance.rate)
        if not _SECONDS[0] <= len(wave) / SPEECH_RATE <= _SECONDS[1]:
            continue
        file = folder / f"utterance-{len(files):03d}.wav"
        if not file.exists():
            wavfile.write(file, SPEECH_RATE, np.round(np.clip(wave, -1, 1) * 32767).astype(np.int16))
        files.append(file)
    return files


def _resampled(wave: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    ratio = Fraction(SPEECH_RATE, rate)
    return resample_poly(wave, ratio.numerator, ratio.denominator).astype(np.float32)


def make(clips: list[Path], folder: Path, count: int, seed: int = 0) -> Path:
    """Make the videos and the dataset, and return the dataset's directory. A repeated call resumes."""
    pool = ObjectPool()
    videos = folder / "videos"
    videos.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    for index, speech in enumerate(speak(folder / "speech", count, seed)):
        video = videos / f"{clips[index % len(clips)].stem}-{index:03d}.mp4"
        if not video.exists():
            retalkit.dub(clips[index % len(clips)], speech, video, cache=folder / "cache", pool=pool)
            typer.echo(f"{index + 1}/{count}: {video}")
        made.append(video)
    settings = PrepareSettings(correct_offset=False, coefficients=False, filter=False)
    data = folder / "data"
    prepare(find_sources(made, "videos", None), data, settings, SplitSettings(validation=0.0, test=0.0))
    return data


def main(
    clips: list[Path],
    output: Annotated[Path, typer.Option("--output", "-o")],
    count: int = 144,
    seed: int = 0,
) -> None:
    """Make pseudo-pairs."""
    typer.echo(make(clips, output, count, seed))


if __name__ == "__main__":
    typer.run(main)
