"""Names of the output codecs and their settings. The module imports no media library."""

from __future__ import annotations

from typing import Literal

Codec = Literal["h264", "hevc", "prores", "ffv1"]
Accelerator = Literal["nvenc", "qsv", "videotoolbox"]
Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]
"""Speed of x264 and x265."""
ProresProfile = Literal["auto", "proxy", "lt", "standard", "hq", "4444", "4444xq"]
AudioCodec = Literal["aac", "pcm", "flac"]
