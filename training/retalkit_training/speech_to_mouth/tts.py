"""Text-to-speech with phone timestamps from espeak-ng and flite.

* espeak-ng (GPL-3, from the ``espeakng-loader`` wheel): the library reports each phoneme as an event with a timestamp.
* flite (BSD-like licence): ``flite -psdur`` prints each phone with its end time. The voices slt, awb and rms are built
  from recordings of real people (CMU ARCTIC, free for any use), and the voice kal from one person's diphones.

The licences apply to the programs, and the generated audio is free to use. MBROLA voices, which espeak-ng supports, are
restricted to non-commercial use and therefore not used.
"""

from __future__ import annotations

import ctypes
import random
import shutil
import subprocess
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from retalkit_renderers.speech_to_mouth.coarticulation import Phone
from retalkit_renderers.speech_to_mouth.visemes import letters_of_arpabet, letters_of_ipa
from retalkit_training.speech_to_mouth.sentences import sentence


@dataclass(frozen=True, slots=True)
class Utterance:
    """Synthesised audio and its phones."""

    waveform: NDArray[np.float32]
    """Audio samples in [-1, 1], float32 [N]."""
    rate: int
    phones: list[Phone]
    voice: str


ESPEAK_LANGUAGES: dict[str, str] = {
    "en-us": "en", "en-gb-scotland": "en", "en-gb-x-rp": "en", "en-029": "en", "en-us-nyc": "en",
    "de": "de", "es": "es", "es-419": "es", "it": "it", "fr-fr": "fr", "pt": "pt", "pt-br": "pt", "nl": "nl",
    "pl": "pl", "cs": "cs", "sk": "sk", "ru": "ru", "uk": "uk", "bg": "bg", "mk": "mk", "hr": "hr", "sl": "sl",
    "da": "da", "sv": "sv", "nb": "nb", "is": "is", "fi": "fi", "et": "et", "hu": "hu", "ro": "ro", "el": "el",
    "tr": "tr", "az": "az", "la": "la", "id": "id", "sw": "sw", "vi": "vi", "hy": "hy", "ka": "ka", "hi": "hi",
    "bn": "bn", "ko": "ko", "cmn": "cmn", "lt": "lt", "lv": "lv",
}  # fmt: skip
"""Mapping from espeak-ng voice to the language of the voice's sentences."""
ESPEAK_VARIANTS = (
    *("", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5"),
    *("klatt", "klatt2", "klatt3", "klatt4", "klatt5", "klatt6", "Andy", "Annie", "Alicia", "Andrea", "Denis", "Gene"),
    *("Jacky", "Lee", "Linda", "Mario", "Marco", "Max", "Michel", "Mike", "Nguyen", "Steph", "belinda", "benjamin"),
    *("caleb", "david", "ed", "edward", "grandma", "grandpa", "john", "kaukovalta", "linda", "miguel", "norbert"),
    *("quincy", "rob", "robert", "sandro", "shelby", "steph", "travis", "victor", "zac"),
)
HELD_OUT_LANGUAGES = ("sv", "tr", "ro", "fr-fr")
HELD_OUT_VARIANTS = ("f3", "m7", "klatt4", "Alicia", "robert")
FLITE_VOICES = ("slt", "awb", "rms")
HELD_OUT_FLITE_VOICES = ("kal16",)

_PHONEME, _END, _TERMINATED = 7, 5, 6
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_SYNCHRONOUS = 2
_UTF8 = 1


class _Name(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Name),
    ]


def _private_library(path: Path) -> ctypes.CDLL:
    """Load a copy of the library whose global state no other code in the process shares.

    The driver ``model`` initialises the library for transcripts. A second initialisation with other options can cause
    a segmentation fault.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return ctypes.CDLL(shutil.copy2(path, folder))


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """In-process espeak-ng synthesiser. The library has global state, so create only one instance per process."""

    def __init__(self, seed: int = 0) -> None:
        import espeakng_loader

        self._library = _private_library(Path(espeakng_loader.get_library_path()))
        data = str(espeakng_loader.get_data_path()).encode()
        phoneme_events_in_ipa = 1 | 2
        self._rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, phoneme_events_in_ipa)
        if self._rate <= 0:
            raise RuntimeError(f"espeak-ng could not be initialised with the data in {data.decode()}")
        # By default, the library seeds its breath noise from the clock.
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        self._chunks: list[NDArray[np.int16]] = []
        self._events: list[tuple[float, str]] = []
        self._callback = _Callback(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, generator: random.Random, held_out: bool = False) -> Utterance | None:
        """Synthesise a random sentence with a random voice.

        Returns None if the voice is missing or no audio is generated.
        """
        language, variant = _espeak_voice(generator, held_out)
        words = sentence(generator, ESPEAK_LANGUAGES[language])
        parameters = {
            _RATE: generator.randint(120, 240),
            _PITCH: generator.randint(15, 85),
            _RANGE: generator.randint(20, 90),
            _VOLUME: 100,
        }
        voice = f"{language}+{variant}" if variant else language
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            return None
        for number, value in parameters.items():
            self._library.espeak_SetParameter(number, value, 0)
        self._chunks.clear()
        self._events.clear()
        encoded = words.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        if not self._chunks:
            return None
        waveform = np.concatenate(self._chunks).astype(np.float32) / 32768.0
        return Utterance(waveform, self._rate, self._phones(len(waveform) / self._rate), f"espeak-{voice}")

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        """Store audio and events. ``samples``: pointer to int16. ``events``: pointer to ``_Event``."""
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != 0:
            event = events[index]
            if event.type == _PHONEME:
                symbol = bytes(event.id.string).split(b"\0")[0].decode("utf-8", "ignore")
                self._events.append((event.audio_position / 1000.0, symbol))
            elif event.type in (_END, _TERMINATED):
                self._events.append((event.audio_position / 1000.0, "_"))
            index += 1
        return 0

    def _phones(self, duration: float) -> list[Phone]:
        phones: list[Phone] = []
        stops = [time for time, _ in self._events[1:]] + [duration]
        for (start, symbol), stop in zip(self._events, stops, strict=True):
            letters = ["_"] if symbol.strip("_:| ") == "" else letters_of_ipa(symbol)
            if letters:
                phones.extend(_split_evenly(start, stop, letters))
            elif phones:
                # Length marks and similar symbols extend the previous phone.
                phones[-1] = Phone(phones[-1].start, stop, phones[-1].letter)
        return phones


def _espeak_voice(generator: random.Random, held_out: bool) -> tuple[str, str]:
    if held_out:
        return generator.choice(HELD_OUT_LANGUAGES), generator.choice(HELD_OUT_VARIANTS)
    languages = [name for name in ESPEAK_LANGUAGES if name not in HELD_OUT_LANGUAGES]
    variants = [name for name in ESPEAK_VARIANTS if name not in HELD_OUT_VARIANTS]
    return generator.choice([*languages, *(["en-us", "en-gb-x-rp", "es", "de", "it"] * 2)]), generator.choice(variants)


def flite_program() -> str | None:
    """Return the path of the flite program, or None if flite is not installed."""
    return shutil.which("flite")


class Flite:
    """Flite synthesiser, which runs the program once per sentence and supports only English."""

    def __init__(self) -> None:
        program = flite_program()
        if program is None:
            raise RuntimeError("flite is not installed; run `apt-get install flite` or train with corpus.flite_share=0")
        self._program = program

    def speak(self, generator: random.Random, held_out: bool = False) -> Utterance | None:
        """Synthesise a random English sentence with a random voice. Returns None if the labels do not match the audio.

        The held-out voice's labels are scaled to the audio and are only accurate to a few hundredths of a second.
        """
        voice = generator.choice(HELD_OUT_FLITE_VOICES if held_out else FLITE_VOICES)
        stretch, pitch = generator.uniform(0.8, 1.3), generator.uniform(85.0, 220.0)
        words = sentence(generator, "en", 7, 14)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            settings = [f"duration_stretch={stretch:.2f}", f"int_f0_target_mean={pitch:.0f}"]
            command = [self._program, "-voice", voice, "--setf", settings[0], "--setf", settings[1], "-psdur"]
            done = subprocess.run([*command, words, str(path)], capture_output=True, timeout=60, check=True)
            with wave.open(str(path), "rb") as file:
                rate = file.getframerate()
                waveform = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768.0
        phones = _flite_phones(done.stdout.decode("utf-8", "ignore"))
        duration = len(waveform) / rate
        if not phones or abs(duration / phones[-1].stop - 1.0) > (0.06 if held_out else 0.01):
            return None
        if held_out:
            # Diphones are cut at pitch periods, so the audio is about 3% shorter than the times that kal prints.
            ratio = duration / phones[-1].stop
            phones = [Phone(phone.start * ratio, phone.stop * ratio, phone.letter) for phone in phones]
        return Utterance(waveform, rate, phones, f"flite-{voice}")


def _flite_phones(listing: str) -> list[Phone]:
    phones: list[Phone] = []
    time = offset = 0.0
    for item in listing.split():
        name, _, ending = item.rpartition(":")
        if not name:
            continue
        stop = float(ending) + offset
        if stop < time - 0.001:
            # Times restart at zero in each new sentence.
            offset = time
            stop = float(ending) + offset
        phones.extend(_split_evenly(time, stop, letters_of_arpabet(name)))
        time = stop
    return phones


def _split_evenly(start: float, stop: float, letters: list[str]) -> list[Phone]:
    """Split the duration of a diphthong or an affricate into equal parts."""
    edges = [start + (stop - start) * number / len(letters) for number in range(len(letters) + 1)]
    return [Phone(edges[n], edges[n + 1], letter) for n, letter in enumerate(letters) if edges[n + 1] > edges[n]]
