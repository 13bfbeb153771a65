"""Runs the code of plugins while they are listed: what it prints stays out of the program's own output, and no failure
of it ends the program."""

from __future__ import annotations

import io
import re
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Generic, Literal, TypeVar

from retalkit.errors import PluginError

Result = TypeVar("Result")

_LONGEST_REASON = 300
_LONGEST_LINE = 100


@dataclass(frozen=True, slots=True)
class Attempt(Generic[Result]):
    """What came of some code of a plugin."""

    result: Result | None
    """None where it failed."""
    failure: BaseException | None
    printed: str
    """Last line that it wrote to stdout or stderr; empty where it wrote nothing."""
    seconds: float

    @property
    def reason(self) -> str:
        """Why it failed, in one line with the place."""
        assert self.failure is not None
        printed = f", after printing '{self.printed}'" if self.printed else ""
        return f"{_one_line(self.failure)}{printed}"


def attempt(work: Callable[[], Result]) -> Attempt[Result]:
    """Does it, and catches everything but Ctrl-C."""
    heard = _Memory()
    out, err = _Hushed(heard, "stdout"), _Hushed(heard, "stderr")
    result, failure = None, None
    began = time.perf_counter()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            result = work()
    except KeyboardInterrupt:
        raise
    # Who parses the command line ends the program by SystemExit, and libraries have such exceptions of their own.
    except BaseException as error:
        failure = error
    finally:
        out.let_through = err.let_through = True
    seconds = time.perf_counter() - began
    lines = [line.strip() for line in heard.getvalue().decode(errors="replace").splitlines() if line.strip()]
    return Attempt(result, failure, lines[-1][:_LONGEST_LINE] if lines else "", seconds)


def load_file(path: Path) -> Attempt[ModuleType]:
    """The module in a file outside any package. Raises PluginError where there is none or where it fails."""
    if not path.is_file():
        raise PluginError(f"{path}: there is no such plugin file")
    name = f"retalkit_plugin_file_{re.sub(r'[^0-9a-zA-Z_]', '_', str(path.resolve().with_suffix('')))}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path}: a plugin file must end in .py")
    module = module_from_spec(spec)
    # Dataclasses and pydantic look their own module up by name while it is executed.
    sys.modules[name] = module
    loaded = attempt(partial(spec.loader.exec_module, module))
    if loaded.failure is not None:
        del sys.modules[name]
        reason = _beside(path, loaded.failure) or loaded.reason
        raise PluginError(f"{path}: could not be imported: {reason}") from loaded.failure
    return Attempt(module, None, loaded.printed, loaded.seconds)


class _Memory(io.BytesIO):
    """Stays open when something that a plugin laid around it is closed."""

    def close(self) -> None: ...


class _Hushed(io.TextIOWrapper):
    """Stands for stdout or stderr. Whoever keeps it, such as a log handler, later writes to the real one."""

    def __init__(self, heard: _Memory, stream: Literal["stdout", "stderr"]) -> None:
        super().__init__(heard, encoding="utf-8", errors="replace", write_through=True)
        self._stream = stream
        self.let_through = False

    def write(self, text: str, /) -> int:
        return getattr(sys, self._stream).write(text) if self.let_through else super().write(text)

    def flush(self) -> None:
        if self.let_through:
            getattr(sys, self._stream).flush()
        else:
            super().flush()


def _beside(path: Path, error: BaseException) -> str | None:
    """What to do where the file wanted to import a module that lies beside it, or None."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    name = error.name.partition(".")[0]
    if not (path.with_name(f"{name}.py").is_file() or path.with_name(name).is_dir()):
        return None
    return (
        f"it imports '{name}', which lies beside it: a plugin file is one file; put all into it, or make a package "
        "(`retalkit new-plugin`)"
    )


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no reason given"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and frame.filename != __file__
    ]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text[:_LONGEST_REASON]}{place}"
