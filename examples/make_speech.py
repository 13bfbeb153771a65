"""Synthesise examples/speech.wav from examples/speech.txt with the open-source synthesiser eSpeak NG.

The demo does not require this script, because the repository contains ``speech.wav``. To regenerate ``speech.wav``,
run the following commands in the repository root:

    pip install espeakng-loader
    python examples/make_speech.py
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import espeakng_loader
import numpy as np
from scipy.io import wavfile

HERE = Path(__file__).resolve().parent
VOICE = b"en-us"
WORDS_PER_MINUTE = 150

# Constants from espeak-ng/speak_lib.h.
AUDIO_OUTPUT_SYNCHRONOUS = 2
PARAMETER_RATE = 1
POSITION_CHARACTER = 1
TEXT_UTF8 = 1

Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def synthesise(text: str) -> tuple[bytes, int]:
    """Return the synthesised speech as 16-bit mono PCM bytes, and its sample rate in Hz."""
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = espeakng_loader.get_data_path().encode()
    rate = library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, data, 0)
    if rate <= 0 or library.espeak_SetVoiceByName(VOICE) != 0:
        raise RuntimeError(f"eSpeak NG: cannot initialise voice {VOICE.decode()!r}; reinstall espeakng-loader")
    pieces: list[bytes] = []

    @Callback
    def collect(samples: ctypes.Array[ctypes.c_short], count: int, _events: int | None) -> int:
        if samples and count:
            pieces.append(ctypes.string_at(samples, count * 2))
        return 0

    library.espeak_SetSynthCallback(collect)
    library.espeak_SetParameter(PARAMETER_RATE, WORDS_PER_MINUTE, 0)
    encoded = text.encode() + b"\0"
    library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded)), 0, POSITION_CHARACTER, 0, TEXT_UTF8, None, None)
    library.espeak_Synchronize()
    return b"".join(pieces), rate


def main() -> None:
    text = " ".join((HERE / "speech.txt").read_text(encoding="utf-8").split())
    samples, rate = synthesise(text)
    wavfile.write(HERE / "speech.wav", rate, np.frombuffer(samples, np.int16))
    print(f"{HERE / 'speech.wav'}: {len(samples) / 2 / rate:.2f} s at {rate} Hz")


if __name__ == "__main__":
    main()
