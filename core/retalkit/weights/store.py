"""Where checkpoints lie: one folder for a user, each as a safetensors file that was checked when it came in."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from retalkit.errors import WeightsError
from retalkit.weights.declarations import Checkpoint

_PIECE = 1 << 20


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
    """Of the safetensors file."""
    imported: str
    """When, ISO 8601."""


class WeightStore:
    """The checkpoints of one user."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (home() / "weights") if folder is None else folder

    def file(self, name: str) -> Path:
        """Where the checkpoint of that name lies, or would lie."""
        return self.folder / f"{name}.safetensors"

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

    def add(self, checkpoint: Checkpoint, source: Path) -> Path:
        """Reads a published file, checks it and keeps it; the store changes only when everything was right.

        Raises WeightsError.
        """
        digest = _check_hash(checkpoint, source)
        # Reading takes torch; looking into the store does not.
        from safetensors.torch import save_file

        from retalkit.weights.reading import read_checkpoint

        tensors = read_checkpoint(source, checkpoint)
        target, note = self.file(checkpoint.name), self._note(checkpoint.name)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Tensors of one file may share their memory, which safetensors refuses.
            save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, temporary)
            made = file_hash(temporary)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            # Without its note a file does not count as there.
            note.unlink(missing_ok=True)
            temporary.replace(target)
            _write(note, json.dumps(asdict(Stored(source.name, digest, made, now)), indent=2) + "\n")
        except OSError as error:
            raise WeightsError(
                f"{self.folder}: cannot be written ({error.strerror or error}): set RETALKIT_HOME to another folder"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)
        return target

    def verify(self, checkpoint: Checkpoint) -> str | None:
        """What is wrong with a checkpoint in the store, or None."""
        if self.path(checkpoint.name) is None:
            return "is not there"
        file = self.file(checkpoint.name)
        if file_hash(file) != self.stored(checkpoint.name).sha256:
            return f"{file} is not what was put in: import it again"
        from retalkit.weights.reading import check_names, safetensors_shapes

        try:
            check_names(safetensors_shapes(file), checkpoint, file)
        except WeightsError as error:
            return str(error)
        return None

    def _note(self, name: str) -> Path:
        return self.folder / f"{name}.json"


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


def how_to_get(checkpoint: Checkpoint) -> str:
    """Which file, how large, under which licence, and the command that puts it into the store."""
    address = checkpoint.urls[0] if checkpoint.urls else "its publisher"
    facts = f"{checkpoint.file}, {readable_size(checkpoint.size)}, licence: {checkpoint.licence}"
    command = f"retalkit weights import {checkpoint.file} --as {checkpoint.name}"
    return f"'{checkpoint.name}' ({facts}; get it from {address}, then run `{command}`)"


def _check_hash(checkpoint: Checkpoint, source: Path) -> str:
    digest = file_hash(source)
    # A safetensors file was made out of the published one; its names and shapes are checked all the same.
    published = source.suffix != ".safetensors"
    if published and checkpoint.sha256 and not digest.startswith(checkpoint.sha256):
        raise WeightsError(
            f"{source}: is not the published {checkpoint.file}: its SHA-256 is {digest[:12]}..., published is "
            f"{checkpoint.sha256[:12]}...: get it again"
        )
    return digest


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
