"""Guidance of the network outputs by an aligned transcript that matches the speech.

Within aligned phones, the viseme probabilities are replaced mostly by the classes of the phones, so closures occur at
p, b, m, f and v and nowhere else. The opening is a blend of the network's opening and the opening that the
coarticulation rules predict for the aligned phones. The network outputs remain unchanged in pauses and in parts that do
not match the transcript.

The **match** measures the agreement between transcript and speech. For each phone, the log likelihood ratio between the
phone's viseme class and all vowel classes (for a vowel) or all consonant classes (for a consonant) is averaged over the
phone's rows and limited to +-1.5. The match is the mean over phones minus three terms: the share of speech without a
phone, the share of silent rows within phones, and the reciprocal of the number of phones, because few phones are weak
evidence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from retalkit_renderers.speech_to_mouth.coarticulation import Phone, mouth_targets
from retalkit_renderers.speech_to_mouth.decoding import CLASSES, CONTACT, OPENING, class_posteriors, sigmoid
from retalkit_renderers.speech_to_mouth.transcript.alignment import (
    PRIORS,
    ROW_RATE,
    AlignedPhone,
    Word,
    align,
    emissions,
)
from retalkit_renderers.speech_to_mouth.transcript.cues import Cue, read_transcript
from retalkit_renderers.speech_to_mouth.transcript.phonemizer import phonemize
from retalkit_renderers.speech_to_mouth.visemes import BILABIAL, LABIODENTAL, SILENCE, TABLE
from retalkit_renderers.speech_to_mouth.visemes import CLASSES as VISEMES

Float = NDArray[np.float32]

LEAST_MATCH: Final = 0.3
"""Minimum match of a transcript. The value was determined with 60 sentences of held-out synthetic voices and 71 clips
of people, and 3 other transcripts per clip (docs/speech-to-mouth.md)."""
LEAST_UNIT_MATCH: Final = 0.45
"""Minimum match of a cue or sentence in a matching transcript. This match does not depend on the number of phones. The
value is high, because the network alone is better than a wrong cue."""
_CERTAINTY = 0.9
"""Weight of the aligned class. The network's probabilities have the remaining weight."""
_OTHER_CONTACT = 0.8
"""Factor of the network's contact probability at phones other than p, b, m, f and v."""
_OPENING_SHARE = 0.1
"""Weight of the opening from the coarticulation rules. The network's opening has the remaining weight."""
_RULE_OPENING = 0.74
"""95th percentile of the rules' opening in speech, which corresponds to an opening of 1 in units of ``MouthMotion``."""
_SLACK = 15
"""Number of rows by which speech may start before or end after the cue."""
_SHORT_GAP = 10
"""Maximum duration in rows of a gap that is too short to contain a word that is missing from the transcript."""
_GAIN_LIMIT = 1.5
_FIRST_VOWEL = 10
_MOST_WORDS = (12, 50)
_MOST_CHARACTERS = (100, 1000)
"""Maximum length of a transcript: amount per second of speech, and amount that is added to the product."""
_SENTENCE_END = re.compile(r"(?<=[.!?…。！？])\s+")


@dataclass(frozen=True, slots=True)
class Guidance:
    """Viseme classes and openings that a transcript determines for one speech signal."""

    known: NDArray[np.bool_]
    """Whether a row is within an aligned phone, bool [R]."""
    without_labials: NDArray[np.bool_]
    """Whether a row is in a short gap between phones, in which the transcript has no p, b, m, f or v, bool [R]."""
    classes: NDArray[np.int64]
    """Viseme class, int64 [R]. Values are valid where ``known`` is True."""
    opening: Float
    """Opening in units of the network output, float32 [R]."""
    match: float
    note: str
    """Note for the user: the number of aligned words, or the reason why a part is ignored."""

    def apply(self, raw: Float, first: int) -> Float:
        """Return guided outputs for raw outputs that start at row ``first``, float32 [J, 20 or more]."""
        low, high = max(first, 0), min(first + len(raw), len(self.known))
        inside = slice(low, max(high, low))
        known = np.flatnonzero(self.known[inside])
        gaps = np.flatnonzero(self.without_labials[inside])
        if not len(known) and not len(gaps):
            return raw
        guided = raw.copy()
        part = guided[low - first : high - first]
        shares = class_posteriors(part)
        labials = (gaps[:, None], [BILABIAL, LABIODENTAL])
        shares[gaps, SILENCE] += _CERTAINTY * shares[labials].sum(axis=1)
        shares[labials] *= 1.0 - _CERTAINTY
        shares[known] *= 1.0 - _CERTAINTY
        shares[known, self.classes[inside][known]] += _CERTAINTY
        changed = np.concatenate([known, gaps])
        part[changed, CLASSES] = np.log(shares[changed] + np.float32(1e-6))
        part[known, OPENING] += _OPENING_SHARE * (self.opening[inside] - part[:, OPENING])[known]
        if raw.shape[1] > CONTACT:
            contact = sigmoid(part[changed, CONTACT])
            labial = np.isin(self.classes[inside][changed], (BILABIAL, LABIODENTAL))
            contact = np.where(labial, _CERTAINTY + (1.0 - _CERTAINTY) * contact, _OTHER_CONTACT * contact)
            part[changed, CONTACT] = np.log(contact + 1e-6) - np.log(1.0 - contact + 1e-6)
        return guided


@dataclass(frozen=True, slots=True)
class _Unit:
    """Cue or sentence that consists of the words [first, stop) of a transcript."""

    first: int
    stop: int
    rows: tuple[int, int] | None


class Transcript:
    """Transcript whose words are converted to phones when they are aligned with speech."""

    def __init__(self, cues: tuple[Cue, ...], language: str, name: str) -> None:
        """Check the language. Raises ConfigError if the language is unknown.

        ``name``: file name for use in notes.
        """
        self.name = name
        self._cues = cues
        self._language = language
        phonemize("", language)

    @property
    def words(self) -> list[Word]:
        """Words of all cues with their phones."""
        return self._convert(self._cues)[0]

    def _convert(self, cues: Sequence[Cue]) -> tuple[list[Word], list[_Unit]]:
        words: list[Word] = []
        units: list[_Unit] = []
        for cue in cues:
            rows = _rows(cue)
            for sentence in _SENTENCE_END.split(cue.text) if rows is None else [cue.text]:
                first = len(words)
                for letters in phonemize(sentence, self._language):
                    limits = {} if rows is None else {"earliest": max(rows[0] - _SLACK, 0), "latest": rows[1] + _SLACK}
                    words.append(Word(letters, **limits))
                units.append(_Unit(first, len(words), rows))
        return words, units

    @classmethod
    def read(cls, path: Path, language: str) -> Transcript:
        """Return the transcript in a .txt, .srt or .vtt file.

        Raises ConfigError if the file is invalid or the language is unknown.
        """
        return cls(read_transcript(path), language, path.name)

    def guide(self, raw: Float, opening_scale: float, opening_floor: float = 0.0) -> Guidance:
        """Return the guidance for a speech signal.

        ``raw``: network outputs for the complete speech, float32 [R, 20 or more]. ``opening_floor``: opening output of
        a closed mouth. ``opening_scale``: difference between the opening outputs for openings of 1 and 0 in units of
        ``MouthMotion``.
        """
        cues = [cue for cue in self._cues if (cue.start or 0.0) * ROW_RATE - _SLACK < len(raw)]
        if excess := _excess(cues, len(raw) / ROW_RATE):
            return _unused(len(raw), f"transcript {self.name} {excess}", float("-inf"))
        shares = class_posteriors(raw)
        scores = emissions(shares)
        words, units = self._convert(cues)
        words = [replace(word, latest=min(word.latest, len(raw))) for word in words if word.earliest < len(raw)]
        phones = align(scores, words) if words else None
        if phones is None:
            return _unused(len(raw), f"transcript {self.name} does not fit into the speech", float("-inf"))
        judge = _Judge(scores, shares, phones)
        units = [unit for unit in units if unit.first < min(unit.stop, len(words))]
        timed = [unit.rows for unit in units if unit.rows is not None]
        match = judge.match(phones, judge.region(timed) if timed else None) - 1.0 / len(phones)
        if match < LEAST_MATCH:
            note = f"transcript {self.name} does not match the speech (match {match:.2f}, minimum {LEAST_MATCH:.2f})"
            return _unused(len(raw), note, match)
        used, wrong = self._matching(judge, phones, units)
        aligned = len({phone.word for phone in used})
        note = f"transcript {self.name}: {aligned} of {len(words)} words aligned"
        if wrong:
            kind = "cues" if timed else "sentences"
            note = (
                f"{wrong} of {len(units)} {kind} in transcript {self.name} do not match the speech; the mouth follows "
                f"only the audio in these {kind}"
            )
        return _guidance(used, len(raw), (opening_floor, opening_scale), match, note)

    def _matching(
        self, judge: _Judge, phones: list[AlignedPhone], units: list[_Unit]
    ) -> tuple[list[AlignedPhone], int]:
        """Return the phones of all matching units, and the number of units that do not match."""
        used: list[AlignedPhone] = []
        wrong = 0
        for unit in units:
            own = [phone for phone in phones if unit.first <= phone.word < unit.stop]
            if not own:
                continue
            if len(units) == 1 or judge.match(own, judge.region([(own[0].start, own[-1].stop)])) >= LEAST_UNIT_MATCH:
                used.extend(own)
            else:
                wrong += 1
        return used, wrong


class _Judge:
    """Computes the match between aligned phones and the speech."""

    def __init__(self, scores: Float, shares: Float, phones: list[AlignedPhone]) -> None:
        self._scores = scores
        self._speech = shares[:, SILENCE] < 0.5
        likelihood = np.exp(scores)
        vowels = np.arange(len(VISEMES)) >= _FIRST_VOWEL
        consonants = ~vowels & (np.arange(len(VISEMES)) != SILENCE)
        self._others = [
            np.log(likelihood[:, kinds] @ PRIORS[kinds] / PRIORS[kinds].sum()) for kinds in (consonants, vowels)
        ]
        self._covered = np.zeros(len(scores), bool)
        for phone in phones:
            self._covered[phone.start : phone.stop] = True

    def region(self, parts: list[tuple[int, int]]) -> NDArray[np.bool_]:
        """Return whether each row is in one of the row ranges ``parts``, bool [R]."""
        inside = np.zeros(len(self._scores), bool)
        for start, stop in parts:
            inside[max(start, 0) : max(stop, 0)] = True
        return inside

    def match(self, phones: list[AlignedPhone], region: NDArray[np.bool_] | None) -> float:
        """Return the match of ``phones`` without the term that depends on the number of phones.

        ``region``: rows in which speech without a phone reduces the match, bool [R]; None selects all rows.
        """
        gains: list[float] = []
        silent = total = 0
        for phone in phones:
            rows, kind = slice(phone.start, phone.stop), TABLE[phone.letter].kind
            gain = float((self._scores[rows, kind] - self._others[kind >= _FIRST_VOWEL][rows]).mean())
            gains.append(min(max(gain, -_GAIN_LIMIT), _GAIN_LIMIT))
            silent += int((~self._speech[rows]).sum())
            total += phone.stop - phone.start
        speech = self._speech if region is None else self._speech & region
        uncovered = int((speech & ~self._covered).sum()) / max(int(speech.sum()), 1)
        return float(np.mean(gains)) - uncovered - silent / max(total, 1)


class NetworkOutputs(Protocol):
    """Raw network outputs for one speech signal."""

    @property
    def count(self) -> int:
        """Number of rows for the complete speech."""
        ...

    def read(self, start: int, stop: int) -> Float:
        """Return the rows [start, stop), float32 [stop - start, 20 or more]. Rows outside the speech are NaN."""
        ...


class GuidedOutputs:
    """``NetworkOutputs`` that are guided by a transcript."""

    def __init__(
        self, outputs: NetworkOutputs, transcript: Transcript, opening_scale: float, opening_floor: float = 0.0
    ) -> None:
        """Align the transcript with the network outputs. ``Transcript.guide`` describes the parameters."""
        self._outputs = outputs
        self._guidance = transcript.guide(outputs.read(0, outputs.count), opening_scale, opening_floor)

    @property
    def count(self) -> int:
        return self._outputs.count

    @property
    def note(self) -> str:
        """Note for the user: the number of aligned words, or the reason why a part is ignored."""
        return self._guidance.note

    def read(self, start: int, stop: int) -> Float:
        return self._guidance.apply(self._outputs.read(start, stop), start)


def _rows(cue: Cue) -> tuple[int, int] | None:
    if cue.start is None or cue.stop is None:
        return None
    return round(cue.start * ROW_RATE), round(cue.stop * ROW_RATE)


def _excess(cues: Sequence[Cue], seconds: float) -> str:
    """Return a phrase if the cues are much longer than ``seconds`` of speech, or an empty string.

    The lengths are checked before the conversion to phones, which takes minutes for a book.
    """
    for kind, length, (rate, margin) in (
        ("words", sum(len(cue.text.split()) for cue in cues), _MOST_WORDS),
        ("characters", sum(len(cue.text) for cue in cues), _MOST_CHARACTERS),
    ):
        most = int(rate * seconds + margin)
        if length > most:
            return f"contains {length} {kind}, but {seconds:.1f} s of speech contain at most {most}"
    return ""


def _guidance(
    phones: list[AlignedPhone], rows: int, opening_outputs: tuple[float, float], match: float, note: str
) -> Guidance:
    known = np.zeros(rows, bool)
    without_labials = np.zeros(rows, bool)
    classes = np.zeros(rows, np.int64)
    timed: list[Phone] = []
    last = 0
    for phone in phones:
        known[phone.start : phone.stop] = True
        classes[phone.start : phone.stop] = TABLE[phone.letter].kind
        if phone.start > last:
            timed.append(Phone(last / ROW_RATE, phone.start / ROW_RATE, "_"))
            if last and phone.start - last <= _SHORT_GAP:
                without_labials[last : phone.start] = True
        timed.append(Phone(phone.start / ROW_RATE, phone.stop / ROW_RATE, phone.letter))
        last = phone.stop
    floor, scale = opening_outputs
    opening = np.float32(floor) + mouth_targets(timed, rows).measures[:, 0] * np.float32(scale / _RULE_OPENING)
    return Guidance(known, without_labials, classes, opening, match, note)


def _unused(rows: int, reason: str, match: float) -> Guidance:
    note = f"{reason}; the mouth follows only the audio"
    return Guidance(
        np.zeros(rows, bool), np.zeros(rows, bool), np.zeros(rows, np.int64), np.zeros(rows, np.float32), match, note
    )
