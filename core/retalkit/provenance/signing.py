"""Finisher that signs the output with Content Credentials."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, Final

from retalkit._version import __version__
from retalkit.errors import CredentialsError, OutputError
from retalkit.plugins.specs import FinishedRun
from retalkit.provenance.formats import (
    EMBEDDED,
    SIDECAR_SUFFIX,
    SIDECAR_TYPE,
    find_sidecar,
    media_type,
    sidecar_path,
)
from retalkit.provenance.keys import Credentials, load_or_create, read_credentials
from retalkit.provenance.manifest import ingredients, manifest_definition, system_description
from retalkit.provenance.options import SigningOptions
from retalkit.provenance.run_facts import without_path
from retalkit.provenance.sequences import MANIFEST, write_hash_list
from retalkit.provenance.xmp import xmp_box
from retalkit.stages import DigitalSourceType

OFFLINE: Final[Mapping[str, Any]] = {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": False}
"""Settings of c2pa-rs that prevent network access. A time-stamp authority is contacted only if it is configured."""


_SPOOLED_MB: Final = 8
"""Size above which c2pa-rs copies the output to the temporary directory instead of memory, in MiB."""
_MERKLE_BYTES: Final = 128 << 20
"""Size above which the media data is hashed in chunks, whose hashes form a Merkle tree.

Otherwise c2pa-rs reads up to 512 MiB at once. Smaller files have a single hash, because other implementations disagree
about the hashes of the chunks.
"""
_MERKLE_CHUNK_KB: Final = 4096


class ContentCredentials:
    """Finisher that signs the output. The constructor loads the credentials, and creates local ones if there are none.

    Raises CredentialsError if the credentials cannot be used, and FolderError if they cannot be created.
    """

    def __init__(self, config: SigningOptions) -> None:
        self.notes: tuple[str, ...] = ()
        authority = config.time_stamp_authority
        if config.certificate is not None and config.key is not None:
            self.credentials = read_credentials(config.certificate, config.key, authority)
        else:
            self.credentials, created = load_or_create()
            if created:
                self.notes = (
                    f"created local credentials in {self.credentials.file}, which sign all outputs; `retalkit "
                    "credentials import` replaces them with your own certificate",
                )
        self.authority = authority if authority is not None else self.credentials.time_stamp_authority
        self.credentials.check()

    def finish(self, source: Path, target: Path, run: FinishedRun) -> None:
        """Write the signed file. For a format that cannot contain a manifest, the manifest is written as sidecar."""
        record = run.record
        embedded = target.suffix.lower() in EMBEDDED
        appended = b""
        if embedded:
            source_type = DigitalSourceType(record["digital_source_type"])
            appended = xmp_box(source_type, system_description(record), __version__)
        manifest = sign(
            source,
            target,
            manifest_definition(run),
            ingredients(run),
            self.credentials,
            appended=appended,
            embedded=embedded,
            time_stamp_authority=self.authority,
        )
        if sidecar_path(run.output) is not None:
            run.sidecar(SIDECAR_SUFFIX).write_bytes(manifest)
        run.results.update(
            signer=self.credentials.name,
            origin=self.credentials.origin,
            certificate_sha256=self.credentials.fingerprint,
            time_stamp_authority=self.authority,
        )

    def sign_layer(self, path: Path, run: FinishedRun) -> None:
        """Sign a finished layer in place: a mov file, or a directory of images, which gets a list of hashes."""
        if not path.is_dir():
            signed = path.with_name(f"{path.name}.signed{path.suffix}")
            try:
                self.finish(path, signed, run)
                signed.replace(path)
            finally:
                signed.unlink(missing_ok=True)
            return
        copy = path / MANIFEST
        manifest = sign(
            write_hash_list(path),
            copy,
            manifest_definition(run),
            ingredients(run),
            self.credentials,
            embedded=False,
            time_stamp_authority=self.authority,
        )
        copy.write_bytes(manifest)


def sign(
    source: Path,
    target: Path,
    definition: Mapping[str, Any],
    inputs: list[tuple[Path, dict[str, Any]]],
    credentials: Credentials,
    *,
    appended: bytes = b"",
    embedded: bool = True,
    time_stamp_authority: str | None = None,
) -> bytes:
    """Write the signed copy of ``source`` to ``target`` and return the manifest store.

    ``inputs`` contains the path and definition of each ingredient. ``appended`` are boxes that are added at the end of
    the file before the file is signed. The files are streamed. Raises CredentialsError if the signature cannot be
    computed, and OSError if a file cannot be read or written.
    """
    import c2pa

    core: dict[str, Any] = {"backing_store_memory_threshold_in_mb": _SPOOLED_MB}
    if source.stat().st_size > _MERKLE_BYTES:
        core["merkle_tree_chunk_size_in_kb"] = _MERKLE_CHUNK_KB
    settings = c2pa.Settings.from_dict(
        {
            "verify": {**OFFLINE, "verify_after_sign": False},
            "core": core,
            "builder": {"thumbnail": {"enabled": False}, "bmff_hash_exclude_free_and_skip_boxes": False},
        }
    )
    context = c2pa.Context(settings)
    stores: dict[str, bytes] = {}
    streamed: list[tuple[Path, dict[str, Any]]] = []
    complete = {**definition, "ingredients": []}
    for path, described in inputs:
        from_sidecar = _described_by_sidecar(path, context)
        if from_sidecar is None:
            streamed.append((path, described))
        else:
            stores[described["label"]], facts = from_sidecar
            store = {"format": SIDECAR_TYPE, "identifier": described["label"]}
            complete["ingredients"].append({**described, **facts, "manifest_data": store})
    info = c2pa.C2paSignerInfo(
        credentials.algorithm, credentials.chain_pem.encode(), credentials.key_pem.encode(), time_stamp_authority
    )
    with closing(_Source(source, appended)) as given, closing(_CheckedFile(target.open("w+b"))) as written:
        try:
            with c2pa.Signer.from_info(info) as signer, c2pa.Builder(json.dumps(complete), context) as builder:
                if not embedded:
                    builder.set_no_embed()
                for name, store in stores.items():
                    builder.add_resource(name, io.BytesIO(store))
                for path, described in streamed:
                    _add_ingredient(builder, path, described)
                manifest: bytes = builder.sign(signer, media_type(target), given, written)
            written.flush()
        except c2pa.C2paError as error:
            failed = given.error or written.error
            if failed is not None:
                raise failed from error
            if "os error 28" in str(error):
                raise _full_temporary_directory(source) from error
            raise _signing_error(error, time_stamp_authority) from error
    return manifest


def _add_ingredient(builder: Any, path: Path, described: dict[str, Any]) -> None:
    """Add an input file with its own manifest, if the file contains one."""
    import c2pa

    try:
        with path.open("rb") as stream:
            builder.add_ingredient(described, described["format"], stream)
    except c2pa.C2paError:
        # FFmpeg reads damaged files and formats that c2pa-rs rejects. Such an input is identified by its hash only.
        builder.add_ingredient(described, "application/octet-stream", io.BytesIO(b"\0"))


def _described_by_sidecar(path: Path, context: Any) -> tuple[bytes, dict[str, Any]] | None:
    """Return the manifest store in the sidecar file of an input, and the facts that an ingredient with it declares.

    The result is None if there is no sidecar file, or if it does not belong to the file.
    """
    import c2pa

    sidecar = None if path.suffix.lower() in EMBEDDED else find_sidecar(path)
    if sidecar is None:
        return None
    try:
        store = sidecar.read_bytes()
        with path.open("rb") as stream, c2pa.Reader(media_type(path), stream, store, context=context) as reader:
            report = json.loads(reader.json())
    except (c2pa.C2paError, OSError):
        return None
    if report.get("validation_state") == "Invalid":
        return None
    return store, {name: report[name] for name in ("active_manifest", "validation_results")}


def _full_temporary_directory(source: Path) -> OutputError:
    folder, size = tempfile.gettempdir(), source.stat().st_size
    return OutputError(
        f"signing requires {size / 2**20:.0f} MiB in the temporary directory {folder}, which is full; free disk space "
        "or set TMPDIR to a different directory",
        code="disk-full",
    )


def _signing_error(error: Exception, authority: str | None) -> CredentialsError:
    text = " ".join(str(error).split())
    reason = text[:200]
    if authority is not None:
        # The URL may contain a password.
        shown = without_path(authority)
        reason = text.replace(authority, shown)[:200]
        return CredentialsError(
            f"the output cannot be signed with the time-stamp authority {shown} ({reason}); check the URL and the "
            "network connection, or set provenance.time_stamp_authority to null",
            code="signing-failed",
        )
    return CredentialsError(f"the output cannot be signed ({reason})", code="signing-failed")


class _CheckedFile:
    """File for c2pa-rs, which reports no reason if a file operation fails. ``error`` is the first OSError."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def read(self, size: int = -1) -> bytes:
        return self._call(self._file.read, size)

    def write(self, data: bytes) -> int:
        return self._call(self._file.write, data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._call(self._file.seek, offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._call(self._file.flush)

    def close(self) -> None:
        self._file.close()

    def _call(self, operation: Any, *arguments: Any) -> Any:
        try:
            return operation(*arguments)
        except OSError as error:
            self.error = self.error or error
            raise


class _Source(_CheckedFile):
    """Read-only file followed by additional bytes, so that the file need not be copied to append the bytes."""

    def __init__(self, path: Path, appended: bytes) -> None:
        super().__init__(path.open("rb"))
        self._appended = appended
        self._size = path.stat().st_size
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        total = self._size + len(self._appended)
        size = total - self._position if size < 0 else size
        data = b""
        if self._position < self._size:
            self._call(self._file.seek, self._position)
            data = self._call(self._file.read, min(size, self._size - self._position))
        if len(data) < size and self._position + len(data) >= self._size:
            start = self._position + len(data) - self._size
            data += self._appended[start : start + size - len(data)]
        self._position += len(data)
        return data

    def write(self, data: bytes) -> int:
        raise io.UnsupportedOperation("the file is read-only")

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._position, self._size + len(self._appended))[whence]
        self._position = max(base + offset, 0)
        return self._position

    def tell(self) -> int:
        return self._position
