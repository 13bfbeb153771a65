"""What the kit found, in words."""

from __future__ import annotations

from dataclasses import dataclass, field

_EXAMPLES = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One way in which an implementation breaks its contract."""

    check: str
    """Name of the check, such as ``batches``."""
    broken: str
    """What is wrong, with the place and the numbers."""
    contract: str
    """What the contract says instead."""

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
        if self.problems:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        """Several lines: the verdict, each problem with its contract, what was skipped and why, the speed."""
        if self.problems:
            count = len(self.problems)
            verdict = f"{count} {'problem' if count == 1 else 'problems'}"
        elif self.unavailable:
            verdict = f"not checked: {self.unavailable}"
        else:
            verdict = f"ok, {len(self.passed)} checks"
        lines = [f"{self.label}: {verdict}", *self._problem_lines()]
        lines += [f"  skipped {skipped}" for skipped in self.skipped]
        if self.seconds:
            lines.append("  speed: " + ", ".join(f"{name} {_time(value)}" for name, value in self.seconds.items()))
        return "\n".join(lines)

    def _problem_lines(self) -> list[str]:
        """Every kind of problem once with its first examples: a fault that is in every frame is one fault."""
        kinds: dict[tuple[str, str], list[Problem]] = {}
        for problem in self.problems:
            kinds.setdefault((problem.check, problem.contract), []).append(problem)
        lines: list[str] = []
        for (check, contract), alike in kinds.items():
            lines += [f"  {check}: {problem.broken}" for problem in alike[:_EXAMPLES]]
            if len(alike) > _EXAMPLES:
                lines.append(f"  {check}: and {len(alike) - _EXAMPLES} more like it")
            lines.append(f"      contract: {contract}")
        return lines


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 10 else f"{seconds * 1000:.1f} ms"
