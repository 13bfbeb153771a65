"""Grapheme-to-phoneme conversion with espeak-ng.

The package ``espeakng-loader`` (GPL-3.0-or-later) contains the library.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import re
import shutil
import tempfile
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from retalkit.errors import ConfigError

from retalkit_renderers.speech_to_mouth.visemes import letters_of_ipa

Word = tuple[str, ...]
"""IPA letters from ``visemes.TABLE``."""

_RETRIEVAL = 1
_UTF8 = 1
_IPA = 2
_DO_NOT_EXIT = 0x8000
_LONGEST_PATH: Final = 120
"""Maximum length in bytes of the data path. espeak-ng has a buffer of 160 bytes."""
_DATA_FILES: Final = ("phontab", "phonindex", "phondata", "intonations")
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
    try:
        import espeakng_loader

        library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
        data = Path(espeakng_loader.get_data_path())
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    except Exception as error:  # A damaged package raises various exceptions, including RuntimeError and OSError.
        raise _broken(f"cannot load espeak-ng: {' '.join(str(error).split()) or type(error).__name__}") from error
    missing = [name for name in _DATA_FILES if not (data / name).is_file()]
    if missing:
        raise _broken(f"espeak-ng cannot load its data: there is no file {data / missing[0]}")
    if library.espeak_Initialize(_RETRIEVAL, 0, os.fsencode(_short_path(data)), _DO_NOT_EXIT) <= 0:
        raise _broken(f"espeak-ng cannot load its data from {data}")
    return library, threading.Lock()


def _short_path(data: Path) -> Path:
    """Return a path of the data directory that fits into espeak-ng's path buffer.

    espeak-ng ends the process if the path is too long, so a long path is replaced with a symbolic link that is removed
    when the process ends.
    """
    if len(os.fsencode(data)) <= _LONGEST_PATH:
        return data
    folder = Path(tempfile.mkdtemp(prefix="retalkit-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    link = folder / "espeak-ng-data"
    if len(os.fsencode(link)) > _LONGEST_PATH:
        raise _broken(
            f"espeak-ng does not support data paths above {_LONGEST_PATH} bytes, such as {data}; set TMPDIR to a "
            "shorter path"
        )
    try:
        link.symlink_to(data.absolute(), target_is_directory=True)
    except OSError as error:
        raise _broken(f"cannot create a short link to {data}: {error.strerror or error}") from error
    return link


def _broken(reason: str) -> ConfigError:
    return ConfigError(f"transcript: {reason}; reinstall retalkit[transcript]", code="import-failed")
