"""What all checks share: sessions are opened and called under watch, and what is broken is noted in words."""

from __future__ import annotations

import gc
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from retalkit.cache import Folder
from retalkit.observing import SilentObserver
from retalkit.stages import StageContext
from retalkit.testing.report import Problem, Report, SkippedCheck
from retalkit.testing.sandbox import Sandbox, generators

Arrays = dict[str, NDArray[Any]]

_INPUTS = "A stage reads what it is given and makes its own arrays: the same frames go to the stages behind it."
_GENERATORS = (
    "Anything random comes from a generator of the stage's own, seeded by StageContext.seed; the process's generators "
    "stay as they were."
)


class StopCheckError(Exception):
    """The rest of a check makes no sense; what is broken has been noted."""


class OnlyStageCache:
    """Offers what ``StageCache`` promises and nothing else."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def path(self, name: str) -> Path | None:
        """See ``StageCache``."""
        return self._folder.path(name)

    def write(self, name: str) -> Any:
        """See ``StageCache``."""
        return self._folder.write(name)


class Examination:
    """Notes for one report."""

    def __init__(self, label: str, folder: Path, weights: Mapping[str, Path]) -> None:
        self.label = label
        self.folder = folder
        self.weights = dict(weights)
        self._problems: list[Problem] = []
        self._skipped: list[SkippedCheck] = []
        self._passed: list[str] = []
        self.seconds: dict[str, float] = {}
        self._prefix = ""

    def part(self, prefix: str) -> Examination:
        """The same notes; names of checks, caches and times made through it begin with ``prefix``."""
        part = copy(self)
        part._prefix = prefix
        return part

    # ------------------------------------------------------------------ notes

    def problem(self, check: str, broken: str, contract: str) -> None:
        """Notes what is broken; the same words only once."""
        check = self._prefix + check
        found = Problem(check, broken, contract)
        if all((known.check, known.broken) != (check, broken) for known in self._problems):
            self._problems.append(found)

    def skip(self, check: str, reason: str) -> None:
        """Notes a check that could not be made."""
        self._skipped.append(SkippedCheck(self._prefix + check, reason))

    def broken(self, check: str) -> bool:
        """Whether a check has found something."""
        return any(problem.check == self._prefix + check for problem in self._problems)

    @contextmanager
    def check(self, name: str) -> Generator[None]:
        """One check. It counts as passed where it ends and has noted nothing."""
        before = len(self._problems)
        skipped = len(self._skipped)
        try:
            yield
        except StopCheckError:
            return
        name = self._prefix + name
        if len(self._problems) == before and len(self._skipped) == skipped and name not in self._passed:
            self._passed.append(name)

    def report(self, unavailable: str = "") -> Report:
        """All notes."""
        broken = {problem.check for problem in self._problems}
        passed = tuple(name for name in self._passed if name not in broken)
        skipped = tuple(self._skipped)
        return Report(self.label, tuple(self._problems), skipped, passed, dict(self.seconds), unavailable)

    # ------------------------------------------------------------------ calls

    def context(self, name: str, wanted: frozenset[str] = frozenset()) -> StageContext:
        """A context with the cache of that name."""
        cache = OnlyStageCache(Folder(self.folder / "caches" / (self._prefix + name)))
        return StageContext(cache, SilentObserver(), weights=dict(self.weights), wanted=wanted)

    @contextmanager
    def watched(self, *, change_folder: bool) -> Generator[None]:
        """Everything inside is watched; what was seen is noted at the end."""
        sandbox = Sandbox(self.folder / "caches", self.folder / "elsewhere", change_folder=change_folder)
        with sandbox.entered(), warnings.catch_warnings():
            # Warnings are for the developer of a library, and each is shown once: no matter of the contract.
            warnings.simplefilter("ignore")
            yield
        for path in sandbox.writes:
            self.problem(
                "writes",
                f"wrote outside of its cache: {path}",
                "Stages write nowhere but into the cache that they are given (StageContext.cache).",
            )
        for address in dict.fromkeys(sandbox.calls):
            self.problem(
                "network",
                f"called the network: {address}",
                "Stages never download; checkpoints are declared, and StageContext.weights has their files.",
            )
        if sandbox.printed.strip():
            self.problem(
                "output",
                f"printed: {_shortened(sandbox.printed)}",
                "Stages never print; they report through StageContext.observer.",
            )
        if sandbox.argv.was_read:
            self.problem(
                "command_line",
                "read the command line (sys.argv)",
                "Stages never read the command line; their options are in their configuration.",
            )
        for name in ("writes", "network", "output", "command_line", "generators", "inputs"):
            with self.check(name):
                if self.broken(name):
                    raise StopCheckError

    def call(self, check: str, what: str, contract: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """The function's result; notes an exception and raises StopCheckError, notes inputs that were changed."""
        before = arrays_of(arguments)
        kept = {name: array.copy() for name, array in before.items()}
        states = generators()
        try:
            result = function(*arguments)
        except (Exception, SystemExit) as error:
            self.problem(check, f"{what} raised {one_line(error)}", contract)
            raise StopCheckError from error
        finally:
            for name, state in generators().items():
                if name in states and states[name] != state:
                    self.problem(
                        "generators", f"{what} changed the state of the global generator of {name}", _GENERATORS
                    )
            for name, array in before.items():
                if not same_values(array, kept[name]):
                    self.problem("inputs", f"{what} changed {name} of its input", _INPUTS)
        return result

    def close(self, check: str, session: Any) -> None:
        """Closes a session."""
        self.call(check, "close()", "close() frees what open() took, also after an error.", session.close)

    def note_seconds(self, name: str, seconds: float) -> None:
        """Notes how long one of something took."""
        self.seconds[self._prefix + name] = seconds

    def timed(self, name: str, units: int, function: Callable[[], Any]) -> Any:
        """The function's result; notes the seconds of one unit."""
        start = time.perf_counter()
        result = function()
        self.note_seconds(name, (time.perf_counter() - start) / max(units, 1))
        return result

    def check_close(self, session: Any) -> None:
        """Two calls of close()."""
        with self.check("close"):
            self.close("close", session)
            self.call("close", "close() called a second time", "Closing a closed session does nothing.", session.close)
        gc.collect()


def arrays_of(value: object, name: str = "") -> Arrays:
    """Every array inside of dataclasses, lists and tuples, by a name such as ``faces.frames.images``."""
    if isinstance(value, np.ndarray):
        return {name or "the array": cast("NDArray[Any]", value)}
    found: Arrays = {}
    if is_dataclass(value) and not isinstance(value, type):
        for part in fields(value):
            found |= arrays_of(getattr(value, part.name), f"{name}.{part.name}".lstrip("."))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(cast("list[object]", value)):
            found |= arrays_of(item, f"{name}[{number}]" if name else "" if number == 0 else f"argument {number + 1}")
    return found


def same_values(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Bit for bit, NaN equal to NaN."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))


def one_line(error: BaseException) -> str:
    """Type, text and place of an exception."""
    text = " ".join(str(error).split())[:300]
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{f': {text}' if text else ''}{place}"


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:200]}..."
