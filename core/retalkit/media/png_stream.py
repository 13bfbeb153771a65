"""Detection of streams of PNG images without a container, which image pipes of FFmpeg contain."""

from __future__ import annotations

from pathlib import Path

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def is_png_stream(path: Path) -> bool:
    """Return whether a file starts with a PNG image, which a second PNG image follows directly."""
    with path.open("rb") as file:
        if file.read(8) != _SIGNATURE:
            return False
        while len(header := file.read(8)) == 8:
            # The data of a chunk precedes a checksum of 4 bytes (PNG specification, section 5.3).
            file.seek(int.from_bytes(header[:4], "big") + 4, 1)
            if header[4:] == b"IEND":
                return file.read(8) == _SIGNATURE
    return False
