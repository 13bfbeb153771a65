"""Measure the effect of a transcript on the closures that the driver ``model`` predicts for held-out synthetic voices.

The benchmark synthesises sentences with held-out voices and languages of espeak-ng and, if flite is installed, with
flite's voice kal16. Each sentence is processed with the run's denoiser and voice activity detection. The benchmark
prints the following scores for the driver with and without the transcript:

* **found**: share of the phones p, b, m, f and v with a closure (probability above 0.5) within 0.04 s.
* **right**: share of the closures with one of these phones within 0.04 s.
* **used**: number of sentences whose transcript is used. **refused**: number of transcripts of other sentences that are
  rejected. Three transcripts of other sentences are tested for each sentence.

The phone times that flite reports for kal16 are wrong by up to 0.15 s at the end of a sentence, because the audio is
shorter. The scores ``found`` and ``right`` are therefore unreliable for this voice, but ``used`` is valid.

With ``--corpus`` and ``--texts``, the benchmark prints the agreement with the lip motion in a corpus, with and without
transcripts.
"""

from __future__ import annotations

import argparse
import csv
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from retalkit.config import load
from retalkit.media.sound import open_sound
from retalkit.motion_eval.clips import analyse_waveform
from retalkit.motion_eval.corpus_scores import CorpusClipScores, score_clip, summary
from retalkit.motion_eval.lips_corpus import LipsCorpus
from retalkit.observer import SilentObserver
from retalkit.pipeline.keys import speech_key
from retalkit.pipeline.plan import plan
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.discovery import discover
from retalkit.speech.speech_track import SpeechTrack
from retalkit.storage.cache import Cache, content_hash
from retalkit_renderers.speech_to_mouth.coarticulation import Phone
from retalkit_renderers.speech_to_mouth.interface import WEIGHTS
from retalkit_renderers.speech_to_mouth.model import ModelDriver
from retalkit_renderers.speech_to_mouth.transcript.cues import Cue
from retalkit_renderers.speech_to_mouth.transcript.guidance import Transcript
from retalkit_renderers.speech_to_mouth.visemes import BILABIAL, LABIODENTAL, TABLE
from retalkit_training.speech_to_mouth import tts
from retalkit_training.speech_to_mouth.corpus_synthesis import SAMPLE_RATE, resample

RATE = 100
TOLERANCE = 0.04
OTHERS = 3


@dataclass
class Sentence:
    """Synthetic utterance with phone times and text."""

    sound: NDArray[np.float32]
    phones: list[Phone]
    text: str
    language: str


def sentences(synthesiser: str, count: int, seed: int) -> list[Sentence]:
    """Return sentences in held-out voices with 0.3 s of silence before and after the speech."""
    texts: list[str] = []
    make_sentence = tts.sentence

    def recorded(*arguments: object, **options: object) -> str:
        texts.append(make_sentence(*arguments, **options))  # type: ignore[arg-type]
        return texts[-1]

    tts.sentence = recorded
    generator = random.Random(seed)
    engine = tts.Espeak(seed) if synthesiser == "espeak" else tts.Flite()
    found: list[Sentence] = []
    while len(found) < count:
        utterance = engine.speak(generator, held_out=True)
        if utterance is None or len(utterance.phones) < 5:
            continue
        sound, phones = resample(utterance)
        pause = np.zeros(round(0.3 * SAMPLE_RATE), np.float32)
        sound = np.concatenate([pause, 0.1 * sound / np.sqrt(np.mean(sound**2)), pause])
        phones = [Phone(phone.start + 0.3, phone.stop + 0.3, phone.letter) for phone in phones]
        voice = utterance.voice.partition("-")[2].partition("+")[0]
        found.append(Sentence(sound, phones, texts[-1], voice if synthesiser == "espeak" else "en-us"))
    tts.sentence = make_sentence
    return found


def count_closures(driver: ModelDriver, speech: SpeechTrack, phones: list[Phone]) -> NDArray[np.float64]:
    """Return float64 [4]: the counts of labial phones with a closure, labial phones, closures at a labial phone, and
    closures."""
    times = np.arange(0.0, speech.duration, 1.0 / RATE)
    closed = np.concatenate([[False], driver.motion(speech, times).closure > 0.5, [False]])
    edges = np.flatnonzero(np.diff(closed.astype(int))) / RATE
    closures = list(zip(edges[::2], edges[1::2], strict=True))
    labial = [phone for phone in phones if TABLE[phone.letter].kind in (BILABIAL, LABIODENTAL)]

    def near(phone: Phone, closure: tuple[float, float]) -> bool:
        middle = 0.5 * (closure[0] + closure[1])
        return phone.start - TOLERANCE <= middle <= phone.stop + TOLERANCE

    found = sum(any(near(phone, closure) for closure in closures) for phone in labial)
    right = sum(any(near(phone, closure) for phone in labial) for closure in closures)
    return np.array([found, len(labial), right, len(closures)], np.float64)


def is_used(driver: ModelDriver, speech: SpeechTrack) -> bool:
    """Return whether the driver uses its transcript, according to its note."""
    return any("words aligned" in note for note in driver.notes(speech))


def measure(sentences: list[Sentence], weights: Path, steps: ClipSteps) -> None:
    """Print the scores for ``sentences``."""
    counts = {"without": np.zeros(4), "with": np.zeros(4)}
    used = refused = others = 0
    plain = ModelDriver(weights)
    for number, sentence in enumerate(sentences):
        speech = analyse_waveform(sentence.sound, steps)
        guided = ModelDriver(weights, Transcript((Cue(sentence.text),), sentence.language, "text"))
        counts["without"] += count_closures(plain, speech, sentence.phones)
        counts["with"] += count_closures(guided, speech, sentence.phones)
        used += is_used(guided, speech)
        same = [each for each in sentences if each.language == sentence.language and each is not sentence]
        for other in random.Random(number).sample(same, min(OTHERS, len(same))):
            wrong = ModelDriver(weights, Transcript((Cue(other.text),), sentence.language, "text"))
            refused += not is_used(wrong, speech)
            others += 1
    for name, (found, phones, right, closures) in counts.items():
        print(f"  {name:8}found {found / phones:.3f} of {phones:.0f}, right {right / closures:.3f} of {closures:.0f}")
    print(f"  transcripts used: {used} of {len(sentences)}; other sentences refused: {refused} of {others}")


def measure_corpus(folder: Path, texts: Path, language: str, weights: Path, steps: ClipSteps) -> None:
    """Print the agreement with the lip motion in a corpus.

    ``texts``: CSV file with the columns ``clip`` and ``text``. Clips that are missing from the file are ignored.
    """
    corpus = LipsCorpus(folder)
    with texts.open(encoding="utf-8", newline="") as file:
        text_of = {row["clip"]: row["text"] for row in csv.DictReader(file)}
    scores: dict[str, list[CorpusClipScores]] = {"without": [], "with": []}
    unused = 0
    plain = ModelDriver(weights)
    for clip in corpus.clips:
        if clip.name not in text_of:
            continue
        speech = steps.speech(open_sound(clip.audio), speech_key(steps.plan, content_hash(clip.audio)))
        guided = ModelDriver(weights, transcript=Transcript((Cue(text_of[clip.name]),), language, "text"))
        scores["without"].append(score_clip(corpus, clip, plain, speech))
        scores["with"].append(score_clip(corpus, clip, guided, speech))
        unused += not is_used(guided, speech)
    for name, clips in scores.items():
        mean = summary(clips)
        lag = 1000 * mean.lag
        print(
            f"  {name:8}{mean.clips} clips: opening r {mean.opening:.3f}, width r {mean.width:.3f}, lag {lag:.0f} ms, "
            f"contacts found {mean.recall:.3f}, right {mean.precision:.3f}"
        )
    print(f"  transcripts refused: {unused}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=40, help="number of sentences per synthesiser")
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--weights", choices=WEIGHTS, default="real")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override of the preset")
    parser.add_argument("--corpus", type=Path, help="directory with a corpus of lip motion; requires --texts")
    parser.add_argument("--texts", type=Path, help="CSV file with the columns clip and text")
    parser.add_argument("--language", default="en-us", help="language of the texts (default: en-us)")
    chosen = parser.parse_args(arguments)
    registry = discover()
    planned = plan(load(registry, overrides=chosen.set), registry)
    with tempfile.TemporaryDirectory() as folder:
        steps = ClipSteps(planned, Cache(Path(folder)), SilentObserver())
        if chosen.corpus is not None:
            measure_corpus(chosen.corpus, chosen.texts, chosen.language, WEIGHTS[chosen.weights], steps)
            return
        for synthesiser in ("espeak", "flite"):
            if synthesiser == "flite" and tts.flite_program() is None:
                print("flite: not installed")
                continue
            print(synthesiser)
            measure(sentences(synthesiser, chosen.count, chosen.seed), WEIGHTS[chosen.weights], steps)


if __name__ == "__main__":
    main()
