"""Blind votes: pairs of videos to vote on, vote files, and win rates."""

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
"""Arms whose videos appear on the voting page."""

Choice = Literal["left", "right", "tie"]
_Z: Final = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Pair of finished videos with the same clip, speech and seed."""

    id: str
    """Identifier that does not reveal the variants. The identifier changes if one of the videos is rendered from
    different inputs."""
    clip: str
    arm: str
    speech: str
    seed: int
    first: CellResult
    second: CellResult
    """Cell of the later variant in the order of the comparison file. The voting page randomizes the sides."""

    @property
    def variants(self) -> tuple[str, str]:
        return self.first.name.variant, self.second.name.variant


@dataclass(frozen=True, slots=True)
class Vote:
    """Vote by one voter on one pair."""

    comparison: str
    pair: str
    clip: str
    arm: str
    left: str
    """Name of the variant on the left side."""
    right: str
    choice: Choice
    voter: str
    time: str = ""
    """Time in ISO 8601 format, UTC, or an empty string if the vote file does not contain a time."""


@dataclass(frozen=True, slots=True)
class Ballot:
    """All votes of a comparison."""

    votes: list[Vote]
    skipped: list[str]
    """One line for each vote or vote file that could not be counted, with the reason."""


@dataclass(frozen=True, slots=True)
class WinRate:
    """Fraction of votes in which a variant was preferred."""

    variant: str
    against: str
    """Name of the other variant, or an empty string if the win rate is against all other variants."""
    wins: int
    losses: int
    ties: int
    rate: float
    """Win rate in [0, 1], defined as (wins + ties / 2) / votes."""
    low: float
    high: float
    """Limits ``low`` and ``high`` of the win rate's 95 % Wilson interval.

    The interval assumes independent votes, but votes by the same voter are not independent.
    """
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
    """Return the identifier that associates vote files with this comparison.

    The identifier depends only on the title, so that votes remain valid if a variant or clip is added. Changed videos
    are detected with ``Pair.id``.
    """
    return make_key("comparison", results.title)


def pairs(results: Results, arms: Sequence[str] = VOTED_ARMS) -> list[Pair]:
    """Return all pairs of finished videos to vote on. Reruns are excluded."""
    order = [variant.name for variant in results.variants]
    places: dict[tuple[str, str, str, int], list[CellResult]] = {}
    for cell in results.cells:
        name = cell.name
        if cell.state == "done" and cell.video and not name.rerun and name.arm in arms and name.variant in order:
            places.setdefault((name.clip, name.arm, name.speech, name.seed), []).append(cell)
    found: list[Pair] = []
    for (clip, arm, speech, seed), cells in places.items():
        for first, second in combinations(sorted(cells, key=lambda cell: order.index(cell.name.variant)), 2):
            # Cell keys depend on all inputs that affect the videos.
            sides = sorted([cell.name.variant, cell.key] for cell in (first, second))
            key = make_key("pair", clip, arm, speech, seed, sides)
            found.append(Pair(key, clip, arm, speech, seed, first, second))
    return found


def read_votes(folder: Path, results: Results) -> Ballot:
    """Read the votes from all ``*.json`` files in a directory, in the order of the file names.

    If a voter has voted on a pair several times, only the latest vote is counted. Votes are ordered by time, or by file
    order if the time is missing. A missing directory contains no votes. Invalid files, files from a different
    comparison, and votes on videos that do not belong to this comparison are skipped and listed in ``Ballot.skipped``.
    """
    identity = comparison_id(results)
    known = {pair.id: pair for pair in pairs(results)}
    latest: dict[tuple[str, str], Vote] = {}
    skipped: list[str] = []
    for path in sorted(folder.glob("*.json")):
        try:
            file = _read(path)
        except InputError as error:
            skipped.append(str(error))
            continue
        if file.comparison != identity:
            skipped.append(
                f"{path}: the votes belong to a different comparison: move the file to a different directory"
            )
            continue
        unknown = 0
        for line in file.votes:
            if line.pair not in known:
                unknown += 1
                continue
            try:
                vote = _vote(path, file, line, known[line.pair])
            except InputError as error:
                skipped.append(str(error))
                continue
            key = (vote.voter, vote.pair)
            before = latest.get(key)
            if before is None or not (before.time and vote.time) or vote.time >= before.time:
                latest[key] = vote
        if unknown:
            skipped.append(
                f"{path}: {unknown} of {len(file.votes)} votes refer to videos that have changed or are not part of "
                "this comparison: vote again on the current voting page"
            )
    return Ballot(list(latest.values()), skipped)


def _read(path: Path) -> _VoteFile:
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: cannot read the vote file: {error.strerror or error}: check the file permissions",
            code="unreadable-file",
        ) from error
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        message = f"{path}: invalid JSON ({reason}): save the votes from the voting page again"
        raise InputError(message, code="invalid-votes") from error
    try:
        return _VoteFile.model_validate(data)
    except ValidationError as error:
        reason = " ".join(describe(error, _VoteFile, data).split()).removeprefix(": ")
        message = f"{path}: not a vote file: {reason}: save the votes from the voting page again"
        raise InputError(message, code="invalid-votes") from error


def _vote(path: Path, file: _VoteFile, line: _VoteLine, pair: Pair) -> Vote:
    if {line.left, line.right} != set(pair.variants) or line.left == line.right:
        raise InputError(
            f"{path}: pair {line.pair!r} contains {pair.variants[0]!r} and {pair.variants[1]!r}, "
            f"not {line.left!r} and {line.right!r}: save the votes from the voting page again",
            code="invalid-votes",
        )
    time = _utc_timestamp(line.time or file.time)
    return Vote(file.comparison, pair.id, pair.clip, pair.arm, line.left, line.right, line.choice, file.voter, time)


def _utc_timestamp(time: datetime | None) -> str:
    if time is None:
        return ""
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    # The timestamp format is fixed, so that timestamps can be compared as strings.
    return aware.isoformat(timespec="microseconds")


def win_rates(votes: Iterable[Vote]) -> list[WinRate]:
    """Return each variant's win rates against every other variant, and against all other variants combined (with an
    empty ``against``)."""
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


def wilson(rate: float, count: int, z: float = _Z) -> tuple[float, float]:
    """Return the limits of the Wilson score interval of a proportion.

    The interval is described in Wilson, "Probable inference, the law of succession, and statistical inference", JASA
    1927. The limits are ``(rate + z²/2n ± z sqrt(rate (1 - rate) / n + z²/4n²)) / (1 + z²/n)``.

    A tie counts as half a win, and its variance is lower than the variance of a win or a loss. With ties, the interval
    is therefore slightly too wide, but never too narrow.
    """
    if not count:
        return float("nan"), float("nan")
    square = z**2
    middle = rate + square / (2 * count)
    half = z * math.sqrt(rate * (1 - rate) / count + square / (4 * count**2))
    scale = 1 + square / count
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
