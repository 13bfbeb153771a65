"""Sentences for the synthesisers: random words in many languages from the ``faker`` package (MIT licence).

The sentences are meaningless. The network learns phones, and word lists are sufficient because they contain each
language's phones and phone sequences.
"""

from __future__ import annotations

import random
from functools import lru_cache
from importlib import import_module

LOCALES: dict[str, tuple[str, ...]] = {
    "en": ("en_US", "en_GB", "en"),
    "de": ("de_DE", "de"),
    "es": ("es_ES", "es_MX"),
    "it": ("it_IT",),
    "fr": ("fr_FR",),
    "pt": ("pt_BR", "pt_PT"),
    "nl": ("nl_NL", "nl_BE"),
    "pl": ("pl_PL",),
    "cs": ("cs_CZ",),
    "sk": ("sk_SK",),
    "ru": ("ru_RU",),
    "uk": ("uk_UA",),
    "bg": ("bg_BG",),
    "mk": ("mk_MK",),
    "hr": ("hr_HR",),
    "sl": ("sl_SI",),
    "da": ("da_DK",),
    "sv": ("sv_SE",),
    "nb": ("no_NO",),
    "is": ("is_IS",),
    "fi": ("fi_FI",),
    "et": ("et_EE",),
    "hu": ("hu_HU",),
    "ro": ("ro_RO",),
    "el": ("el_GR",),
    "tr": ("tr_TR",),
    "az": ("az_AZ",),
    "la": ("la",),
    "id": ("id_ID",),
    "sw": ("sw",),
    "vi": ("vi_VN",),
    "hy": ("hy_AM",),
    "ka": ("ka_GE",),
    "hi": ("hi_IN",),
    "bn": ("bn_BD",),
    "ko": ("ko_KR",),
    "cmn": ("zh_CN",),
    "lt": ("lt_LT",),
    "lv": ("lv_LV",),
}
"""Mapping from espeak-ng language code to the ``faker`` locales whose word lists are combined."""

_PARTS = {
    "lorem": ("word_list",),
    "job": ("jobs",),
    "person": ("first_names", "last_names", "first_names_female", "first_names_male"),
    "address": ("cities", "countries", "states"),
}


@lru_cache(maxsize=64)
def words(language: str) -> tuple[str, ...]:
    """Return all words of ``language`` in a deterministic order. Ordinary words have twice the weight of names."""
    ordinary: list[str] = []
    names: list[str] = []
    for locale in LOCALES[language]:
        for part, attributes in _PARTS.items():
            target = ordinary if part in ("lorem", "job") else names
            target.extend(_attributes(part, locale, attributes))
    ordinary = sorted(set(ordinary))
    names = sorted(set(names))
    copies = max(1, round(2 * len(names) / max(1, len(ordinary)))) if ordinary else 0
    return tuple(ordinary * copies + names)


def sentence(generator: random.Random, language: str, least: int = 5, most: int = 12) -> str:
    """Return ``least`` to ``most`` random words. Some words are followed by a comma, which is spoken as a pause."""
    chosen = generator.choices(words(language), k=generator.randint(least, most))
    if language == "en" and generator.random() < 0.3:
        chosen = [_pseudo_word(generator) if generator.random() < 0.5 else word for word in chosen]
    parts = [word + ("," if generator.random() < 0.12 else "") for word in chosen]
    return " ".join(parts).rstrip(",")


def _attributes(part: str, locale: str, names: tuple[str, ...]) -> list[str]:
    try:
        provider = import_module(f"faker.providers.{part}.{locale}").Provider
    except ModuleNotFoundError:
        return []
    found: list[str] = []
    for name in names:
        values = getattr(provider, name, ())
        found.extend(str(value) for value in (values.keys() if isinstance(values, dict) else values))
    return [word for word in found if 1 < len(word) < 30 and not any(sign in word for sign in "{}<>[]0123456789")]


# fmt: off
_ONSETS = [
    "p", "b", "m", "f", "v", "w", "t", "d", "s", "z", "k", "g", "l", "r", "n", "h", "sh", "ch", "j", "th", "y", "pl",
    "br", "fr", "sm", "sp", "gr", "st", "kw",
]
_NUCLEI = ["a", "e", "i", "o", "u", "ee", "oo", "ar", "or", "ai", "ow", "oy"]
_CODAS = ["", "", "", "p", "b", "m", "f", "v", "t", "s", "n", "l", "k", "mp", "ft", "sh", "ng"]
# fmt: on


def _pseudo_word(generator: random.Random) -> str:
    """Return a pseudo-word, which adds phone sequences that occur in no dictionary."""
    count = generator.randint(1, 3)
    choose = generator.choice
    return "".join(choose(_ONSETS) + choose(_NUCLEI) + choose(_CODAS) for _ in range(count))
