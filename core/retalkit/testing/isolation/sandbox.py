"""Watches what a stage does besides its work: writing elsewhere, calling the network, printing, reading the command
line, touching the process's random generators."""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any, SupportsIndex, TextIO, cast, overload
from unittest.mock import patch

import numpy as np

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
_CHANGING = {
    "os.mkdir": 0,
    "os.remove": 0,
    "os.rmdir": 0,
    "os.rename": 1,
    "os.link": 1,
    "os.symlink": 1,
    "os.truncate": 0,
}
"""Audit event -> which of its arguments is the path that changes."""
_CALLING = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
_HARMLESS = ("/dev/", "/proc/", "/sys/")

# Python's audit hooks stay for ever once they are added, so there is one, and it looks here what is being watched.
_watching: list[Sandbox] = []


class Sandbox:
    """While it is entered the process has an empty working folder, no network, and its output is caught."""

    def __init__(self, allowed: Sequence[Path], elsewhere: Path, *, change_folder: bool = True) -> None:
        """``allowed``: folders that may be written to, which may become more; ``elsewhere``: an empty folder for
        temporary files and for the working folder, where ``change_folder`` is set."""
        self._allowed = allowed
        self._elsewhere = elsewhere.resolve()
        self._change_folder = change_folder
        self.writes: list[str] = []
        """Paths outside of the allowed folders that were written, made or removed."""
        self.calls: list[str] = []
        """Addresses that were called."""
        self.printed = ""
        """What went to stdout and stderr."""
        self.argv = _WatchedArguments(["retalkit-testing"])

    @contextmanager
    def entered(self) -> Generator[None]:
        """Restores everything at the end."""
        _add_hook()
        temporary, working = self._elsewhere / "temporary", self._elsewhere / "working"
        for folder in (temporary, working):
            folder.mkdir(parents=True, exist_ok=True)
        heard = StringIO()
        states = _generator_states()
        before = Path.cwd()
        with ExitStack() as stack:
            stack.callback(_restore_generators, states)
            stack.enter_context(patch.dict(os.environ, {"TMPDIR": str(temporary)}))
            stack.enter_context(patch.object(tempfile, "tempdir", str(temporary)))
            stack.enter_context(patch.object(sys, "argv", self.argv))
            file = stack.enter_context(_caught_descriptors(self._elsewhere / "output"))
            stack.enter_context(redirect_stdout(heard))
            stack.enter_context(redirect_stderr(heard))
            if self._change_folder:
                stack.callback(os.chdir, before)
                os.chdir(working)
            _watching.append(self)
            stack.callback(_watching.remove, self)
            try:
                yield
            finally:
                self.printed = heard.getvalue() + _said(file)
        self.writes += [str(path) for folder in (temporary, working) for path in folder.rglob("*") if path.is_file()]

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Called for every audit event; raises OSError where the network is called."""
        if event == "open":
            path, mode, flags = arguments
            if isinstance(mode, str):
                writing = any(letter in mode for letter in "wax+")
            else:
                writing = bool((flags or 0) & _WRITING)
            if writing:
                self._wrote(event, path)
        elif event in _CHANGING:
            self._wrote(event, arguments[_CHANGING[event]])
        elif event in _CALLING:
            address = arguments[0] if event in ("socket.getaddrinfo", "socket.gethostbyname") else arguments[1]
            # A path is a socket of this machine.
            if not isinstance(address, str | bytes) or event in ("socket.getaddrinfo", "socket.gethostbyname"):
                self.calls.append(str(address))
                raise OSError("a stage must not use the network")

    def _wrote(self, event: str, path: object) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        text = os.fsdecode(cast("str | bytes | os.PathLike[str]", path))
        if text.startswith(_HARMLESS) or "__pycache__" in text or text.endswith(".pyc"):
            return
        # realpath, not Path.resolve: it raises no further audit events that matter here, and the file need not exist.
        whole = os.path.realpath(text)
        if Path(whole).is_dir() and event == "open":
            return  # a file without a name, as tempfile.TemporaryFile makes it: nobody ever finds it
        inside = any(Path(whole).is_relative_to(os.path.realpath(folder)) for folder in self._allowed)
        if not inside and whole not in self.writes:
            self.writes.append(whole)


class _WatchedArguments(list[str]):
    """A command line that notes when it is read."""

    was_read = False

    @overload
    def __getitem__(self, index: SupportsIndex) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: SupportsIndex | slice) -> str | list[str]:
        self.was_read = True
        return super().__getitem__(index)

    def __len__(self) -> int:
        self.was_read = True
        return super().__len__()

    def __iter__(self) -> Iterator[str]:
        self.was_read = True
        return super().__iter__()


def generators() -> dict[str, object]:
    """What can be compared of the process's random generators, by name."""
    numpy_state: Any = np.random.get_state()
    states: dict[str, object] = {
        "random": random.getstate(),
        "numpy.random": (numpy_state[0], numpy_state[1].tobytes(), *numpy_state[2:]),
    }
    if (torch := _torch()) is not None:
        # Not its whole state: making a network draws from it before the weights are loaded. Seeding it is what harms.
        states["torch"] = torch.initial_seed()
    return states


def seed_generators(seed: int) -> None:
    """Brings the process's random generators into a state of their own."""
    random.seed(seed)
    np.random.seed(seed)
    if (torch := _torch()) is not None:
        torch.manual_seed(seed)


def _generator_states() -> tuple[Any, Any, Any]:
    torch = _torch()
    return random.getstate(), np.random.get_state(), None if torch is None else torch.get_rng_state()


def _restore_generators(states: tuple[Any, Any, Any]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    if states[2] is not None and (torch := _torch()) is not None:
        torch.set_rng_state(states[2])


def _torch() -> Any:
    """torch, where somebody has imported it: the kit does not."""
    return sys.modules.get("torch")


@lru_cache(maxsize=1)
def _add_hook() -> None:
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if _watching:
            _watching[-1].heard(event, arguments)

    sys.addaudithook(hook)


@contextmanager
def _caught_descriptors(path: Path) -> Generator[Path]:
    """What libraries write to descriptors 1 and 2, past Python, goes into a file."""
    for stream in (sys.stdout, sys.stderr):
        cast(TextIO, stream).flush()
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    try:
        with path.open("wb", buffering=0) as file:
            for descriptor in (1, 2):
                os.dup2(file.fileno(), descriptor)
            yield path
    finally:
        for descriptor, old in zip((1, 2), kept, strict=True):
            os.dup2(old, descriptor)
            os.close(old)


def _said(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
