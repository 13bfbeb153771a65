"""Forced alignment of the phones in a transcript with viseme probabilities from the network.

The Viterbi algorithm computes the best path through the phones in order, with explicit phone durations as in a hidden
semi-Markov model (Yu, "Hidden semi-Markov models", Artificial Intelligence 2010). Pauses before, between and after
words are optional. A pause also absorbs audio that is missing from the transcript. Rows are the network's time steps at
50 Hz.

The runtime is proportional to the product of the numbers of rows and phones. For more than ``WINDOW`` phones, the
search is limited to the phones near the best phone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from retalkit_renderers.speech_to_mouth.visemes import SILENCE, TABLE

Float = NDArray[np.float32]

ROW_RATE: Final = 50
WINDOW: Final = 1000
"""Beam width as a number of nodes around the best node."""
LONGEST: Final = 25
"""Maximum phone duration in rows."""
PRIORS: Final = np.array(
    [0.17, 0.05, 0.03, 0.01, 0.14, 0.07, 0.07, 0.03, 0.05, 0.09, 0.07, 0.05, 0.09, 0.09, 0.05], np.float32
)
"""Prior probability of each viseme class in speech."""
_PRIOR_WEIGHT = 0.7
_LEAST = 0.003
"""Constant that is added to each probability, because the network's probabilities contain errors."""
_FILLER = 1.5
"""Penalty per row for a pause that contains sound."""
_DURATION_WEIGHT = 1.0
_SPREAD = 0.5
"""Standard deviation of the logarithmic phone duration."""
_ROWS = (3.5, 5.0)
"""Median durations of consonants and vowels in rows."""
_VOWELS = frozenset(range(10, 15))
_NEVER = -1e30


@dataclass(frozen=True, slots=True)
class Word:
    """Word with the rows in which the word may be aligned."""

    letters: tuple[str, ...]
    """IPA letters of the word's phones."""
    earliest: int = 0
    """First row in which the word may start."""
    latest: int = 2**31
    """Row before which the word must end."""


@dataclass(frozen=True, slots=True)
class AlignedPhone:
    """Phone that is aligned with the rows [start, stop)."""

    letter: str
    word: int
    start: int
    stop: int


def emissions(shares: Float) -> Float:
    """Return the log likelihood ratios of the viseme classes up to a constant, float32 [R, 15].

    ``shares``: class probabilities, float32 [R, 15].
    """
    likely = np.log(shares + np.float32(_LEAST)) - np.float32(_PRIOR_WEIGHT) * np.log(PRIORS)
    return likely.astype(np.float32)


def align(scores: Float, words: Sequence[Word]) -> list[AlignedPhone] | None:
    """Return the best alignment of ``words`` with the ``emissions``, float32 [R, 15].

    The result is None if the phones do not fit into the rows.
    """
    nodes = _Nodes(words)
    rows = len(scores)
    backward = _forward(scores, nodes)
    if backward is None:
        return None
    phones: list[AlignedPhone] = []
    row, node = rows, len(nodes.kinds)
    while node > 0 and row > 0:
        step = int(backward.at(row, node - 1))
        if nodes.letters[node - 1]:
            phones.append(AlignedPhone(nodes.letters[node - 1], int(nodes.word[node - 1]), row - step, row))
            row -= step
        else:
            row -= backward.pause(row, node - 1)
        node -= 1
    return phones[::-1]


class _Nodes:
    """Sequence of phones with a pause before, between and after the words."""

    def __init__(self, words: Sequence[Word]) -> None:
        letters: list[str] = [""]
        word_of: list[int] = [-1]
        earliest: list[int] = [0]
        latest: list[int] = [words[0].latest if words else 2**31]
        for number, word in enumerate(words):
            for letter in word.letters:
                letters.append(letter)
                word_of.append(number)
                earliest.append(word.earliest)
                latest.append(word.latest)
            following = words[number + 1].latest if number + 1 < len(words) else 2**31
            letters.append("")
            word_of.append(-1)
            earliest.append(word.earliest)
            latest.append(max(word.latest, following))
        latest[0] = max(latest[0], 0)
        self.letters = letters
        self.word = np.array(word_of)
        # Limits must be monotonic, because words are spoken in order.
        self.earliest = np.maximum.accumulate(np.array(earliest))
        self.latest = np.minimum.accumulate(np.array(latest)[::-1])[::-1]
        self.kinds = np.array([TABLE[letter].kind if letter else SILENCE for letter in letters])
        self.pauses = np.array([not letter for letter in letters])
        vowel = np.isin(self.kinds, list(_VOWELS))
        durations = np.arange(1, LONGEST + 1)[::-1]
        usual = np.where(vowel, _ROWS[1], _ROWS[0])
        away = np.log(durations[:, None] / usual[None]) / _SPREAD
        self.durations = (-0.5 * _DURATION_WEIGHT * away**2).astype(np.float32)
        """Score of each duration in descending order of duration, float32 [LONGEST, N]."""
        self.durations[:, self.pauses] = _NEVER


class _Backward:
    """Decisions of the forward pass for each row and node.

    A decision is the duration of a phone, or the flags ``_SKIPPED`` and ``_GOES_ON`` of a pause.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[int, NDArray[np.uint8]]] = [(0, np.zeros(0, np.uint8))]

    def append(self, low: int, values: NDArray[np.uint8]) -> None:
        self._rows.append((low, values))

    def at(self, row: int, node: int) -> int:
        low, values = self._rows[row]
        return int(values[node - low])

    def pause(self, row: int, node: int) -> int:
        """Return the duration in rows of the pause ``node`` that ends before ``row``."""
        length = 0
        if self.at(row, node) & _SKIPPED:
            return 0
        while self.at(row - length, node) & _GOES_ON:
            length += 1
        return length + 1


_SKIPPED, _GOES_ON = 2, 1
"""Flags of a pause at a row. ``_SKIPPED``: the pause has no rows. ``_GOES_ON``: the pause started before the row."""


def _forward(scores: Float, nodes: _Nodes) -> _Backward | None:
    rows, count = len(scores), len(nodes.kinds)
    pause_scores = np.maximum(scores[:, SILENCE], scores.max(axis=1) - np.float32(_FILLER))
    sums = np.concatenate([np.zeros((1, scores.shape[1])), np.cumsum(scores, axis=0, dtype=np.float64)])
    # entry: best score of all paths that end before each node. paused: best score of all paths that end in each pause.
    entry, paused = np.full(count + 1, _NEVER), np.full(count, _NEVER)
    entry[0] = entry[1] = 0.0
    # Scores for starting a node at each of the last LONGEST rows. Each row is stored twice, so these rows are always
    # contiguous.
    history = np.full((2 * LONGEST, count), _NEVER)
    history[[0, LONGEST], :2] = 0.0
    history[[0, LONGEST], 0] = _NEVER
    history[:, nodes.earliest > 0] = _NEVER
    backward = _Backward()
    low = best = 0
    for row in range(1, rows + 1):
        # The window only moves forwards, so values behind the window are not needed again.
        low = max(low, best - WINDOW // 2, int(np.searchsorted(nodes.latest, row)))
        high = min(count, low + WINDOW, int(np.searchsorted(nodes.earliest, row, side="right")))
        if high <= low:
            return None
        part = slice(low, high)
        pauses = np.flatnonzero(nodes.pauses[part])
        kinds = nodes.kinds[part]
        first = row % LONGEST
        reached = history[first : first + LONGEST, part] + nodes.durations[:, part]
        chosen = reached.argmax(axis=0)
        ended = reached[chosen, np.arange(high - low)] + sums[row][kinds]
        decisions = (LONGEST - chosen).astype(np.uint8)

        began, went_on = entry[part][pauses], paused[part][pauses]
        goes_on = went_on > began
        stayed = np.maximum(began, went_on) + pause_scores[row - 1]
        paused[low + pauses] = stayed
        # A pause either ends at this row or is skipped. A skipped pause has the score of the preceding phone.
        before = np.where(pauses > 0, ended[pauses - 1], _NEVER)
        skipped = before > stayed
        ended[pauses] = np.maximum(before, stayed)
        decisions[pauses] = _GOES_ON * goes_on + _SKIPPED * skipped
        backward.append(low, decisions)

        entry[low] = _NEVER
        entry[low + 1 : high + 1] = ended
        best = low + int(ended.argmax())
        begin = entry[part] - sums[row][kinds]
        history[first, part] = begin
        history[first + LONGEST, part] = begin
    return backward if entry[count] > _NEVER / 2 else None
