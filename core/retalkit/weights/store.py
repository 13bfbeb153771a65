"""Local checkpoint store with one directory per user.

Imported checkpoints are verified and stored as safetensors files.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from retalkit.errors import ConfigError, WeightsError
from retalkit.paths import expand_home, home_folder
from retalkit.storage.cache import content_hash
from retalkit.storage.permissions import default_permissions
from retalkit.weights.checkpoint import Checkpoint
from retalkit.weights.locks import FolderError, exclusive_lock

PIN_FILE = "lock"
"""Stem of the file that contains pinned hashes. Checkpoints cannot have this name."""
_SHA256_DIGITS = 64
_LOCK_SECONDS = 300.0
"""Timeout in seconds for acquiring the store's lock."""


def home() -> Path:
    """Return ``RETALKIT_HOME`` or, if the variable is not set, ``retalkit`` in the user's data directory.

    Raises ConfigError if the user has no home directory.
    """
    named = os.environ.get("RETALKIT_HOME")
    if named:
        return expand_home(named)
    base = os.environ.get("XDG_DATA_HOME")
    if base:
        return Path(base) / "retalkit"
    return home_folder("RETALKIT_HOME") / ".local" / "share" / "retalkit"


def readable_home() -> Path:
    """Return ``home()``, or a directory that cannot exist if the user has no home directory.

    Runs that read no checkpoints require no directory.
    """
    try:
        return home()
    except ConfigError:
        return Path(os.devnull) / "retalkit"


@dataclass(frozen=True, slots=True)
class ImportRecord:
    """Record of a checkpoint in the store, written on import."""

    file: str
    """File name of the source file."""
    file_sha256: str
    """SHA-256 hash of the source file."""
    sha256: str
    """SHA-256 hash of the stored file."""
    imported: str
    """Import time in ISO 8601 format."""
    size: int = -1
    """Size of the stored file in bytes."""
    modified: int = -1
    """Modification time of the stored file in nanoseconds since 1970. The file is hashed again before use if its
    modification time or size has changed.
    """


class WeightStore:
    """Checkpoint store of one user in the directory ``folder`` (default: ``RETALKIT_HOME/weights``)."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (readable_home() / "weights") if folder is None else folder

    def file(self, name: str) -> Path:
        """Return the path of the checkpoint's file. The file may not exist."""
        converted = self.folder / f"{name}.safetensors"
        # Files that no Retalkit network loads are stored as published and keep their suffix.
        as_published = (path for path in sorted(self.folder.glob(f"{name}.*")) if path != self._record_file(name))
        return converted if converted.is_file() else next(as_published, converted)

    def expected_file(self, checkpoint: Checkpoint) -> Path:
        """Return the path of the checkpoint's file according to its declaration. The file may not exist."""
        if checkpoint.shapes:
            return self.folder / f"{checkpoint.name}.safetensors"
        suffix = Path(checkpoint.file).suffix
        return self.folder / f"{checkpoint.name}{'.data' if suffix == '.json' else ''}{suffix}"

    def has(self, checkpoint: Checkpoint) -> bool:
        """Return whether the store contains the checkpoint."""
        return self.expected_file(checkpoint).is_file() and self._record_file(checkpoint.name).is_file()

    def path(self, name: str) -> Path | None:
        """Return the path of the checkpoint's file, or None if the store does not contain the checkpoint."""
        file = self.file(name)
        return file if file.is_file() and self._record_file(name).is_file() else None

    def record(self, name: str) -> ImportRecord:
        """Return the import record of a checkpoint.

        Raises:
            WeightsError: the record does not exist or is damaged.
        """
        file = self._record_file(name)
        try:
            data: Any = json.loads(file.read_text(encoding="utf-8"))
            return ImportRecord(**data)
        except (OSError, ValueError, TypeError) as error:
            raise WeightsError(
                f"{file}: the record cannot be read ({error}); pull or import the weights '{name}' again with --force",
                code="unreadable-file",
            ) from error

    def sha256(self, name: str) -> str:
        """Return the SHA-256 hash of the checkpoint's file for cache keys and records.

        The file is read only if its size or modification time has changed.

        Raises:
            WeightsError: the contents of the file have changed.
        """
        record, file = self.record(name), self.file(name)
        state = file.stat()
        if (state.st_size, state.st_mtime_ns) != (record.size, record.modified) and file_hash(file) != record.sha256:
            raise WeightsError(_modified(file), code="modified-weights")
        return record.sha256

    def add(self, checkpoint: Checkpoint, source: Path, *, accept: bool = False) -> Path:
        """Verify a published file and add the file to the store. If verification fails, the store remains unchanged.

        If no complete SHA-256 hash was published, the hash of the first imported file is pinned (``pinned_hash``).
        ``accept`` replaces the pinned hash.

        Raises:
            WeightsError: the file cannot be verified.
            FolderError: the store is not writable.
            BusyError: another process holds the store's lock for several minutes.
        """
        check_readable(checkpoint)
        busy = f"{self.folder}: the store is in use by another process; run the command again after the process ends"
        with exclusive_lock(self.folder.parent, self.folder.name, busy, _LOCK_SECONDS):
            return self._add(checkpoint, source, accept)

    def _add(self, checkpoint: Checkpoint, source: Path, accept: bool) -> Path:
        digest = file_hash(source)
        published = _is_published(checkpoint, source)
        if published:
            self._check_hash(checkpoint, source, digest, accept)
        write = _array_writer(checkpoint, source) if checkpoint.shapes else _copier(source)
        target, record_file = self.expected_file(checkpoint), self._record_file(checkpoint.name)
        temporary, temporary_record = _temporary(target), _temporary(record_file)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for abandoned in (*self.folder.glob(f".{target.name}.*"), *self.folder.glob(f".{record_file.name}.*")):
                abandoned.unlink(missing_ok=True)
            write(temporary)
            stored_hash, state = file_hash(temporary), temporary.stat()
            now = datetime.now(UTC).isoformat(timespec="seconds")
            record = ImportRecord(source.name, digest, stored_hash, now, state.st_size, state.st_mtime_ns)
            temporary_record.write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")
            if published and needs_pin(checkpoint):
                self._pin(checkpoint.name, digest)
            # The following steps only rename files, so a full disk causes an error before this point. The store ignores
            # a file without a record.
            record_file.unlink(missing_ok=True)
            temporary.replace(target)
            temporary_record.replace(record_file)
        except OSError as error:
            raise FolderError(
                f"{self.folder}: the directory is not writable ({error.strerror or error}); "
                "set RETALKIT_HOME to a different directory",
                code="folder-not-writable",
            ) from error
        finally:
            # If the directory does not exist, there is no file to delete.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
                temporary_record.unlink(missing_ok=True)
        return target

    def pinned_hash(self, name: str) -> str | None:
        """Return the SHA-256 hash that was pinned on the first import of a checkpoint without a published hash, or
        None."""
        return self._pins().get(name)

    def verify(self, checkpoint: Checkpoint) -> str | None:
        """Verify a stored checkpoint's contents, parameter names, shapes and source. Return an error description, or
        None if the checkpoint is valid."""
        if not self.has(checkpoint):
            return "not in the store"
        file = self.expected_file(checkpoint)
        try:
            record = self.record(checkpoint.name)
            if file_hash(file) != record.sha256:
                return _modified(file)
            if self.is_from_published_file(checkpoint):
                self._check_hash(checkpoint, file, record.file_sha256, False)
            if checkpoint.shapes:
                from retalkit.weights.load import check_names, safetensors_shapes

                check_names(safetensors_shapes(file), checkpoint, file)
        except WeightsError as error:
            return str(error)
        return None

    def is_from_published_file(self, checkpoint: Checkpoint) -> bool:
        """Return whether a stored checkpoint was imported from the published file.

        The function returns False for a safetensors file that a third party converted, because no published hash
        applies to the converted file.
        """
        return _is_published(checkpoint, Path(self.record(checkpoint.name).file))

    def _record_file(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    @property
    def pin_file(self) -> Path:
        """Path of the JSON file that maps checkpoint names to pinned SHA-256 hashes."""
        return self.folder / f"{PIN_FILE}.json"

    def _pins(self) -> dict[str, str]:
        if not self.pin_file.exists():
            return {}
        try:
            data: Any = json.loads(self.pin_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise WeightsError(
                f"{self.pin_file}: the file cannot be read ({error}); correct or delete the file",
                code="unreadable-file",
            ) from error
        if not isinstance(data, dict):
            raise WeightsError(
                f"{self.pin_file}: expected a JSON object that maps names to hashes; correct or delete the file",
                code="unreadable-file",
            )
        return {str(name): str(digest) for name, digest in cast("dict[object, object]", data).items()}

    def _pin(self, name: str, digest: str) -> None:
        pins = self._pins()
        if pins.get(name) != digest:
            _write(self.pin_file, json.dumps(dict(sorted({**pins, name: digest}.items())), indent=2) + "\n")

    def _check_hash(self, checkpoint: Checkpoint, source: Path, digest: str, accept: bool) -> None:
        """Raise WeightsError if the hash differs from the published hash or the pinned hash."""
        if checkpoint.sha256 and not digest.startswith(checkpoint.sha256.lower()):
            raise WeightsError(
                f"{source}: not the published {checkpoint.file}: SHA-256 mismatch: expected "
                f"{checkpoint.sha256[:12]}..., got {digest[:12]}...; download the file again",
                code="hash-mismatch",
            )
        pinned = self.pinned_hash(checkpoint.name) if needs_pin(checkpoint) else None
        if pinned not in (None, digest) and not accept:
            raise WeightsError(
                f"{source}: not the {checkpoint.file} that was imported first: {self.pin_file} contains SHA-256 "
                f"{pinned}, got {digest}; use --accept-new to accept the new file",
                code="pin-mismatch",
            )


def file_hash(path: Path) -> str:
    """Return the SHA-256 hash of a file.

    Raises:
        WeightsError: the file cannot be read.
    """
    try:
        return content_hash(path)
    except OSError as error:
        raise WeightsError(
            f"{path}: the file cannot be read ({error.strerror or error})", code="unreadable-file"
        ) from error


def needs_pin(checkpoint: Checkpoint) -> bool:
    """Return whether the file's hash must be pinned because no complete SHA-256 hash was published."""
    return len(checkpoint.sha256 or "") < _SHA256_DIGITS


def check_readable(checkpoint: Checkpoint) -> None:
    """Raise WeightsError if torch is not installed, because torch is required to read published files."""
    if checkpoint.shapes and find_spec("torch") is None:
        raise WeightsError(
            f"{checkpoint.file} cannot be read because torch is not installed; run `pip install 'retalkit[paper]'`",
            code="missing-package",
        )


def _modified(file: Path) -> str:
    return f"{file}: the file was modified since it was imported; pull or import the file again with --force"


def _is_published(checkpoint: Checkpoint, source: Path) -> bool:
    """Return whether ``source`` is the published file, not a safetensors conversion of the published file.

    For a converted file, only names and shapes are verified.
    """
    return source.suffix != ".safetensors" or checkpoint.file.endswith(".safetensors")


def _array_writer(checkpoint: Checkpoint, source: Path) -> Callable[[Path], None]:
    """Read and verify ``source``. Return a function that writes the arrays.

    Raises:
        WeightsError: the file cannot be read or verified.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from retalkit.weights.load import read_checkpoint

    tensors = read_checkpoint(source, checkpoint)

    def write(path: Path) -> None:
        try:
            # Tensors in a torch file may share memory, which safetensors does not support.
            with default_permissions(path):
                save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, path)
        except SafetensorError as error:
            # safetensors raises its own exception if the disk is full.
            raise OSError(str(error)) from error

    return write


def _copier(source: Path) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        shutil.copyfile(source, path)

    return write


def _temporary(path: Path) -> Path:
    """Return a unique hidden file name in the directory of the given path."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")


def _write(path: Path, text: str) -> None:
    temporary = _temporary(path)
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
