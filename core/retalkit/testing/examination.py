"""Execution of a stage's code in a sandbox. Problems, skipped checks and times are recorded for a report."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from retalkit.observer import SilentObserver
from retalkit.pipeline.stage_errors import error_location
from retalkit.stages import Runtime, StageContext
from retalkit.storage.cache import Folder
from retalkit.testing.isolation.sandbox import Sandbox, generator_states
from retalkit.testing.report import Problem, Report, SkippedCheck

Arrays = dict[str, NDArray[Any]]

SIDE_EFFECTS: Final = ("writes", "network", "output", "command_line", "generators", "process", "inputs")
"""Names of the checks for side effects."""

_INPUTS = "A stage does not modify its inputs: later stages receive the same frames."
_GENERATORS = (
    "Random numbers come from a generator of the stage's own, seeded with StageContext.seed; the process's generators "
    "are not used."
)
_PROCESS = (
    "The working directory and the environment belong to the caller and are not changed. (A library that changes them "
    "on import is imported by the module that `build` names.)"
)
_NETWORKS = (
    "Networks are loaded when the stage is built, once per process, and not in open(): see Runtime.weights and "
    "Runtime.shared."
)
_LARGE: Final = 100_000
"""Minimum size in bytes of a file that counts as network weights if every call of open() reads it."""


class StopCheckError(Exception):
    """Error raised when the remainder of a check cannot run. The problem has already been recorded."""


class CallError(Exception):
    """Error raised when a call fails with an exception that has not been recorded.

    The message contains the exception and its source line.
    """


class CacheOnly:
    """Wrapper for ``Folder`` that exposes only the ``StageCache`` protocol."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def path(self, name: str) -> Path | None:
        """See ``StageCache``."""
        return self._folder.path(name)

    def write(self, name: str) -> Any:
        """See ``StageCache``."""
        return self._folder.write(name)


class Examination:
    """Collector of the problems, skipped checks and times for one report."""

    def __init__(self, label: str, folder: Path) -> None:
        self.label = label
        self.folder = folder
        self.runtime = Runtime(inference="torch")
        """Runtime that is passed to the stage's constructor."""
        self.module = ""
        """Module of the checked code, which is used to locate errors."""
        self.names: tuple[str, ...] = ()
        """Names of all checks, or an empty tuple if the names are unknown. Only these checks are recorded as
        skipped."""
        self.seconds: dict[str, float] = {}
        self._caches: list[Path] = []
        self._problems: list[Problem] = []
        self._skipped: list[SkippedCheck] = []
        self._passed: list[str] = []
        self._opens_reading: dict[str, int] = {}
        self._prefix = ""

    def with_prefix(self, prefix: str) -> Examination:
        """Return an examination that shares all records and adds ``prefix`` to the names of checks and caches."""
        part = copy(self)
        part._prefix = prefix
        return part

    def scratch(self) -> Examination:
        """Return an examination that shares the runtime and the caches, but discards its records."""
        other = copy(self)
        other._problems, other._skipped, other._passed = [], [], []
        return other

    # ------------------------------------------------------------------ records

    def problem(self, check: str, broken: str, contract: str, fault: str = "") -> None:
        """Record a problem. Duplicate messages of one check are ignored. ``Problem`` describes ``fault``."""
        check = self._prefix + check
        if all((known.check, known.broken) != (check, broken) for known in self._problems):
            self._problems.append(Problem(check, broken, contract, fault))

    def skip(self, checks: str | tuple[str, ...], reason: str) -> None:
        """Record checks that could not run. A part of a check can be recorded under its own name."""
        if isinstance(checks, str):
            self._skipped.append(SkippedCheck((self._prefix + checks,), reason))
            return
        names = [self._prefix + check for check in checks]
        known = tuple(name for name in names if not self.names or name in self.names)
        if known:
            self._skipped.append(SkippedCheck(known, reason))

    def has_problem(self, check: str) -> bool:
        """Return whether a check has found a problem."""
        return any(problem.check == self._prefix + check for problem in self._problems)

    @contextmanager
    def check(self, name: str) -> Generator[None]:
        """Run the block as a check, which passes if the block completes without a recorded problem and without being
        skipped."""
        try:
            yield
        except StopCheckError:
            return
        name = self._prefix + name
        if name not in self._passed and all(name not in skipped.checks for skipped in self._skipped):
            self._passed.append(name)

    def record_seconds(self, name: str, seconds: float) -> None:
        """Record the processing time of one unit of work."""
        self.seconds[self._prefix + name] = seconds

    def timed(self, name: str, function: Callable[[], Any]) -> Any:
        """Return the function's result and record its processing time."""
        start = time.perf_counter()
        result = function()
        self.record_seconds(name, time.perf_counter() - start)
        return result

    def report(self, unavailable: str = "") -> Report:
        """Return the report."""
        broken = {problem.check for problem in self._problems}
        passed = tuple(name for name in self._passed if name not in broken)
        skipped = tuple(self._skipped)
        return Report(self.label, tuple(self._problems), skipped, passed, dict(self.seconds), unavailable)

    # ------------------------------------------------------------------ sandbox

    def context(self, name: str, requested: frozenset[str] = frozenset(), seed: int = 0) -> StageContext:
        """Return a context with the cache ``name`` and permit the stage to write to this cache."""
        folder = self.folder / "caches" / (self._prefix + name)
        if folder not in self._caches:
            self._caches.append(folder)
            folder.mkdir(parents=True, exist_ok=True)
        return StageContext(CacheOnly(Folder(folder)), SilentObserver(), seed=seed, requested_ports=requested)

    @contextmanager
    def sandboxed(self, *, change_folder: bool) -> Generator[None]:
        """Run the block in a sandbox and record its side effects."""
        (self.folder / "caches").mkdir(parents=True, exist_ok=True)
        sandbox = Sandbox(self._caches, self.folder / "elsewhere", change_folder=change_folder)
        try:
            with sandbox.active(), warnings.catch_warnings():
                # Warnings are intended for library developers and are not part of the contract.
                warnings.simplefilter("ignore")
                yield
        finally:
            self._record_side_effects(sandbox)

    def _record_side_effects(self, sandbox: Sandbox) -> None:
        for path in sandbox.writes:
            self.problem(
                "writes",
                f"wrote outside of its cache: {path}",
                "Stages write only to the cache that they receive (StageContext.cache).",
                f"writes into {Path(path).parent}",
            )
        for address in dict.fromkeys(sandbox.calls):
            self.problem(
                "network",
                f"accessed the network: {address}",
                "Stages never download. Checkpoints are declared, and Runtime.weights has their paths.",
            )
        if sandbox.printed.strip():
            self.problem(
                "output",
                f"printed: {_shorten(sandbox.printed)}",
                "Stages never print; they report through StageContext.observer.",
            )
        if sandbox.argv.was_read:
            self.problem(
                "command_line",
                "read the command line (sys.argv)",
                "Stages never read the command line; their options are in their configuration.",
            )
        for name in SIDE_EFFECTS:
            with self.check(name):
                if self.has_problem(name):
                    raise StopCheckError

    # ------------------------------------------------------------------ calls

    def import_build(self, build: Any, contract: str) -> None:
        """Import the module in ``build`` outside the sandbox, because the side effects of imports are not checked."""
        self.module = build.partition(":")[0] if isinstance(build, str) else getattr(build, "__module__", "")
        if isinstance(build, str):
            try:
                import_module(self.module)
            except (Exception, SystemExit) as error:
                self.problem("build", f"importing {self.module} raised {one_line(error, self.module)}", contract)
                raise StopCheckError from error

    def run(
        self, what: str, function: Callable[..., Any], *arguments: Any, inputs: Mapping[str, object] | None = None
    ) -> Any:
        """Return the function's result and record side effects. Raises CallError if the function raises an exception.

        ``inputs`` contains the named objects that must not be modified. The default is ``arguments``.
        """
        before = named_arrays(inputs) if inputs is not None else arrays_in(arguments)
        copies = {name: array.copy() for name, array in before.items()}
        states = generator_states()
        folder, variables = Path.cwd(), dict(os.environ)
        try:
            return function(*arguments)
        except (Exception, SystemExit) as error:
            raise CallError(one_line(error, self.module)) from error
        finally:
            for name, state in generator_states().items():
                if name in states and states[name] != state:
                    self.problem("generators", f"{what} changed the global random generator of {name}", _GENERATORS)
            for name, array in before.items():
                if not same_values(array, copies[name]):
                    self.problem("inputs", f"{what} modified its input: {name}", _INPUTS)
            self._check_process(what, folder, variables)

    def call(self, check: str, what: str, contract: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return the function's result. If the function raises an exception, record the exception and raise
        StopCheckError."""
        try:
            return self.run(what, function, *arguments)
        except CallError as failed:
            self.record_exception(check, what, failed, "", contract)
            raise StopCheckError from failed

    def call_open(self, what: str, function: Callable[[], Any]) -> Any:
        """Call ``run`` for the stage's ``open``. Large files that ``open`` reads are counted for ``check_networks``."""
        with Sandbox.recorded_reads() as paths:
            try:
                return self.run(what, function)
            finally:
                caches = [os.path.realpath(cache) for cache in self._caches]
                for path in paths:
                    if not any(Path(path).is_relative_to(cache) for cache in caches):
                        self._opens_reading[path] = self._opens_reading.get(path, 0) + 1

    def check_networks(self) -> None:
        """Record large files that more than one call of ``open`` has read."""
        with self.check("networks"):
            if self.has_problem("networks"):
                raise StopCheckError
            for path, opens in self._opens_reading.items():
                if opens > 1 and (size := _size(path)) >= _LARGE:
                    self.problem("networks", f"open() reads {path} ({size // 1000} kB) every time", _NETWORKS)

    @contextmanager
    def hidden_weights(self) -> Generator[None]:
        """Remove the files of ``Runtime.weights`` while the block runs."""
        folder, hidden = self.weights_folder, self.weights_folder.with_name("hidden")
        with Sandbox.paused():
            folder.rename(hidden)
        try:
            yield
        finally:
            with Sandbox.paused():
                hidden.rename(folder)

    @property
    def weights_folder(self) -> Path:
        """Return the directory that contains links to the weight files."""
        return self.folder / "weights"

    def check_late_loading(self, function: Callable[[Examination], None]) -> None:
        """Check that ``function`` does not require the weight files after the stage has been constructed.

        ``function`` opens a session, calls the session, and propagates CallError. The argument of ``function`` collects
        all other problems.
        """
        if not self.runtime.weights:
            return
        with self.check("networks"), self.hidden_weights():
            try:
                function(self.scratch())
            except StopCheckError:
                pass  # other checks report the problem
            except CallError as failed:
                names = ", ".join(self.runtime.weights)
                words = f"a session reads the files of the weights ({names}): without them it raised {failed}"
                self.problem("networks", words, _NETWORKS, "reads weights after building")

    def record_exception(self, check: str, what: str, failed: CallError, where: str, contract: str) -> None:
        """Record an exception. ``where`` describes the input and starts with `` for``, or is an empty string."""
        self.problem(check, f"{what} raised {failed}{where}", contract, f"{what} raised {failed}")

    def require_methods(self, check: str, owner: str, value: object, methods: tuple[str, ...], contract: str) -> None:
        """Record the first missing method and raise StopCheckError."""
        for name in methods:
            if not callable(getattr(value, name, None)):
                self.problem(check, f"{owner} ({type(value).__name__}) has no {name}()", contract)
                raise StopCheckError

    def close(self, check: str, session: Any) -> None:
        """Close a session."""
        self.call(check, "close()", "close() releases what open() acquired, also after an error.", session.close)

    def check_close(self, session: Any) -> None:
        """Check two calls of ``close``."""
        with self.check("close"):
            self.close("close", session)
            contract = "Closing a closed session does nothing."
            self.call("close", "a second call of close()", contract, session.close)

    def _check_process(self, what: str, folder: Path, variables: dict[str, str]) -> None:
        if (now := Path.cwd()) != folder:
            self.problem("process", f"{what} changed the working directory to {now}", _PROCESS)
            os.chdir(folder)
        for name in sorted({name for name, _ in {*os.environ.items()} ^ {*variables.items()}}):
            self.problem("process", f"{what} changed the environment variable {name}", _PROCESS)


def arrays_in(value: object, name: str = "") -> Arrays:
    """Return all arrays in dataclasses, lists and tuples under names such as ``faces.frames.images``."""
    if isinstance(value, np.ndarray):
        return {name or "the array": cast("NDArray[Any]", value)}
    found: Arrays = {}
    if is_dataclass(value) and not isinstance(value, type):
        for part in fields(value):
            found |= arrays_in(getattr(value, part.name), f"{name}.{part.name}".lstrip("."))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(cast("list[object]", value)):
            found |= arrays_in(item, f"{name}[{number}]" if name else "" if number == 0 else f"argument {number + 1}")
    return found


def named_arrays(values: Mapping[str, object]) -> Arrays:
    """Return the arrays in each value under names such as ``the image of the edit``. An empty name adds no prefix."""
    found: Arrays = {}
    for name, value in values.items():
        inside = arrays_in(value)
        found |= {f"the {part} of {name}": array for part, array in inside.items()} if name else inside
    return found


def same_values(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Return whether two arrays are bit-identical. NaN values are considered equal."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))


def one_line(error: BaseException, module: str = "") -> str:
    """Return the type and message of an exception, and the line of ``module`` in its traceback."""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}{f': {text}' if text else ''}{error_location(error, module, only_own=True)}"


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:200]}..."


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
