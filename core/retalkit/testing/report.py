"""What the kit found, in words."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

_NUMBER: Final = re.compile(r"-?\d+(?:[\d.]*\d)?(?:e[-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class Problem:
    """One way in which an implementation breaks its contract."""

    check: str
    """Name of the check, such as ``batches``."""
    broken: str
    """What is wrong, with the place and the numbers."""
    contract: str
    """What the contract says instead."""
    fault: str = ""
    """What other problems of the same fault have alike; empty: the words of ``broken`` without their numbers."""

    @property
    def kind(self) -> str:
        """Equal for problems that are one fault, in other frames or found by other checks."""
        return self.fault or f"{_NUMBER.sub('#', self.broken)} {self.contract}"

    def __str__(self) -> str:
        return f"{self.check}: {self.broken}\n    contract: {self.contract}"


@dataclass(frozen=True, slots=True)
class SkippedCheck:
    """A check that could not be made."""

    check: str
    reason: str

    def __str__(self) -> str:
        return f"{self.check}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Report:
    """The result of checking one stage or metric."""

    label: str
    """How messages call it, for instance ``lip_syncer 'exemplar'``."""
    problems: tuple[Problem, ...] = ()
    skipped: tuple[SkippedCheck, ...] = ()
    passed: tuple[str, ...] = ()
    """Names of the checks that found nothing wrong, in the order in which they were made."""
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    """What took how long, such as ``open`` and ``frame``: seconds of one, on this machine, now."""
    unavailable: str = ""
    """Why nothing of it could be run here (a package, weights, an option is missing); else empty."""

    @property
    def ok(self) -> bool:
        """Whether it ran and nothing is broken. False for one that could not run here."""
        return not self.problems and not self.unavailable

    def raise_if_broken(self) -> None:
        """Raises AssertionError with the words of the report where something is broken."""
        __tracebackhide__ = True  # pytest shows the words, not these lines
        if self.problems:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        """Several lines: the verdict, each problem with its contract, what was skipped and why, the speed."""
        kinds: dict[str, list[Problem]] = {}
        for problem in self.problems:
            kinds.setdefault(problem.kind, []).append(problem)
        lines = [f"{self.label}: {self._verdict(len(kinds))}"]
        for alike in kinds.values():
            lines += [f"  {alike[0].check}: {alike[0].broken}{_others(alike)}", f"      contract: {alike[0].contract}"]
        if self.problems and self.unavailable:
            lines.append(f"  not run: {self.unavailable}")
        lines += [f"  skipped {skipped}" for skipped in self.skipped]
        if self.seconds:
            lines.append("  speed: " + ", ".join(f"{name} {_time(value)}" for name, value in self.seconds.items()))
        return "\n".join(lines)

    def _verdict(self, faults: int) -> str:
        if faults:
            return f"{faults} {'problem' if faults == 1 else 'problems'}"
        return f"not checked: {self.unavailable}" if self.unavailable else f"ok, {len(self.passed)} checks"


def _others(alike: list[Problem]) -> str:
    """What is to be said of a fault that is in many frames, and that many checks find."""
    first = alike[0].check
    more = sum(problem.check == first for problem in alike) - 1
    also = [check for check in dict.fromkeys(problem.check for problem in alike) if check != first]
    said = [f"{more} more like it"] * bool(more) + [f"also in: {', '.join(also)}"] * bool(also)
    return f" ({'; '.join(said)})" if said else ""


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 10 else f"{seconds * 1000:.1f} ms"
