"""Detection of side effects: file writes outside permitted directories, network access, console output, and use of the
command line or of the process-wide random number generators."""

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

from retalkit.native_logs import LOG_LINE

_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
_PATH_EVENTS = {
    "os.mkdir": 0,
    "os.remove": 0,
    "os.rmdir": 0,
    "os.rename": 1,
    "os.link": 1,
    "os.symlink": 1,
    "os.truncate": 0,
}
"""Mapping from audit event to the index of the argument that contains the path of the modified file."""
_NETWORK_EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
_IGNORED = ("/dev/", "/proc/", "/sys/")

# Audit hooks cannot be removed. Therefore, a single hook is installed, which reports to the innermost active sandbox.
_active: list[Sandbox] = []
_reads: list[set[str]] = []


class Sandbox:
    """Sandbox with an empty working directory, captured output and blocked network access."""

    def __init__(self, allowed: Sequence[Path], elsewhere: Path, *, change_folder: bool = True) -> None:
        """Create a sandbox that permits writes to the directories in ``allowed``, which may be extended later.

        ``elsewhere`` is an empty directory for temporary files. If ``change_folder`` is set, the sandbox also changes
        the working directory to a directory in ``elsewhere``.
        """
        self._allowed = allowed
        self._elsewhere = elsewhere.resolve()
        self._change_folder = change_folder
        self.writes: list[str] = []
        """Paths outside the permitted directories that were written, created or removed."""
        self.calls: list[str] = []
        """Network addresses that were accessed."""
        self.printed = ""
        """Text written to stdout and stderr, without the log lines of native libraries that the command line hides."""
        self.argv = _RecordedArguments(["retalkit-testing"])

    @contextmanager
    def active(self) -> Generator[None]:
        """Activate the sandbox while the block runs. The process state is restored afterwards."""
        _add_hook()
        temporary, working = self._elsewhere / "temporary", self._elsewhere / "working"
        for folder in (temporary, working):
            folder.mkdir(parents=True, exist_ok=True)
        printed = StringIO()
        states = _saved_generators()
        before = Path.cwd()
        with ExitStack() as stack:
            stack.callback(_restore_generators, states)
            stack.enter_context(patch.dict(os.environ, {"TMPDIR": str(temporary)}))
            stack.enter_context(patch.object(tempfile, "tempdir", str(temporary)))
            stack.enter_context(patch.object(sys, "argv", self.argv))
            file = stack.enter_context(_captured_descriptors(self._elsewhere / "output"))
            stack.enter_context(redirect_stdout(printed))
            stack.enter_context(redirect_stderr(printed))
            if self._change_folder:
                stack.callback(os.chdir, before)
                os.chdir(working)
            _active.append(self)
            stack.callback(_active.remove, self)
            try:
                yield
            finally:
                lines = file.read_bytes().splitlines(keepends=True)
                native = b"".join(line for line in lines if not LOG_LINE.match(line))
                self.printed = printed.getvalue() + native.decode("utf-8", errors="replace")
        self.writes += [str(path) for folder in (temporary, working) for path in folder.rglob("*") if path.is_file()]

    @staticmethod
    @contextmanager
    def recorded_reads() -> Generator[set[str]]:
        """Collect the paths of files that Python code opens for reading in the block. Requires an active sandbox."""
        paths = set[str]()
        _reads.append(paths)
        try:
            yield paths
        finally:
            _reads.pop()

    @staticmethod
    @contextmanager
    def paused() -> Generator[None]:
        """Ignore side effects in the block, because they are caused by the kit and not by the stage."""
        saved = list(_active)
        _active.clear()
        try:
            yield
        finally:
            _active.extend(saved)

    def on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Handle an audit event. Raises OSError if the event is a network access."""
        if event == "open":
            path, mode, flags = arguments
            if isinstance(mode, str):
                writing = any(letter in mode for letter in "wax+")
            else:
                writing = bool((flags or 0) & _WRITE_FLAGS)
            if writing:
                self._record_write(event, path)
            elif _reads:
                _record_read(path)
        elif event in _PATH_EVENTS:
            self._record_write(event, arguments[_PATH_EVENTS[event]])
        elif event in _NETWORK_EVENTS:
            address = arguments[0] if event in ("socket.getaddrinfo", "socket.gethostbyname") else arguments[1]
            # The address of a local socket is a path.
            if not isinstance(address, str | bytes) or event in ("socket.getaddrinfo", "socket.gethostbyname"):
                self.calls.append(str(address))
                raise OSError("stages must not access the network: declare files to download as checkpoints")

    def _record_write(self, event: str, path: object) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        text = os.fsdecode(cast("str | bytes | os.PathLike[str]", path))
        if text.startswith(_IGNORED) or "__pycache__" in text or text.endswith(".pyc"):
            return
        if sys.pycache_prefix and Path(text).is_relative_to(sys.pycache_prefix):
            return
        # realpath is used because Path.resolve raises further audit events and realpath accepts missing files.
        whole = os.path.realpath(text)
        if Path(whole).is_dir() and event == "open":
            return  # file without a name, as created by tempfile.TemporaryFile
        inside = any(Path(whole).is_relative_to(os.path.realpath(folder)) for folder in self._allowed)
        if not inside and whole not in self.writes:
            self.writes.append(whole)


class _RecordedArguments(list[str]):
    """Command-line argument list that records whether its items were read."""

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


def _record_read(path: object) -> None:
    if isinstance(path, str | bytes | os.PathLike):
        text = os.fsdecode(cast("str | bytes | os.PathLike[str]", path))
        if not text.startswith(_IGNORED) and not text.endswith((".py", ".pyc")):
            whole = os.path.realpath(text)
            for paths in _reads:
                paths.add(whole)


def generator_states() -> dict[str, object]:
    """Return comparable states of the process-wide random number generators, keyed by library."""
    numpy_state: Any = np.random.get_state()
    states: dict[str, object] = {
        "random": random.getstate(),
        "numpy.random": (numpy_state[0], numpy_state[1].tobytes(), *numpy_state[2:]),
    }
    if (torch := _torch()) is not None:
        # Only the seed is compared, because creating a network consumes random numbers before the weights are loaded.
        states["torch"] = torch.initial_seed()
    return states


def seed_generators(seed: int) -> None:
    """Seed the process-wide random number generators."""
    random.seed(seed)
    np.random.seed(seed)
    if (torch := _torch()) is not None:
        torch.manual_seed(seed)


def _saved_generators() -> tuple[Any, Any, Any]:
    torch = _torch()
    return random.getstate(), np.random.get_state(), None if torch is None else torch.get_rng_state()


def _restore_generators(states: tuple[Any, Any, Any]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    if states[2] is not None and (torch := _torch()) is not None:
        torch.set_rng_state(states[2])


def _torch() -> Any:
    """Return the module torch if it has already been imported, otherwise None. The kit does not import torch."""
    return sys.modules.get("torch")


@lru_cache(maxsize=1)
def _add_hook() -> None:
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if _active:
            _active[-1].on_event(event, arguments)

    sys.addaudithook(hook)


@contextmanager
def _captured_descriptors(path: Path) -> Generator[Path]:
    """Redirect file descriptors 1 and 2 to a file, because native libraries write to these descriptors directly."""
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
