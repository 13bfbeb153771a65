"""Where checkpoints lie: one folder for a user, each as a safetensors file that was checked when it came in."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from retalkit.errors import WeightsError
from retalkit.weights.checkpoint import Checkpoint
from retalkit.weights.locks import FolderError, alone

_PIECE = 1 << 20
LOCK = "lock"
"""Name of the file of pins, which no checkpoint may have."""
NAME_RULE = "its name may hold lower-case letters, digits and underscores only"
_WHOLE_HASH = 64
"""Hexadecimal digits of a SHA-256."""
_WAIT = 300.0
"""Seconds for which one process waits while another one writes into the store."""


def home() -> Path:
    """``RETALKIT_HOME``, or ``retalkit`` in the user's data folder."""
    named = os.environ.get("RETALKIT_HOME")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "retalkit"


@dataclass(frozen=True, slots=True)
class Stored:
    """What is known of a checkpoint in the store."""

    file: str
    """Name of the file that it was made from."""
    file_sha256: str
    sha256: str
    """Of the file in the store."""
    imported: str
    """When, ISO 8601."""
    size: int = -1
    """Bytes of the file in the store."""
    modified: int = -1
    """When that file was last written, nanoseconds since 1970. Another time or size, and its content is read again
    before it is believed."""


class WeightStore:
    """The checkpoints of one user."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (home() / "weights") if folder is None else folder

    def file(self, name: str) -> Path:
        """Where the checkpoint of that name lies, or would lie."""
        made = self.folder / f"{name}.safetensors"
        # What no network of ours loads is kept as it was published, under its own ending.
        kept = (path for path in sorted(self.folder.glob(f"{name}.*")) if path != self._note(name))
        return made if made.is_file() else next(kept, made)

    def place(self, checkpoint: Checkpoint) -> Path:
        """The same by its declaration."""
        if checkpoint.shapes:
            return self.folder / f"{checkpoint.name}.safetensors"
        suffix = Path(checkpoint.file).suffix
        return self.folder / f"{checkpoint.name}{'.data' if suffix == '.json' else ''}{suffix}"

    def has(self, checkpoint: Checkpoint) -> bool:
        """Whether it is in the store."""
        return self.place(checkpoint).is_file() and self._note(checkpoint.name).is_file()

    def path(self, name: str) -> Path | None:
        """The checkpoint's file, or None where it is not in the store."""
        file = self.file(name)
        return file if file.is_file() and self._note(name).is_file() else None

    def stored(self, name: str) -> Stored:
        """What was noted when the checkpoint came in. Raises WeightsError where it is not there or was damaged."""
        note = self._note(name)
        try:
            data: Any = json.loads(note.read_text(encoding="utf-8"))
            return Stored(**data)
        except (OSError, ValueError, TypeError) as error:
            raise WeightsError(
                f"{note}: cannot be read ({error}): pull or import the weights '{name}' again with --force"
            ) from error

    def content(self, name: str) -> str:
        """SHA-256 of the checkpoint's file, for cache keys and records. Raises WeightsError where it is not what was
        put in; it is read for that only where its size or time is another one."""
        stored, file = self.stored(name), self.file(name)
        state = file.stat()
        if (state.st_size, state.st_mtime_ns) != (stored.size, stored.modified) and file_hash(file) != stored.sha256:
            raise WeightsError(_changed(file))
        return stored.sha256

    def add(self, checkpoint: Checkpoint, source: Path, *, accept: bool = False) -> Path:
        """Reads a published file, checks it and keeps it; the store changes only when everything was right.

        Where no whole SHA-256 was published, the first file that came in counts from then on (``pinned``); ``accept``
        takes another one in its place. Raises WeightsError, FolderError where the store cannot be written, BusyError
        where another process writes into it for minutes.
        """
        check_readable(checkpoint)
        busy = f"{self.folder}: another process writes there: give the command again when it has ended"
        with alone(self.folder.parent, self.folder.name, busy, _WAIT):
            return self._add(checkpoint, source, accept)

    def _add(self, checkpoint: Checkpoint, source: Path, accept: bool) -> Path:
        digest = file_hash(source)
        published = _is_published(checkpoint, source)
        if published:
            self._check_hash(checkpoint, source, digest, accept)
        # Reading and writing arrays takes torch; looking into the store does not.
        write = _array_writer(checkpoint, source) if checkpoint.shapes else _copier(source)
        target, note = self.place(checkpoint), self._note(checkpoint.name)
        temporary, noted = _beside(target), _beside(note)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for abandoned in (*self.folder.glob(f".{target.name}.*"), *self.folder.glob(f".{note.name}.*")):
                abandoned.unlink(missing_ok=True)
            write(temporary)
            made, state = file_hash(temporary), temporary.stat()
            now = datetime.now(UTC).isoformat(timespec="seconds")
            told = Stored(source.name, digest, made, now, state.st_size, state.st_mtime_ns)
            noted.write_text(json.dumps(asdict(told), indent=2) + "\n", encoding="utf-8")
            # safetensors makes files that only their owner may read.
            temporary.chmod(stat.S_IMODE(noted.stat().st_mode))
            if published and needs_pin(checkpoint):
                self._pin(checkpoint.name, digest)
            # From here on names change and nothing is written, so that a full disk stops before. Without its note a
            # file does not count as there.
            note.unlink(missing_ok=True)
            temporary.replace(target)
            noted.replace(note)
        except OSError as error:
            raise FolderError(
                f"{self.folder}: cannot be written ({error.strerror or error}): set RETALKIT_HOME to another folder"
            ) from error
        finally:
            # Where even the folder is wrong there is nothing to take away.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
                noted.unlink(missing_ok=True)
        return target

    def pinned(self, name: str) -> str | None:
        """SHA-256 of the published file that counts since its first use, where its publisher gave none."""
        return self._pins().get(name)

    def verify(self, checkpoint: Checkpoint) -> str | None:
        """What is wrong with a checkpoint in the store, or None: its content, its names and shapes, and the published
        file that it was made of."""
        if not self.has(checkpoint):
            return "is not there"
        file = self.place(checkpoint)
        try:
            stored = self.stored(checkpoint.name)
            if file_hash(file) != stored.sha256:
                return _changed(file)
            if self.is_of_published(checkpoint):
                self._check_hash(checkpoint, file, stored.file_sha256, False)
            if checkpoint.shapes:
                from retalkit.weights.load import check_names, safetensors_shapes

                check_names(safetensors_shapes(file), checkpoint, file)
        except WeightsError as error:
            return str(error)
        return None

    def is_of_published(self, checkpoint: Checkpoint) -> bool:
        """Whether a checkpoint in the store was made of the file as it was published, not of one that somebody had
        already turned into safetensors, for which there is no hash to compare."""
        return _is_published(checkpoint, Path(self.stored(checkpoint.name).file))

    def _note(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    @property
    def lock_file(self) -> Path:
        """Name -> SHA-256 of every file that was pinned on its first use."""
        return self.folder / f"{LOCK}.json"

    def _pins(self) -> dict[str, str]:
        if not self.lock_file.exists():
            return {}
        try:
            data: Any = json.loads(self.lock_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise WeightsError(f"{self.lock_file}: cannot be read ({error}): mend it or delete it") from error
        if not isinstance(data, dict):
            raise WeightsError(f"{self.lock_file}: does not hold names and hashes: mend it or delete it")
        return {str(name): str(digest) for name, digest in cast("dict[object, object]", data).items()}

    def _pin(self, name: str, digest: str) -> None:
        pins = self._pins()
        if pins.get(name) != digest:
            _write(self.lock_file, json.dumps(dict(sorted({**pins, name: digest}.items())), indent=2) + "\n")

    def _check_hash(self, checkpoint: Checkpoint, source: Path, digest: str, accept: bool) -> None:
        """Raises WeightsError for another file than the published or the pinned one."""
        if checkpoint.sha256 and not digest.startswith(checkpoint.sha256.lower()):
            raise WeightsError(
                f"{source}: is not the published {checkpoint.file}: its SHA-256 is {digest[:12]}..., published is "
                f"{checkpoint.sha256[:12]}...: get it again"
            )
        pinned = self.pinned(checkpoint.name) if needs_pin(checkpoint) else None
        if pinned not in (None, digest) and not accept:
            raise WeightsError(
                f"{source}: is another {checkpoint.file} than the one that came first: its SHA-256 is {digest}, "
                f"{self.lock_file} has {pinned}: --accept-new takes it in its place"
            )


def usable_name(name: str) -> bool:
    """Whether files in the store can be called so: nothing outside it, and not the file of pins."""
    return re.fullmatch(r"[a-z][a-z0-9_]*", name) is not None and name != LOCK


def file_hash(path: Path) -> str:
    """SHA-256 of a file, read in pieces. Raises WeightsError where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_PIECE):
                digest.update(block)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from error
    return digest.hexdigest()


def needs_pin(checkpoint: Checkpoint) -> bool:
    """Whether its publisher gave no SHA-256, or only the beginning of one."""
    return len(checkpoint.sha256 or "") < _WHOLE_HASH


def check_readable(checkpoint: Checkpoint) -> None:
    """Raises WeightsError where the package that reads published files is missing."""
    if checkpoint.shapes and find_spec("torch") is None:
        raise WeightsError(
            f"{checkpoint.file} is read by torch, which is not installed: pip install 'retalkit[paper]' first"
        )


def _changed(file: Path) -> str:
    return f"{file} is not what was put in: pull or import it again with --force"


def _is_published(checkpoint: Checkpoint, source: Path) -> bool:
    """False for a safetensors file that was made out of the published one: only its names and shapes are checked."""
    return source.suffix != ".safetensors" or checkpoint.file.endswith(".safetensors")


def _array_writer(checkpoint: Checkpoint, source: Path) -> Callable[[Path], None]:
    """Reads and checks ``source``; the result writes its arrays. Raises WeightsError."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from retalkit.weights.load import read_checkpoint

    tensors = read_checkpoint(source, checkpoint)

    def write(path: Path) -> None:
        try:
            # Tensors of one file may share their memory, which safetensors refuses.
            save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, path)
        except SafetensorError as error:
            # How safetensors tells that the disk is full.
            raise OSError(str(error)) from error

    return write


def _copier(source: Path) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        shutil.copyfile(source, path)

    return write


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")


def _write(path: Path, text: str) -> None:
    temporary = _beside(path)
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
