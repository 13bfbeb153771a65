"""Where checkpoints lie: one folder for a user, each as a safetensors file that was checked when it came in."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from retalkit.errors import WeightsError
from retalkit.weights.declarations import Checkpoint

_PIECE = 1 << 20
LOCK = "lock"
"""Name of the file of pins, which no checkpoint may have."""
NAME_RULE = "its name may hold lower-case letters, digits and underscores only"
_WHOLE_HASH = 64
"""Hexadecimal digits of a SHA-256."""


class FolderError(WeightsError):
    """A folder cannot be written to, or is full: another source of the file would not help."""


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


class WeightStore:
    """The checkpoints of one user."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (home() / "weights") if folder is None else folder

    def file(self, name: str) -> Path:
        """Where the checkpoint of that name lies, or would lie."""
        return self.folder / f"{name}.safetensors"

    def place(self, checkpoint: Checkpoint) -> Path:
        """The same for any checkpoint, also one that is kept as it was published."""
        if checkpoint.shapes:
            return self.file(checkpoint.name)
        return self.folder / f"{checkpoint.name}{Path(checkpoint.file).suffix}"

    def has(self, checkpoint: Checkpoint) -> bool:
        """Whether it is in the store."""
        return self.place(checkpoint).is_file() and self._note(checkpoint.name).is_file()

    def path(self, name: str) -> Path | None:
        """The checkpoint's safetensors file, or None where it is not in the store."""
        file = self.file(name)
        return file if file.is_file() and self._note(name).is_file() else None

    def stored(self, name: str) -> Stored:
        """What was noted when the checkpoint came in. Raises WeightsError where it is not there or was damaged."""
        note = self._note(name)
        try:
            data: Any = json.loads(note.read_text(encoding="utf-8"))
            return Stored(**data)
        except (OSError, ValueError, TypeError) as error:
            raise WeightsError(f"{note}: cannot be read ({error}): import the weights '{name}' again") from error

    def add(self, checkpoint: Checkpoint, source: Path, *, accept: bool = False) -> Path:
        """Reads a published file, checks it and keeps it; the store changes only when everything was right.

        Where no whole SHA-256 was published, the first file that came in counts from then on (``pinned``); ``accept``
        takes another one in its place. Raises WeightsError, FolderError where the store cannot be written.
        """
        digest = file_hash(source)
        published = _is_published(checkpoint, source)
        if published:
            self._check_hash(checkpoint, source, digest, accept)
        # Reading and writing arrays takes torch; looking into the store does not.
        write = _array_writer(checkpoint, source) if checkpoint.shapes else _copier(source)
        target, note = self.place(checkpoint), self._note(checkpoint.name)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write(temporary)
            made = file_hash(temporary)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            if published and needs_pin(checkpoint):
                self._pin(checkpoint.name, digest)
            # Without its note a file does not count as there.
            note.unlink(missing_ok=True)
            temporary.replace(target)
            _write(note, json.dumps(asdict(Stored(source.name, digest, made, now)), indent=2) + "\n")
        except OSError as error:
            raise FolderError(
                f"{self.folder}: cannot be written ({error.strerror or error}): set RETALKIT_HOME to another folder"
            ) from error
        finally:
            # Where even the folder is wrong there is nothing to take away.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        return target

    def pinned(self, name: str) -> str | None:
        """SHA-256 of the published file that counts since its first use, where its publisher gave none."""
        return self._pins().get(name)

    def verify(self, checkpoint: Checkpoint) -> str | None:
        """What is wrong with a checkpoint in the store, or None."""
        if not self.has(checkpoint):
            return "is not there"
        file = self.place(checkpoint)
        if file_hash(file) != self.stored(checkpoint.name).sha256:
            return f"{file} is not what was put in: pull or import it again with --force"
        if not checkpoint.shapes:
            return None
        from retalkit.weights.reading import check_names, safetensors_shapes

        try:
            check_names(safetensors_shapes(file), checkpoint, file)
        except WeightsError as error:
            return str(error)
        return None

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
                f"{self.lock_file} has {pinned}: --force accepts the new one"
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


def readable_size(size: int | None) -> str:
    """``89 MB``; ``size unknown`` for None."""
    return "size unknown" if size is None else f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{max(1, size // 1000)} kB"


def needs_pin(checkpoint: Checkpoint) -> bool:
    """Whether its publisher gave no SHA-256, or only the beginning of one."""
    return len(checkpoint.sha256 or "") < _WHOLE_HASH


def commercial_use(allowed: bool | None) -> str:
    """In words."""
    return {True: "allowed", False: "not allowed", None: "not stated"}[allowed]


def facts(checkpoint: Checkpoint) -> str:
    """The published file, its size, its licence, and whether commercial use is allowed."""
    return (
        f"{checkpoint.file}, {readable_size(checkpoint.size)}, licence: {checkpoint.licence}; "
        f"commercial use: {commercial_use(checkpoint.commercial_use)}"
    )


def how_to_get(checkpoint: Checkpoint) -> str:
    """Which file, how large, under which licence, and the commands that put it into the store."""
    offline = f"`retalkit weights import {checkpoint.file} --as {checkpoint.name}`"
    if not checkpoint.urls:
        return f"'{checkpoint.name}' ({facts(checkpoint)}; get it from its publisher, then run {offline})"
    address = checkpoint.urls[0]
    return (
        f"'{checkpoint.name}' ({facts(checkpoint)}; `retalkit weights pull {checkpoint.name}` gets it; without a "
        f"network: bring it from {address} and run {offline})"
    )


def how_to_get_all(checkpoints: Sequence[Checkpoint]) -> str:
    """The same of several at once: each with its facts, and one command for all."""
    if len(checkpoints) == 1:
        return how_to_get(checkpoints[0])
    told = ", ".join(f"'{checkpoint.name}' ({facts(checkpoint)})" for checkpoint in checkpoints)
    names = " ".join(checkpoint.name for checkpoint in checkpoints)
    return (
        f"{told}; `retalkit weights pull {names}` gets them; without a network: bring the files (`retalkit weights "
        "list` has their addresses) and run `retalkit weights import FILE` for each"
    )


def _is_published(checkpoint: Checkpoint, source: Path) -> bool:
    """False for a safetensors file that was made out of the published one: only its names and shapes are checked."""
    return source.suffix != ".safetensors" or checkpoint.file.endswith(".safetensors")


def _array_writer(checkpoint: Checkpoint, source: Path) -> Callable[[Path], None]:
    """Reads and checks ``source``; the result writes its arrays. Raises WeightsError."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from retalkit.weights.reading import read_checkpoint

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


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
