"""Byte-exact check of a manifest store, in addition to the validation of the C2PA specification.

The specification permits changes of some bytes that have no meaning: the padding of the signature, the types of the
JUMBF boxes, and spellings of the claim that a reader normalises. Nothing but a manipulation changes these bytes in a
manifest that Retalkit wrote, so ``manifest_fault`` reports them. The signature is verified over the stored bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from retalkit.provenance import cbor

_C2PA_UUID: Final = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_BOX_START: Final = b"\0\0\0\0manifest\0" + bytes(8)
"""Version and flags, purpose, and the unused offset of a Merkle tree (C2PA specification 2.2, section A.5.1)."""
_JUMBF_UUID_END: Final = bytes.fromhex("00110010800000aa00389b71")
_TYPES: Final = {
    "c2pa": b"c2pa",
    "c2pa.assertions": b"c2as",
    "c2pa.claim": b"c2cl",
    "c2pa.claim.v2": b"c2cl",
    "c2pa.signature": b"c2cs",
}
"""Type of the JUMBF superbox for each label that a manifest store uses once per manifest."""
_REQUESTABLE_WITH_LABEL: Final = 3
_ALGORITHM, _CERTIFICATES = 1, 33
_HASHES: Final = {-7: "SHA256", -35: "SHA384", -36: "SHA512", -37: "SHA256", -38: "SHA384", -39: "SHA512"}
_EDDSA: Final = -8


def read_manifest_store(file: BinaryIO) -> tuple[bytes, bytes]:
    """Return the manifest store of an mp4 or mov file and the bytes before the store in its box.

    Both are empty if the file has no such box.
    """
    size = file.seek(0, 2)
    for start, kind, length, header in _boxes(file, size):
        if kind != b"uuid":
            continue
        file.seek(start + header)
        content = file.read(min(length - header, 1 << 26))
        if content[:16] == _C2PA_UUID:
            begin = 16 + len(_BOX_START)
            return content[begin:], content[16:begin]
    return b"", b""


def manifest_fault(path: Path, sidecar: Path | None, active: str) -> str | None:
    """Return the first fault in the bytes of a file's active manifest, or None if there is no fault."""
    if sidecar is not None:
        store, start = sidecar.read_bytes(), _BOX_START
    else:
        with path.open("rb") as file:
            store, start = read_manifest_store(file)
    if start != _BOX_START:
        return "manifest.box.changed"
    try:
        return _store_fault(store, active)
    except (ValueError, KeyError, IndexError, TypeError, struct.error, AttributeError):
        return "manifest.structure.changed"


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes, int, int]]:
    """Yield the position, type, length and header length of each top-level box."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        header = 8
        if length == 1:
            length, header = struct.unpack(">Q", file.read(8))[0], 16
        length = size - position if length == 0 else length
        if length < header:
            return
        yield position, kind, length, header
        position += length


def _store_fault(store: bytes, active: str) -> str | None:
    outer = _superbox(store)
    if outer.end != len(store):
        return "manifest.structure.changed"
    manifest = next(each for each in outer.children() if each.label == active)
    parts = {each.label: each for each in manifest.children()}
    for box in (outer, *parts.values()):
        expected = _TYPES.get(box.label)
        if expected is None or box.kind != expected + _JUMBF_UUID_END or box.toggles != _REQUESTABLE_WITH_LABEL:
            return "manifest.structure.changed"
    claim = next(parts[name] for name in ("c2pa.claim.v2", "c2pa.claim") if name in parts)
    return _signature_fault(claim.content(), parts["c2pa.signature"].content())


class _Superbox:
    """JUMBF superbox at ``start`` of ``data`` (ISO 19566-5)."""

    def __init__(self, data: bytes, start: int) -> None:
        length, kind = struct.unpack_from(">I4s", data, start)
        description_length, description = struct.unpack_from(">I4s", data, start + 8)
        if kind != b"jumb" or description != b"jumd" or start + length > len(data):
            raise ValueError("not a JUMBF superbox")
        self._data, self.end = data, start + length
        self._content = start + 8 + description_length
        self.kind, self.toggles = data[start + 16 : start + 32], data[start + 32]
        self.label = data[start + 33 : data.index(b"\0", start + 33)].decode()

    def children(self) -> Iterator[_Superbox]:
        position = self._content
        while position < self.end:
            child = _Superbox(self._data, position)
            yield child
            position = child.end

    def content(self) -> bytes:
        """Return the content of the only box after the description, which contains CBOR."""
        length, kind = struct.unpack_from(">I4s", self._data, self._content)
        if kind != b"cbor" or self._content + length != self.end:
            raise ValueError("expected one CBOR box")
        return self._data[self._content + 8 : self.end]


def _superbox(data: bytes) -> _Superbox:
    return _Superbox(data, 0)


def _signature_fault(claim: bytes, signature: bytes) -> str | None:
    """Return the fault of a COSE_Sign1 structure that covers the bytes of a claim, or None."""
    protected, unprotected, payload, value = cast("list[Any]", cbor.decode(signature))
    if payload is not None:
        return "manifest.signature.changed"
    header = cast("dict[Any, Any]", cbor.decode(protected))
    if any(any(padding) for name, padding in unprotected.items() if str(name).startswith("pad")):
        return "manifest.padding.changed"
    if set(unprotected) - {"pad", "pad2", "sigTst", "sigTst2", "rVals", _CERTIFICATES}:
        return "manifest.signature.changed"
    certificates = header.get(_CERTIFICATES, unprotected.get(_CERTIFICATES))
    first = certificates[0] if isinstance(certificates, list) else certificates
    signed = cbor.encode_signature_input(protected, claim)
    return None if _is_signed(header[_ALGORITHM], cast("bytes", first), value, signed) else "manifest.claim.changed"


def _is_signed(algorithm: int, certificate: bytes, value: bytes, signed: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.x509 import load_der_x509_certificate

    key: Any = load_der_x509_certificate(certificate).public_key()
    try:
        if algorithm == _EDDSA:
            key.verify(value, signed)
            return True
        used = getattr(hashes, _HASHES[algorithm])()
        if isinstance(key, ec.EllipticCurvePublicKey):
            half = len(value) // 2
            r, s = int.from_bytes(value[:half], "big"), int.from_bytes(value[half:], "big")
            key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(used))
        else:
            key.verify(value, signed, padding.PSS(padding.MGF1(used), used.digest_size), used)
    except InvalidSignature:
        return False
    return True
