"""Static metadata of high-dynamic-range video (SMPTE ST 2086 and CTA-861.3)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from retalkit.media.side_data import side_data

TRANSFER_PQ = 16
"""H.273 code of the transfer function SMPTE ST 2084 (PQ)."""
TRANSFER_HLG = 18
"""H.273 code of the transfer function ARIB STD-B67 (HLG)."""


@dataclass(frozen=True, slots=True)
class HdrMetadata:
    """Static metadata in the units of the H.265 SEI messages."""

    primaries: tuple[int, ...] | None = None
    """Chromaticity of red, green, blue and white (x, y for each) in units of 0.00002, or None if unknown."""
    luminance: tuple[int, int] | None = None
    """Maximum and minimum luminance of the mastering display in units of 0.0001 cd/m2, or None if unknown."""
    light_level: tuple[int, int] | None = None
    """Maximum and maximum frame-average light level of the content in cd/m2, or None if unknown."""

    def encoder_parameters(self) -> dict[str, str]:
        """Return the parameters ``master-display`` and ``max-cll`` of x265. Unknown values are omitted."""
        found: dict[str, str] = {}
        if self.primaries is not None and self.luminance is not None:
            red, green, blue, white = (self.primaries[start : start + 2] for start in range(0, 8, 2))
            pairs = (("G", green), ("B", blue), ("R", red), ("WP", white), ("L", self.luminance))
            found["master-display"] = "".join(f"{name}({first},{second})" for name, (first, second) in pairs)
        if self.light_level is not None:
            found["max-cll"] = "{},{}".format(*self.light_level)
        return found


def is_hdr(transfer: int) -> bool:
    """Return whether an H.273 transfer code denotes high-dynamic-range video."""
    return transfer in (TRANSFER_PQ, TRANSFER_HLG)


def hdr_metadata_of(frame: av.VideoFrame) -> HdrMetadata:
    """Return the static metadata in the side data of a decoded frame. Missing or damaged data is unknown."""
    primaries: tuple[int, ...] | None = None
    luminance: tuple[int, int] | None = None
    light_level: tuple[int, int] | None = None
    # The side data are FFmpeg's AVMasteringDisplayMetadata (ten fractions and two flags) and AVContentLightMetadata.
    display = side_data(frame, "MASTERING_DISPLAY_METADATA")
    if display is not None and len(display) >= 88:
        numbers = [int(number) for number in np.frombuffer(display[:88], dtype=np.int32)]
        pairs = zip(numbers[0:20:2], numbers[1:20:2], strict=True)
        values = [Fraction(top, bottom) if bottom else Fraction(0) for top, bottom in pairs]
        if numbers[20]:
            primaries = tuple(round(value * 50000) for value in values[:8])
        if numbers[21]:
            luminance = (round(values[9] * 10000), round(values[8] * 10000))
    level = side_data(frame, "CONTENT_LIGHT_LEVEL")
    if level is not None and len(level) >= 8:
        first, second = (int(number) for number in np.frombuffer(level[:8], dtype=np.uint32))
        light_level = (first, second)
    return HdrMetadata(primaries, luminance, light_level)
