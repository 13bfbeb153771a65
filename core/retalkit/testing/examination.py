"""What all checks share: sessions are opened and called under watch, and what is broken is noted in words."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from retalkit.observer import SilentObserver
from retalkit.pipeline.stage_errors import error_location
from retalkit.stages import Runtime, StageContext
from retalkit.storage.cache import Folder
from retalkit.testing.isolation.sandbox import Sandbox, generators
from retalkit.testing.report import Problem, Report, SkippedCheck

Arrays = dict[str, NDArray[Any]]

_INPUTS = "A stage reads what it is given and makes its own arrays: the same frames go to the stages behind it."
_GENERATORS = (
    "Anything random comes from a generator of the stage's own, seeded by StageContext.seed; the process's generators "
    "stay as they were."
)


_PROCESS = (
    "The process belongs to whoever runs the stage: its working folder and its environment stay as they were. (A "
    "library that changes them when it is imported is imported by the module that `build` names.)"
)
_MANNERS = ("writes", "network", "output", "command_line", "generators", "process", "inputs")


class StopCheckError(Exception):
    """The rest of a check makes no sense; what is broken has been noted."""


class CallError(Exception):
    """Something that was called raised, and nothing has been noted of it. The text is the error's, with its place."""


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

    def __init__(self, label: str, folder: Path) -> None:
        self.label = label
        self.folder = folder
        self.runtime = Runtime()
        """What the stage is built with."""
        self.module = ""
        """Where the code that is checked lives, for the places of its errors."""
        self._caches: list[Path] = []
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

    def problem(self, check: str, broken: str, contract: str, fault: str = "") -> None:
        """Notes what is broken; the same words only once. ``fault`` as in ``Problem``."""
        check = self._prefix + check
        found = Problem(check, broken, contract, fault)
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

    def context(self, name: str, wanted: frozenset[str] = frozenset(), seed: int = 0) -> StageContext:
        """A context with the cache of that name, which may be written to from now on."""
        folder = self.folder / "caches" / (self._prefix + name)
        if folder not in self._caches:
            self._caches.append(folder)
            folder.mkdir(parents=True, exist_ok=True)
        cache = OnlyStageCache(Folder(folder))
        return StageContext(cache, SilentObserver(), seed=seed, requested_ports=wanted)

    @contextmanager
    def watched(self, *, change_folder: bool) -> Generator[None]:
        """Everything inside is watched; what was seen is noted at the end."""
        (self.folder / "caches").mkdir(parents=True, exist_ok=True)
        sandbox = Sandbox(self._caches, self.folder / "elsewhere", change_folder=change_folder)
        try:
            with sandbox.entered(), warnings.catch_warnings():
                # Warnings are for the developer of a library, and each is shown once: no matter of the contract.
                warnings.simplefilter("ignore")
                yield
        finally:
            self._note(sandbox)

    def _note(self, sandbox: Sandbox) -> None:
        for path in sandbox.writes:
            self.problem(
                "writes",
                f"wrote outside of its cache: {path}",
                "Stages write nowhere but into the cache that they are given (StageContext.cache).",
                f"writes into {Path(path).parent}",
            )
        for address in dict.fromkeys(sandbox.calls):
            self.problem(
                "network",
                f"called the network: {address}",
                "Stages never download; checkpoints are declared, and Runtime.weights has their files.",
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
        for name in _MANNERS:
            with self.check(name):
                if self.broken(name):
                    raise StopCheckError

    def call(self, check: str, what: str, contract: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """The function's result; notes an exception and raises StopCheckError."""
        try:
            return self.tried(what, function, *arguments)
        except CallError as failed:
            self.raised(check, what, failed, "", contract)
            raise StopCheckError from failed

    def raised(self, check: str, what: str, failed: CallError, where: str, contract: str) -> None:
        """Notes an exception. ``where``: with what it came, in words that begin with `` for``, or nothing."""
        self.problem(check, f"{what} raised {failed}{where}", contract, f"{what} raised {failed}")

    def tried(
        self, what: str, function: Callable[..., Any], *arguments: Any, inputs: Mapping[str, object] | None = None
    ) -> Any:
        """The function's result; notes inputs and other things that were changed. Raises CallError for an exception.

        ``inputs``: what to call things that must stay as they are; without it the arguments.
        """
        before = named_arrays(inputs) if inputs is not None else arrays_of(arguments)
        kept = {name: array.copy() for name, array in before.items()}
        states = generators()
        folder, variables = Path.cwd(), dict(os.environ)
        try:
            result = function(*arguments)
        except (Exception, SystemExit) as error:
            raise CallError(one_line(error, self.module)) from error
        finally:
            for name, state in generators().items():
                if name in states and states[name] != state:
                    self.problem(
                        "generators", f"{what} changed the state of the global generator of {name}", _GENERATORS
                    )
            for name, array in before.items():
                if not same_values(array, kept[name]):
                    self.problem("inputs", f"{what} changed {name} of its input", _INPUTS)
            self._look_at_process(what, folder, variables)
        return result

    def _look_at_process(self, what: str, folder: Path, variables: dict[str, str]) -> None:
        if (now := Path.cwd()) != folder:
            self.problem("process", f"{what} changed the working folder to {now}", _PROCESS)
            os.chdir(folder)
        for name in sorted({name for name, _ in {*os.environ.items()} ^ {*variables.items()}}):
            self.problem("process", f"{what} changed the environment variable {name}", _PROCESS)

    def has(self, check: str, owner: str, value: object, methods: tuple[str, ...], contract: str) -> None:
        """Notes the first method that is not there, and raises StopCheckError then."""
        for name in methods:
            if not callable(getattr(value, name, None)):
                self.problem(check, f"{owner} ({type(value).__name__}) has no {name}()", contract)
                raise StopCheckError

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


def named_arrays(values: Mapping[str, object]) -> Arrays:
    """``arrays_of`` each value, by such names as ``the image of the edit``; a value without a name by its own names."""
    found: Arrays = {}
    for name, value in values.items():
        inside = arrays_of(value)
        found |= {f"the {part} of {name}": array for part, array in inside.items()} if name else inside
    return found


def same_values(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Bit for bit, NaN equal to NaN."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))


def one_line(error: BaseException, module: str = "") -> str:
    """Type, text and place of an exception: the line of the code of ``module`` that it came through."""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}{f': {text}' if text else ''}{error_location(error, module, only_own=True)}"


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:200]}..."
