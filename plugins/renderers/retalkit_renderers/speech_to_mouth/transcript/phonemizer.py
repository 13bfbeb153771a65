"""Grapheme-to-phoneme conversion with espeak-ng.

The package ``espeakng-loader`` (GPL-3.0-or-later) contains the library.
"""

from __future__ import annotations

import ctypes
import re
import threading
from functools import lru_cache
from typing import Any, Final

from retalkit.errors import ConfigError

from retalkit_renderers.speech_to_mouth.visemes import letters_of_ipa

Word = tuple[str, ...]
"""IPA letters from ``visemes.TABLE``."""

_RETRIEVAL = 1
_UTF8 = 1
_IPA = 2
_LANGUAGE_SWITCH = re.compile(r"\([a-z0-9-]+\)")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[a-z0-9]+)*", re.IGNORECASE)


def phonemize(text: str, language: str) -> list[Word]:
    """Return the phones of each word in ``text``. Words that espeak-ng pronounces as a unit are returned as one word.

    ``language``: name of an espeak-ng voice, such as ``en-us``, ``en-gb`` or ``de``. Raises ConfigError if espeak-ng
    has no such voice.
    """
    library, lock = _library()
    words: list[Word] = []
    # The library has global state.
    with lock:
        if not _LANGUAGE.fullmatch(language) or not _set_voice(library, language):
            raise ConfigError(
                f"language: unknown espeak-ng voice '{language}'; use a code such as en-us, en-gb, de, fr-fr or es",
                code="unknown-language",
            )
        buffer = ctypes.create_string_buffer(text.encode())
        position = ctypes.c_void_p(ctypes.addressof(buffer))
        # Each call converts one clause and advances the position. The position is NULL after the last clause.
        while position.value:
            clause: bytes = library.espeak_TextToPhonemes(ctypes.byref(position), _UTF8, _IPA) or b""
            spoken = _LANGUAGE_SWITCH.sub("", clause.decode("utf-8", "ignore"))
            words.extend(tuple(letters_of_ipa(word)) for word in spoken.split())
    return [word for word in words if word]


class _Voice(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("reserved", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    ]


def _set_voice(library: Any, language: str) -> bool:
    # espeak_SetVoiceByName accepts only file names of voices. For example, en-gb is a language of the voice "en".
    if library.espeak_SetVoiceByName(language.encode()) == 0:
        return True
    wanted = _Voice(languages=language.encode())
    return library.espeak_SetVoiceByProperties(ctypes.byref(wanted)) == 0


@lru_cache(maxsize=1)
def _library() -> tuple[Any, threading.Lock]:
    import espeakng_loader

    library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
    data = str(espeakng_loader.get_data_path())
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    if library.espeak_Initialize(_RETRIEVAL, 0, data.encode(), 0) <= 0:
        raise ConfigError(
            f"transcript: espeak-ng cannot load its data from {data}; reinstall retalkit[transcript]",
            code="import-failed",
        )
    return library, threading.Lock()
