"""Planar Y'CbCr pixel formats in which frames are edited and encoded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """Planar Y'CbCr pixel format without alpha."""

    name: str
    """FFmpeg name, such as ``yuv420p10le``."""
    depth: int
    """Bits per sample: 8, 10, 12 or 16."""
    chroma_x: int
    """Number of pixels that a chroma sample covers horizontally, 1 or 2."""
    chroma_y: int
    """Number of pixels that a chroma sample covers vertically, 1 or 2."""

    @property
    def dtype(self) -> str:
        """Name of the NumPy data type of the samples."""
        return "uint8" if self.depth == 8 else "uint16"

    @property
    def chroma(self) -> str:
        """Chroma subsampling: ``420``, ``422`` or ``444``."""
        return _CHROMA[self.chroma_x, self.chroma_y]


_SUBSAMPLING = {"420": (2, 2), "422": (2, 1), "444": (1, 1)}
_CHROMA = {steps: name for name, steps in _SUBSAMPLING.items()}
_SUFFIXES = {8: "", 10: "10le", 12: "12le", 16: "16le"}

FORMATS = {
    f"yuv{chroma}p{suffix}": PixelFormat(f"yuv{chroma}p{suffix}", depth, *steps)
    for depth, suffix in _SUFFIXES.items()
    for chroma, steps in _SUBSAMPLING.items()
}
"""Supported formats by FFmpeg name."""
YUV420P = FORMATS["yuv420p"]


def format_named(chroma: str, depth: int) -> PixelFormat:
    """Return the format with the given chroma subsampling (``420``, ``422`` or ``444``) and depth."""
    return FORMATS[f"yuv{chroma}p{_SUFFIXES[depth]}"]


def format_like(name: str) -> PixelFormat:
    """Return the smallest supported format that represents all samples of the FFmpeg pixel format ``name``.

    RGB, greyscale and palette formats are edited as 4:2:0 with the same depth.
    """
    from av import VideoFormat

    stored = VideoFormat(name, 16, 16)
    depth = max(component.bits for component in stored.components)
    depth = next((known for known in _SUFFIXES if known >= depth), 16)
    if stored.is_rgb or stored.has_palette or len(stored.components) < 3:
        return format_named("420", depth)
    luma, blue = stored.components[0], stored.components[1]
    steps = (luma.width // max(blue.width, 1), luma.height // max(blue.height, 1))
    if steps[0] >= 2:
        return format_named("420" if steps[1] >= 2 else "422", depth)
    return format_named("444", depth)
