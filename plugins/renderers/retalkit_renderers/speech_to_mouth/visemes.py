"""Viseme table with the targets, dominances and viseme class of each phone.

The targets represent medium articulation effort and are based on the following sources:

* Classes: Fisher, "Confusions among visually perceived consonants", JSHR 1968; MPEG-4 Facial Animation (ISO 14496-2).
* Vowels: lip area and width after Abry and Boe, "Laws for lips", Speech Communication 1986; Linker, "Articulatory and
  acoustic correlates of labial activity in vowels", UCLA 1982. Rounded vowels, including open-mid rounded vowels, have
  a *small* gap between the inner lips, although the jaw may be low.
* Consonants: dominances after Cohen and Massaro, "Modeling coarticulation in synthetic visual speech", 1993. For s and
  z, the teeth are closed and the lips are apart. For k and g, the surrounding vowels determine the lip shape.

The values were set manually according to these sources and are not measurements.
"""

from __future__ import annotations

from dataclasses import dataclass

CLASSES = (
    "silence",
    "bilabial",
    "labiodental",
    "dental",
    "alveolar",
    "lateral",
    "sibilant",
    "postalveolar",
    "rhotic",
    "velar",
    "close front",
    "close rounded",
    "mid front",
    "open",
    "mid rounded",
)
"""Names of the 15 viseme classes in the order of the network's outputs 5 to 19."""
SILENCE, BILABIAL, LABIODENTAL = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Viseme:
    """Targets of one phone, and their dominances (weights relative to neighbouring phones)."""

    opening: float
    """Gap between the inner lips, from 0 to 1."""
    width: float
    """Mouth width, from -1 (rounded) to 1 (spread)."""
    protrusion: float
    """Lip protrusion, from 0 to 1."""
    jaw: float
    """Jaw opening, from 0 (clenched) to 1 (wide open)."""
    opening_hold: float
    width_hold: float
    protrusion_hold: float
    jaw_hold: float
    kind: int
    """Viseme class as an index into ``CLASSES``."""


REST = Viseme(0.0, 0.0, 0.0, 0.05, 1.0, 0.35, 0.35, 0.8, SILENCE)

# phones: opening, width, protrusion, jaw; dominance of opening, width, protrusion, jaw; class
_ROWS: tuple[tuple[str, tuple[float, ...], tuple[float, ...], int], ...] = (
    ("p b m ɓ ʙ", (0.0, -0.05, 0.10, 0.22), (3.0, 0.20, 0.3, 0.7), 1),
    ("f v ɱ", (0.06, 0.10, 0.05, 0.18), (2.4, 0.40, 0.4, 0.9), 2),
    ("ɸ β ʋ", (0.10, -0.15, 0.15, 0.22), (1.6, 0.40, 0.4, 0.7), 2),
    ("θ ð", (0.30, 0.05, 0.10, 0.28), (0.9, 0.30, 0.3, 0.8), 3),
    ("t d n ɳ ʈ ɖ ɗ", (0.33, 0.10, 0.10, 0.22), (0.5, 0.20, 0.2, 0.7), 4),
    ("l ɫ ɭ ʎ ɾ", (0.38, 0.10, 0.08, 0.35), (0.5, 0.20, 0.2, 0.5), 5),
    ("s z ɬ ɮ", (0.38, 0.25, 0.08, 0.06), (1.0, 0.40, 0.4, 1.4), 6),
    ("ʃ ʒ ʂ ʐ ɕ ʑ", (0.32, -0.50, 0.70, 0.10), (1.0, 0.90, 1.0, 1.3), 7),
    ("r ɹ ɻ ɽ", (0.22, -0.40, 0.40, 0.22), (0.7, 0.60, 0.6, 0.6), 8),
    ("ʁ ʀ R", (0.36, -0.05, 0.10, 0.35), (0.3, 0.10, 0.1, 0.4), 9),
    ("k ɡ g ŋ x ɣ q c ɟ ç ɲ χ ɢ", (0.44, 0.05, 0.08, 0.36), (0.35, 0.15, 0.1, 0.35), 9),
    ("h ɦ ħ ʕ ʔ", (0.42, 0.0, 0.08, 0.36), (0.15, 0.05, 0.05, 0.15), 9),
    ("j ʝ", (0.36, 0.50, 0.05, 0.22), (0.6, 0.60, 0.3, 0.6), 10),
    ("w ʍ ɥ", (0.08, -1.0, 0.90, 0.18), (1.5, 1.60, 1.4, 0.7), 11),
    ("i", (0.42, 0.80, 0.0, 0.20), (0.9, 0.90, 0.6, 0.9), 10),
    ("ɪ", (0.46, 0.45, 0.05, 0.30), (0.9, 0.70, 0.5, 0.9), 10),
    ("ɨ ɯ ᵻ", (0.38, 0.20, 0.10, 0.25), (0.8, 0.50, 0.4, 0.8), 10),
    ("y ʏ", (0.18, -0.80, 0.85, 0.20), (1.1, 1.20, 1.2, 0.8), 11),
    ("e", (0.54, 0.60, 0.0, 0.45), (1.0, 0.80, 0.6, 0.9), 12),
    ("ɛ", (0.66, 0.45, 0.05, 0.62), (1.0, 0.80, 0.5, 0.9), 12),
    ("æ", (0.86, 0.45, 0.05, 0.85), (1.1, 0.80, 0.5, 1.0), 13),
    ("a", (0.94, 0.20, 0.08, 0.92), (1.2, 0.70, 0.5, 1.1), 13),
    ("ɑ", (0.92, 0.0, 0.12, 0.96), (1.2, 0.70, 0.5, 1.1), 13),
    ("ɐ", (0.74, 0.10, 0.10, 0.72), (1.0, 0.60, 0.4, 0.9), 13),
    ("ʌ", (0.66, 0.05, 0.12, 0.66), (1.0, 0.60, 0.4, 0.9), 13),
    ("ə", (0.42, 0.0, 0.12, 0.38), (0.6, 0.35, 0.3, 0.6), 12),
    ("ɚ ɝ ɜ", (0.36, -0.30, 0.35, 0.36), (0.8, 0.70, 0.6, 0.8), 8),
    ("ɤ ɘ", (0.45, 0.0, 0.10, 0.42), (0.8, 0.50, 0.4, 0.8), 12),
    ("ø ɵ", (0.30, -0.60, 0.65, 0.40), (1.0, 1.10, 1.0, 0.8), 11),
    ("œ ɶ", (0.42, -0.50, 0.55, 0.58), (1.0, 1.00, 0.9, 0.9), 11),
    ("ɒ", (0.60, -0.40, 0.40, 0.85), (1.1, 0.90, 0.7, 1.0), 14),
    ("ɔ", (0.40, -0.60, 0.60, 0.66), (1.0, 1.10, 0.9, 0.9), 14),
    ("o", (0.28, -0.80, 0.80, 0.48), (1.0, 1.30, 1.2, 0.9), 14),
    ("ʊ", (0.24, -0.60, 0.65, 0.32), (0.9, 1.00, 0.9, 0.8), 11),
    ("u ʉ", (0.14, -1.0, 1.0, 0.25), (1.1, 1.40, 1.4, 0.8), 11),
)

TABLE: dict[str, Viseme] = {"_": REST} | {
    phone: Viseme(*aims, *holds, kind) for phones, aims, holds, kind in _ROWS for phone in phones.split()
}
"""Mapping from IPA letter to viseme. The letter ``_`` represents silence."""

_ARPABET = {
    "aa": "ɑ", "ae": "æ", "ah": "ʌ", "ao": "ɔ", "aw": "aʊ", "ax": "ə", "ay": "aɪ", "b": "b", "ch": "tʃ", "d": "d",
    "dh": "ð", "eh": "ɛ", "er": "ɚ", "ey": "eɪ", "f": "f", "g": "ɡ", "hh": "h", "ih": "ɪ", "iy": "i", "jh": "dʒ",
    "k": "k", "l": "l", "m": "m", "n": "n", "ng": "ŋ", "ow": "oʊ", "oy": "ɔɪ", "p": "p", "r": "ɹ", "s": "s", "sh": "ʃ",
    "t": "t", "th": "θ", "uh": "ʊ", "uw": "u", "v": "v", "w": "w", "y": "j", "z": "z", "zh": "ʒ", "pau": "_",
    "axr": "ɚ", "el": "əl", "em": "m", "en": "n", "dx": "ɾ", "hv": "h", "ix": "ɪ", "nx": "n", "sil": "_", "ssil": "_",
    "brth": "_", "h#": "_",
}  # fmt: skip


def letters_of_ipa(symbol: str) -> list[str]:
    """Return the letters of an IPA symbol that ``TABLE`` contains, such as t and ʃ for ``tʃ``.

    Length and tone marks are ignored.
    """
    return [letter for letter in symbol if letter in TABLE]


def letters_of_arpabet(symbol: str) -> list[str]:
    """Return the IPA letters of a flite phone name. Unknown names are mapped to a neutral vowel."""
    return list(_ARPABET.get(symbol.lower(), "ə"))
