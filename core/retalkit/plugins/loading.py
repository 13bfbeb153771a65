"""Execution of plugin code during discovery, with captured exceptions and, on the command line, captured output."""

from __future__ import annotations

import io
import re
import sys
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Generic, Literal, TypeVar

from retalkit.errors import PluginError, Terminated
from retalkit.paths import missing

Result = TypeVar("Result")

_MAX_REASON = 300
_MAX_LINE = 100


@dataclass(frozen=True, slots=True)
class Attempt(Generic[Result]):
    """Result of executing plugin code."""

    result: Result | None
    """Return value of the plugin code, or None if an exception was raised."""
    failure: BaseException | None
    printed: str
    """Last captured line of stdout or stderr, or an empty string."""
    seconds: float

    @property
    def reason(self) -> str:
        """One-line description of the exception with its file and line number."""
        assert self.failure is not None
        printed = f", after printing '{self.printed}'" if self.printed else ""
        return f"{_one_line(self.failure)}{printed}"


_captures_output: ContextVar[bool] = ContextVar("captures_output", default=False)


@contextmanager
def capture_output() -> Generator[None]:
    """Capture what plugins print while they are loaded inside the block.

    Python's standard streams belong to the whole process, so only the command line captures them.
    """
    token = _captures_output.set(True)
    try:
        yield
    finally:
        _captures_output.reset(token)


def attempt(work: Callable[[], Result]) -> Attempt[Result]:
    """Call ``work`` and catch every exception except KeyboardInterrupt and Terminated."""
    captured = _OutputBuffer()
    out, err = _CapturedStream(captured, "stdout"), _CapturedStream(captured, "stderr")
    result, failure = None, None
    start = time.perf_counter()
    try:
        with ExitStack() as stack:
            if _captures_output.get():
                stack.enter_context(redirect_stdout(out))
                stack.enter_context(redirect_stderr(err))
            result = work()
    except (KeyboardInterrupt, Terminated):
        raise
    # Argument parsers raise SystemExit, and some libraries derive exceptions from BaseException.
    except BaseException as error:
        failure = error
    finally:
        out.released = err.released = True
    seconds = time.perf_counter() - start
    lines = [line.strip() for line in captured.getvalue().decode(errors="replace").splitlines() if line.strip()]
    return Attempt(result, failure, lines[-1][:_MAX_LINE] if lines else "", seconds)


def load_file(path: Path) -> Attempt[ModuleType]:
    """Import a plugin file that does not belong to a package. Raises PluginError if the file is missing or the import
    fails."""
    if not path.is_file():
        raise PluginError(missing(path, "plugin file not found"), code="file-not-found")
    name = f"retalkit_plugin_file_{re.sub(r'[^0-9a-zA-Z_]', '_', str(path.resolve().with_suffix('')))}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path}: a plugin file must have the suffix .py", code="invalid-plugin-file")
    module = module_from_spec(spec)
    # Dataclasses and pydantic look up a module in sys.modules while the module is executed.
    sys.modules[name] = module
    loaded = attempt(partial(spec.loader.exec_module, module))
    if loaded.failure is not None:
        del sys.modules[name]
        reason = _sibling_import(path, loaded.failure) or loaded.reason
        raise PluginError(
            f"{path}: the plugin file could not be imported: {reason}", code="import-failed"
        ) from loaded.failure
    return Attempt(module, None, loaded.printed, loaded.seconds)


class _OutputBuffer(io.BytesIO):
    """Output buffer that remains open when a plugin closes a stream that wraps the buffer."""

    def close(self) -> None: ...


class _CapturedStream(io.TextIOWrapper):
    """Replacement for stdout or stderr that captures output.

    After ``released`` is set, output is forwarded to the original stream, because log handlers may still hold a
    reference to the replacement.
    """

    def __init__(self, captured: _OutputBuffer, stream: Literal["stdout", "stderr"]) -> None:
        super().__init__(captured, encoding="utf-8", errors="replace", write_through=True)
        self._stream = stream
        self.released = False

    def write(self, text: str, /) -> int:
        return getattr(sys, self._stream).write(text) if self.released else super().write(text)

    def flush(self) -> None:
        if self.released:
            getattr(sys, self._stream).flush()
        else:
            super().flush()


def _sibling_import(path: Path, error: BaseException) -> str | None:
    """Return a hint if the plugin file tried to import a module from its own directory, or None otherwise."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    name = error.name.partition(".")[0]
    if not (path.with_name(f"{name}.py").is_file() or path.with_name(name).is_dir()):
        return None
    return (
        f"the file imports '{name}' from its own directory, but a plugin file must be self-contained; move the code "
        "into the plugin file or create a package (`retalkit new-plugin`)"
    )


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no message"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and frame.filename != __file__
    ]
    location = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text[:_MAX_REASON]}{location}"
