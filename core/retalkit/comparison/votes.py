"""Blind votes: which pairs of videos can be shown, what voters said of them, and how often a variant won."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from retalkit.comparison.results import OWN, SPEECH, CellResult, Results
from retalkit.config.messages import describe
from retalkit.errors import InputError
from retalkit.storage.cache import make_key

VOTED_ARMS: Final = (OWN, SPEECH)
"""Arms whose videos are worth an opinion."""

Choice = Literal["left", "right", "tie"]
_NORMAL: Final = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two finished videos of one clip that say the same words with the same seed."""

    id: str
    """Hides which variants they are. It changes when one of the videos is made again from something else."""
    clip: str
    arm: str
    speech: str
    seed: int
    first: CellResult
    second: CellResult
    """In the order of the variants in the comparison; the page shuffles which is left."""

    @property
    def variants(self) -> tuple[str, str]:
        return self.first.name.variant, self.second.name.variant


@dataclass(frozen=True, slots=True)
class Vote:
    """What one voter said of one pair."""

    comparison: str
    pair: str
    clip: str
    arm: str
    left: str
    """Variant that was shown on the left."""
    right: str
    choice: Choice
    voter: str
    time: str = ""
    """ISO 8601, UTC; empty where the page did not say."""


@dataclass(frozen=True, slots=True)
class Ballot:
    """All votes of a comparison."""

    votes: list[Vote]
    left_out: list[str]
    """What could not be counted and why, one line each."""


@dataclass(frozen=True, slots=True)
class WinRate:
    """How often a variant was preferred."""

    variant: str
    against: str
    """The other variant; empty: all others together."""
    wins: int
    losses: int
    ties: int
    rate: float
    """(wins + ties / 2) / votes, in [0, 1]."""
    low: float
    high: float
    """95 % Wilson interval of the rate as if all votes were independent, which votes of one voter are not."""
    voters: int
    clips: int

    @property
    def votes(self) -> int:
        return self.wins + self.losses + self.ties


class _VoteLine(BaseModel):
    model_config = ConfigDict(extra="ignore")

    pair: str
    left: str
    right: str
    choice: Choice
    time: datetime | None = None


class _VoteFile(BaseModel):
    model_config = ConfigDict(extra="ignore")

    comparison: str
    voter: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    time: datetime | None = None
    votes: list[_VoteLine]


def comparison_id(results: Results) -> str:
    """The name by which a vote file says which comparison it belongs to.

    It follows the title alone, so that votes stay good when a variant or a clip is added; what a vote was about is
    guarded by ``Pair.id``.
    """
    return make_key("comparison", results.title)


def pairs(results: Results, arms: Sequence[str] = VOTED_ARMS) -> list[Pair]:
    """Every pair of videos that a voter may be asked about: done, with a video, originals only (no reruns)."""
    order = [variant.name for variant in results.variants]
    places: dict[tuple[str, str, str, int], list[CellResult]] = {}
    for cell in results.cells:
        name = cell.name
        if cell.state == "done" and cell.video and not name.rerun and name.arm in arms and name.variant in order:
            places.setdefault((name.clip, name.arm, name.speech, name.seed), []).append(cell)
    found: list[Pair] = []
    for (clip, arm, speech, seed), cells in places.items():
        for first, second in combinations(sorted(cells, key=lambda cell: order.index(cell.name.variant)), 2):
            # The keys of the cells stand for what the videos were made from.
            sides = sorted([cell.name.variant, cell.key] for cell in (first, second))
            key = make_key("pair", clip, arm, speech, seed, sides)
            found.append(Pair(key, clip, arm, speech, seed, first, second))
    return found


def read_votes(folder: Path, results: Results) -> Ballot:
    """The votes in every ``*.json`` of a folder, files by name; of one voter and one pair the latest counts.

    Latest is by the time that the vote carries, and by its place among the files where it carries none. A folder that
    is not there holds no votes. A file that is no vote file or of another comparison, and a vote on videos that this
    comparison does not have, are left out and told; they take nothing else with them.
    """
    identity = comparison_id(results)
    known = {pair.id: pair for pair in pairs(results)}
    latest: dict[tuple[str, str], Vote] = {}
    left_out: list[str] = []
    for path in sorted(folder.glob("*.json")):
        try:
            file = _read(path)
        except InputError as error:
            left_out.append(str(error))
            continue
        if file.comparison != identity:
            left_out.append(f"votes {path}: it belongs to another comparison; move the file out of the folder")
            continue
        gone = 0
        for line in file.votes:
            if line.pair not in known:
                gone += 1
                continue
            try:
                vote = _vote(path, file, line, known[line.pair])
            except InputError as error:
                left_out.append(str(error))
                continue
            place = (vote.voter, vote.pair)
            before = latest.get(place)
            if before is None or not (before.time and vote.time) or vote.time >= before.time:
                latest[place] = vote
        if gone:
            left_out.append(
                f"votes {path}: {gone} of {len(file.votes)} are on videos that were made again since, or that are no "
                "part of this comparison: vote on the new page"
            )
    return Ballot(list(latest.values()), left_out)


def _read(path: Path) -> _VoteFile:
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"votes {path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"votes {path}: not a JSON file ({reason}); save the votes of the page again") from error
    try:
        return _VoteFile.model_validate(data)
    except ValidationError as error:
        reason = " ".join(describe(error, _VoteFile, data).split()).removeprefix(": ")
        raise InputError(f"votes {path}: not a vote file: {reason}; save the votes of the page again") from error


def _vote(path: Path, file: _VoteFile, line: _VoteLine, pair: Pair) -> Vote:
    if {line.left, line.right} != set(pair.variants) or line.left == line.right:
        raise InputError(
            f"votes {path}: pair {line.pair!r} shows {pair.variants[0]!r} and {pair.variants[1]!r}, "
            f"not {line.left!r} and {line.right!r}; save the votes of the page again"
        )
    time = _stamp(line.time or file.time)
    return Vote(file.comparison, pair.id, pair.clip, pair.arm, line.left, line.right, line.choice, file.voter, time)


def _stamp(time: datetime | None) -> str:
    if time is None:
        return ""
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    # One form for all, so that stamps can be compared as text.
    return aware.isoformat(timespec="microseconds")


def win_rates(votes: Iterable[Vote]) -> list[WinRate]:
    """For each two variants that met, both ways round, and for each variant against all others (``against`` empty)."""
    sides: dict[tuple[str, str], list[tuple[str, Vote]]] = {}
    for vote in votes:
        for variant, other, side in ((vote.left, vote.right, "left"), (vote.right, vote.left, "right")):
            for against in (other, ""):
                sides.setdefault((variant, against), []).append((side, vote))
    return [_win_rate(variant, against, met) for (variant, against), met in sorted(sides.items())]


def _win_rate(variant: str, against: str, met: list[tuple[str, Vote]]) -> WinRate:
    wins = sum(vote.choice == side for side, vote in met)
    ties = sum(vote.choice == "tie" for _, vote in met)
    rate = (wins + ties / 2) / len(met)
    low, high = wilson(rate, len(met))
    return WinRate(
        variant,
        against,
        wins,
        len(met) - wins - ties,
        ties,
        rate,
        low,
        high,
        voters=len({vote.voter for _, vote in met}),
        clips=len({vote.clip for _, vote in met}),
    )


def wilson(rate: float, count: int, normal: float = _NORMAL) -> tuple[float, float]:
    """Interval of a share (Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927).

    With z = ``normal``: (rate + z²/2n ± z sqrt(rate (1 - rate) / n + z²/4n²)) / (1 + z²/n). A tie that counts as half
    a win varies less than a win or a loss, so that with ties the interval is a little too wide, never too narrow.
    """
    if not count:
        return float("nan"), float("nan")
    square = normal**2
    middle = rate + square / (2 * count)
    half = normal * math.sqrt(rate * (1 - rate) / count + square / (4 * count**2))
    scale = 1 + square / count
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
