"""Report on the checks of one stage or metric."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

_NUMBER: Final = re.compile(r"-?\d+(?:[\d.]*\d)?(?:e[-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class Problem:
    """Violation of a contract rule, found by a check."""

    check: str
    """Name of the check that found the problem, such as ``batches``."""
    broken: str
    """Description of the problem, including the frame and the values."""
    contract: str
    """Violated contract rule."""
    fault: str = ""
    """Identifier of the cause, which is equal for problems with a common cause. If the string is empty, ``broken``
    without its numbers identifies the cause."""

    @property
    def kind(self) -> str:
        """Identifier of the cause, which is equal for problems with a common cause in different frames or checks."""
        return self.fault or f"{_NUMBER.sub('#', self.broken)} {self.contract}"

    def __str__(self) -> str:
        return f"{self.check}: {self.broken}\n    contract: {self.contract}"


@dataclass(frozen=True, slots=True)
class SkippedCheck:
    """Names of checks that could not run, with the reason."""

    checks: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        return f"{', '.join(self.checks)}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Report:
    """Report on the checks of one stage or metric."""

    label: str
    """Label of the stage or metric, such as ``lip_syncer 'exemplar'``."""
    problems: tuple[Problem, ...] = ()
    skipped: tuple[SkippedCheck, ...] = ()
    passed: tuple[str, ...] = ()
    """Names of the checks that found no problem, in execution order."""
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    """Mapping from unit of work (such as ``open`` or ``frame``) to the processing time in seconds on this machine."""
    unavailable: str = ""
    """Reason why the stage cannot run on this machine, such as a missing package, missing weights or an invalid option.
    The string is empty if the stage can run."""

    @property
    def ok(self) -> bool:
        """Whether the stage ran without problems. False for a stage that cannot run on this machine."""
        return not self.problems and not self.unavailable

    def raise_if_broken(self) -> None:
        """Raise AssertionError with the report as its message if a problem was found."""
        __tracebackhide__ = True  # pytest shows the message instead of these lines
        if self.problems:
            raise AssertionError(str(self))

    def only(self, check: str) -> Report:
        """Return a report that contains only the results of one check."""
        return Report(
            self.label,
            tuple(problem for problem in self.problems if problem.check == check),
            tuple(SkippedCheck((check,), skipped.reason) for skipped in self.skipped if check in skipped.checks),
            tuple(name for name in self.passed if name == check),
            unavailable=self.unavailable,
        )

    def __str__(self) -> str:
        """Return the verdict, the problems with violated contract rules, the skipped checks and the times as text."""
        kinds: dict[str, list[Problem]] = {}
        for problem in self.problems:
            kinds.setdefault(problem.kind, []).append(problem)
        lines = [f"{self.label}: {self._verdict(len(kinds))}"]
        for group in kinds.values():
            lines += [f"  {group[0].check}: {group[0].broken}{_repetitions(group)}"]
            lines += [f"      contract: {group[0].contract}"]
        if self.problems and self.unavailable:
            lines.append(f"  not run: {self.unavailable}")
        lines += [f"  skipped {skipped}" for skipped in self.skipped]
        if self.seconds:
            lines.append("  time: " + ", ".join(f"{name} {_time(value)}" for name, value in self.seconds.items()))
        return "\n".join(lines)

    def _verdict(self, faults: int) -> str:
        if faults:
            return f"{faults} {'problem' if faults == 1 else 'problems'}"
        return f"not checked: {self.unavailable}" if self.unavailable else f"ok, {len(self.passed)} checks"


def _repetitions(group: list[Problem]) -> str:
    """Return a summary of further problems with the same cause in other frames or checks."""
    first = group[0].check
    more = sum(problem.check == first for problem in group) - 1
    others = [check for check in dict.fromkeys(problem.check for problem in group) if check != first]
    parts = [f"{more} similar problems"] * bool(more) + [f"also in: {', '.join(others)}"] * bool(others)
    return f" ({'; '.join(parts)})" if parts else ""


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 10 else f"{seconds * 1000:.1f} ms"
