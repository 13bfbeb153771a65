"""Decoder for the subset of CBOR (RFC 8949) that COSE signatures contain."""

from __future__ import annotations

from typing import Any, Final

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_CONSTANTS: Final = {20: False, 21: True, 22: None}
_MAX_DEPTH: Final = 16


def decode(data: bytes) -> Any:
    """Return the single item that ``data`` encodes. Tags are omitted. Raises ValueError if the data is invalid."""
    value, end = _item(data, 0, 0)
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes after the CBOR item")
    return value


def encode_bytes(data: bytes) -> bytes:
    """Return the encoding of a byte string."""
    return _head(_BYTES, len(data)) + data


def encode_signature_input(protected: bytes, payload: bytes) -> bytes:
    """Return the bytes that a COSE_Sign1 signature covers (RFC 9052, section 4.4)."""
    name = b"Signature1"
    return (
        _head(_ARRAY, 4)
        + _head(_TEXT, len(name))
        + name
        + encode_bytes(protected)
        + encode_bytes(b"")
        + encode_bytes(payload)
    )


def _head(kind: int, value: int) -> bytes:
    if value < 24:
        return bytes([kind << 5 | value])
    size = next(size for size in (1, 2, 4, 8) if value < 1 << 8 * size)
    return bytes([kind << 5 | {1: 24, 2: 25, 4: 26, 8: 27}[size]]) + value.to_bytes(size, "big")


def _item(data: bytes, start: int, depth: int) -> tuple[Any, int]:
    if start >= len(data) or depth > _MAX_DEPTH:
        raise ValueError("the CBOR item is truncated or nested too deeply")
    kind, argument = data[start] >> 5, data[start] & 31
    position = start + 1
    if argument >= 24:
        if argument > 27:
            raise ValueError("indefinite lengths are not supported")
        size = 1 << argument - 24
        argument = int.from_bytes(data[position : position + size], "big")
        position += size
    if kind in (_BYTES, _TEXT):
        part = data[position : position + argument]
        if len(part) != argument:
            raise ValueError("a CBOR string is truncated")
        return (part if kind == _BYTES else part.decode()), position + argument
    if kind in (_ARRAY, _MAP):
        count = argument * (2 if kind == _MAP else 1)
        if count > len(data):
            raise ValueError("a CBOR array is truncated")
        items: list[Any] = []
        for _ in range(count):
            value, position = _item(data, position, depth + 1)
            items.append(value)
        return (items if kind == _ARRAY else dict(zip(items[::2], items[1::2], strict=True))), position
    if kind == _TAG:
        return _item(data, position, depth + 1)
    if kind == _SIMPLE:
        if argument not in _CONSTANTS:
            raise ValueError(f"the simple value {argument} is not supported")
        return _CONSTANTS[argument], position
    return (argument if kind == _UNSIGNED else -1 - argument), position
