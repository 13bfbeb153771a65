"""Sandboxed execution of a stage's code, which records problems, skipped checks and times for a report."""

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
"""Names of the checks for side effects, in execution order."""

_INPUTS = "A stage must not modify its inputs, because other stages receive the same arrays."
_GENERATORS = (
    "Use a generator that is seeded with StageContext.seed for random numbers. The process-wide random generators must "
    "not be used."
)
_PROCESS = (
    "A stage must not change the working directory or the environment variables. If a library changes them when it is "
    "imported, import the library in the module that StageSpec.build refers to."
)
_NETWORKS = (
    "Networks must be loaded once per process by the stage's constructor, and not by open(). See Runtime.weights and "
    "Runtime.shared."
)
_LARGE: Final = 100_000
"""Minimum size in bytes of a file that is treated as network weights if every call of open() reads the file."""


class StopCheckError(Exception):
    """Exception that ends a check early after the problem has been recorded."""


class CallError(Exception):
    """Exception for a failed call, raised before the failure is recorded.

    The message contains the type, message and source line of the original exception.
    """


class CacheOnly:
    """Wrapper for ``Folder`` that exposes only the methods of the ``StageCache`` protocol."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def path(self, name: str) -> Path | None:
        """Implement ``StageCache.path``."""
        return self._folder.path(name)

    def write(self, name: str) -> Any:
        """Implement ``StageCache.write``."""
        return self._folder.write(name)


class Examination:
    """Collector of problems, skipped checks and times for one report."""

    def __init__(self, label: str, folder: Path) -> None:
        self.label = label
        self.folder = folder
        self.runtime = Runtime(inference="torch")
        """Runtime that the stage's constructor receives."""
        self.module = ""
        """Name of the module under test, which is used to locate errors."""
        self.names: tuple[str, ...] = ()
        """Names of all checks. Only these checks are recorded as skipped. An empty tuple means that the names are
        unknown."""
        self.seconds: dict[str, float] = {}
        self._caches: list[Path] = []
        self._problems: list[Problem] = []
        self._skipped: list[SkippedCheck] = []
        self._passed: list[str] = []
        self._opens_reading: dict[str, int] = {}
        self._prefix = ""

    def with_prefix(self, prefix: str) -> Examination:
        """Return an examination that shares all records and prepends ``prefix`` to the names of checks and caches."""
        part = copy(self)
        part._prefix = prefix
        return part

    def scratch(self) -> Examination:
        """Return an examination that shares the runtime and the caches but discards its records."""
        other = copy(self)
        other._problems, other._skipped, other._passed = [], [], []
        return other

    # ------------------------------------------------------------------ records

    def problem(self, check: str, broken: str, contract: str, fault: str = "") -> None:
        """Record a problem unless the check has already recorded an identical problem. See ``Problem`` for
        ``fault``."""
        check = self._prefix + check
        if all((known.check, known.broken) != (check, broken) for known in self._problems):
            self._problems.append(Problem(check, broken, contract, fault))

    def skip(self, checks: str | tuple[str, ...], reason: str) -> None:
        """Record checks that could not run, with the reason. A skipped part of a check may be recorded under a separate
        name, such as ``faces``."""
        if isinstance(checks, str):
            self._skipped.append(SkippedCheck((self._prefix + checks,), reason))
            return
        names = [self._prefix + check for check in checks]
        known = tuple(name for name in names if not self.names or name in self.names)
        if known:
            self._skipped.append(SkippedCheck(known, reason))

    def has_problem(self, check: str) -> bool:
        """Return whether a check has recorded a problem."""
        return any(problem.check == self._prefix + check for problem in self._problems)

    @contextmanager
    def check(self, name: str) -> Generator[None]:
        """Run the block as a check. The check passes if the block completes, records no problem and is not skipped."""
        try:
            yield
        except StopCheckError:
            return
        name = self._prefix + name
        if name not in self._passed and all(name not in skipped.checks for skipped in self._skipped):
            self._passed.append(name)

    def record_seconds(self, name: str, seconds: float) -> None:
        """Record the processing time of one unit of work, such as a frame."""
        self.seconds[self._prefix + name] = seconds

    def timed(self, name: str, function: Callable[[], Any]) -> Any:
        """Call the function, record the processing time under ``name``, and return the function's result."""
        start = time.perf_counter()
        result = function()
        self.record_seconds(name, time.perf_counter() - start)
        return result

    def report(self, unavailable: str = "") -> Report:
        """Return the report. ``unavailable`` is the reason why the stage cannot run on this machine."""
        broken = {problem.check for problem in self._problems}
        passed = tuple(name for name in self._passed if name not in broken)
        skipped = tuple(self._skipped)
        return Report(self.label, tuple(self._problems), skipped, passed, dict(self.seconds), unavailable)

    # ------------------------------------------------------------------ sandbox

    def context(self, name: str, requested: frozenset[str] = frozenset(), seed: int = 0) -> StageContext:
        """Return a context with the cache ``name``, to which the sandbox permits writes."""
        folder = self.folder / "caches" / (self._prefix + name)
        if folder not in self._caches:
            self._caches.append(folder)
            folder.mkdir(parents=True, exist_ok=True)
        return StageContext(CacheOnly(Folder(folder)), SilentObserver(), seed=seed, requested_ports=requested)

    @contextmanager
    def sandboxed(self, *, change_folder: bool) -> Generator[None]:
        """Run the block in a sandbox and record side effects as problems."""
        (self.folder / "caches").mkdir(parents=True, exist_ok=True)
        sandbox = Sandbox(self._caches, self.folder / "elsewhere", change_folder=change_folder)
        try:
            with sandbox.active(), warnings.catch_warnings():
                # Warnings address library developers and are not part of the contract.
                warnings.simplefilter("ignore")
                yield
        finally:
            self._record_side_effects(sandbox)

    def _record_side_effects(self, sandbox: Sandbox) -> None:
        for path in sandbox.writes:
            self.problem(
                "writes",
                f"a file outside the cache was written: {path}",
                "A stage must write only to the cache in StageContext.cache.",
                f"writes into {Path(path).parent}",
            )
        for address in dict.fromkeys(sandbox.calls):
            self.problem(
                "network",
                f"the network was accessed: {address}",
                "A stage must not download files. Declare checkpoints, and read their paths from Runtime.weights.",
            )
        if sandbox.printed.strip():
            self.problem(
                "output",
                f"text was printed: {_shorten(sandbox.printed)}",
                "A stage must not print. Report messages through StageContext.observer.",
            )
        if sandbox.argv.was_read:
            self.problem(
                "command_line",
                "the stage read the command line (sys.argv)",
                "A stage must not read the command line. Declare options in the stage's StageConfig.",
            )
        for name in SIDE_EFFECTS:
            with self.check(name):
                if self.has_problem(name):
                    raise StopCheckError

    # ------------------------------------------------------------------ calls

    def import_build(self, build: Any, contract: str) -> None:
        """Import the module in ``build`` outside the sandbox, because import side effects are not checked."""
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
        """Call the function in the sandbox, record side effects, and return the function's result.

        ``inputs`` maps names to objects that must not be modified. By default, ``arguments`` must not be modified.
        Raises CallError if the function raises an exception.
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
                    self.problem(
                        "generators",
                        f"{what} changed the state of the process-wide random generator of {name}",
                        _GENERATORS,
                    )
            for name, array in before.items():
                if not same_values(array, copies[name]):
                    self.problem("inputs", f"{what} modified its input: {name}", _INPUTS)
            self._check_process(what, folder, variables)

    def call(self, check: str, what: str, contract: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call ``run`` and return the function's result. Any exception is recorded and replaced by StopCheckError."""
        try:
            return self.run(what, function, *arguments)
        except CallError as failed:
            self.record_exception(check, what, failed, "", contract)
            raise StopCheckError from failed

    def call_open(self, what: str, function: Callable[[], Any]) -> Any:
        """Call ``run`` with the stage's ``open``, and record the large files that ``open`` reads. ``check_networks``
        evaluates these records."""
        with Sandbox.recorded_reads() as paths:
            try:
                return self.run(what, function)
            finally:
                caches = [os.path.realpath(cache) for cache in self._caches]
                for path in paths:
                    if not any(Path(path).is_relative_to(cache) for cache in caches):
                        self._opens_reading[path] = self._opens_reading.get(path, 0) + 1

    def check_networks(self) -> None:
        """Record a problem for each large file that more than one call of ``open`` has read."""
        with self.check("networks"):
            if self.has_problem("networks"):
                raise StopCheckError
            for path, opens in self._opens_reading.items():
                if opens > 1 and (size := _size(path)) >= _LARGE:
                    self.problem("networks", f"every call of open() reads {path} ({size // 1000} kB)", _NETWORKS)

    @contextmanager
    def hidden_weights(self) -> Generator[None]:
        """Hide the files in ``Runtime.weights`` while the block runs."""
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
        """Return the directory with links to the weight files."""
        return self.folder / "weights"

    def check_late_loading(self, function: Callable[[Examination], None]) -> None:
        """Check that ``function`` does not require the weight files after the stage has been constructed.

        ``function`` must open a session, call the session, and propagate CallError. The examination passed to
        ``function`` collects all other problems, which are discarded.
        """
        if not self.runtime.weights:
            return
        with self.check("networks"), self.hidden_weights():
            try:
                function(self.scratch())
            except StopCheckError:
                pass  # other checks report this problem
            except CallError as failed:
                names = ", ".join(self.runtime.weights)
                words = f"a session requires weight files ({names}) after the stage was constructed: {failed}"
                self.problem("networks", words, _NETWORKS, "reads weights after building")

    def record_exception(self, check: str, what: str, failed: CallError, where: str, contract: str) -> None:
        """Record an exception. ``where`` is empty or describes the input, in the form `` for frame 3``."""
        self.problem(check, f"{what} raised {failed}{where}", contract, f"{what} raised {failed}")

    def require_methods(self, check: str, owner: str, value: object, methods: tuple[str, ...], contract: str) -> None:
        """Record the first missing method as a problem and raise StopCheckError."""
        for name in methods:
            if not callable(getattr(value, name, None)):
                self.problem(check, f"{owner} ({type(value).__name__}) has no method {name}()", contract)
                raise StopCheckError

    def close(self, check: str, session: Any) -> None:
        """Close a session and record any exception."""
        self.call(
            check,
            "close()",
            "close() must release the resources that open() acquired, even after an error.",
            session.close,
        )

    def check_close(self, session: Any) -> None:
        """Check that ``close`` can be called twice."""
        with self.check("close"):
            self.close("close", session)
            contract = "Closing a closed session must have no effect."
            self.call("close", "a second call of close()", contract, session.close)

    def _check_process(self, what: str, folder: Path, variables: dict[str, str]) -> None:
        if (now := Path.cwd()) != folder:
            self.problem("process", f"{what} changed the working directory to {now}", _PROCESS)
            os.chdir(folder)
        for name in sorted({name for name, _ in {*os.environ.items()} ^ {*variables.items()}}):
            self.problem("process", f"{what} changed the environment variable {name}", _PROCESS)


def arrays_in(value: object, name: str = "") -> Arrays:
    """Return all arrays in dataclasses, lists and tuples, under names such as ``faces.frames.images``."""
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
    """Return the arrays in each value, under names such as ``the image of the edit``. An empty name adds no suffix."""
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
    """Return the type and message of an exception as one line, with the location in ``module`` from the
    traceback."""
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
