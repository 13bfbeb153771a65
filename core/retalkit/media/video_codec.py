"""Video codecs of the output: encoder settings, pixel formats and containers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2

from retalkit.errors import OutputError
from retalkit.media.codec_names import Accelerator, AudioCodec, Codec, ProresProfile
from retalkit.media.colour import Colour
from retalkit.media.hdr import HdrMetadata, is_hdr
from retalkit.media.pixel_format import FORMATS, YUV420P, PixelFormat, format_named

CONTAINERS: dict[str, str] = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""FFmpeg container format by suffix."""
_VIDEO_SUFFIXES: dict[str, tuple[str, ...]] = {
    "h264": (".mp4", ".m4v", ".mov", ".mkv"),
    "hevc": (".mp4", ".m4v", ".mov", ".mkv"),
    "prores": (".mov", ".mkv"),
    "ffv1": (".mkv",),
}
_AUDIO_SUFFIXES: dict[str, tuple[str, ...]] = {
    "aac": (".mp4", ".m4v", ".mov", ".mkv"),
    "pcm": (".mov", ".mkv"),
    "flac": (".mp4", ".mkv"),
}
_ENCODERS = {"h264": "libx264", "hevc": "libx265", "prores": "prores_ks", "ffv1": "ffv1"}
_FORMATS: dict[str, frozenset[str]] = {
    "h264": frozenset(name for name, each in FORMATS.items() if each.depth <= 10),
    "hevc": frozenset(name for name, each in FORMATS.items() if each.depth <= 12),
    "prores": frozenset(("yuv422p10le", "yuv444p10le")),
    "ffv1": frozenset(FORMATS),
}
_PRORES_PROFILES = {"proxy": "0", "lt": "1", "standard": "2", "hq": "3", "4444": "4", "4444xq": "5"}

_HARDWARE: dict[Accelerator, dict[str, str]] = {
    "nvenc": {"rc": "vbr", "cq": "{crf}", "b": "0", "preset": "p5"},
    "qsv": {"global_quality": "{crf}", "preset": "medium"},
    "videotoolbox": {"q": "65", "realtime": "0"},
}
"""Options of hardware encoders for a constant quality. VideoToolbox has no constant rate factor."""

_OPENCV_AVX512F = 13
"""Value of ``cv::CpuFeatures::CPU_AVX_512F``, which OpenCV's Python module does not export."""
_WITHOUT_AVX512 = "asm=SSE2Fast,LZCNT,SSE4.2,AVX,FMA3,BMI2,AVX2"

DEFAULT_CRF = 17
_DEFAULT_PRESETS = {"h264": "superfast", "hevc": "veryfast"}
_MACROBLOCK_TREE = ("mbtree=1", "rc-lookahead=10")
"""Options of x264 that the preset ``superfast`` omits.

With these options, ``superfast`` at a constant rate factor of 17 has the SSIM of ``veryfast`` at 18 and takes 0.57
to 0.69 of its CPU time. Files of talking heads are 6 to 40 % larger (benchmarks/README.md).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """Codec and settings of the output video."""

    codec: Codec = "h264"
    pixel_format: PixelFormat = YUV420P
    """Pixel format in which frames are edited and encoded."""
    crf: float = DEFAULT_CRF
    """Constant rate factor of x264 and x265."""
    preset: str = _DEFAULT_PRESETS["h264"]
    """Preset of x264 and x265."""
    profile: str = "hq"
    """ProRes profile."""
    accelerator: Accelerator | None = None
    """Hardware that encodes the video, or None for the CPU."""
    hdr: HdrMetadata = HdrMetadata()

    @property
    def encoder(self) -> str:
        """FFmpeg name of the encoder."""
        return _ENCODERS[self.codec] if self.accelerator is None else f"{self.codec}_{self.accelerator}"

    @property
    def encoder_format(self) -> str:
        """FFmpeg pixel format of the encoder's input, to which FFmpeg converts frames of ``pixel_format``."""
        # QSV only accepts planes with interleaved chroma. The conversion does not change the samples.
        return "nv12" if self.accelerator == "qsv" else self.pixel_format.name

    @property
    def segment_format(self) -> str:
        """FFmpeg container format of segments. NUT does not support ProRes."""
        return "mov" if self.codec == "prores" else "nut"

    @property
    def size_multiple(self) -> tuple[int, int]:
        """Numbers of which the encoded width and height must be multiples."""
        if self.codec == "ffv1":
            return 1, 1
        return self.pixel_format.chroma_x, self.pixel_format.chroma_y

    def options(self) -> dict[str, str]:
        """Return the options of the encoder."""
        if self.accelerator is not None:
            return {name: value.format(crf=f"{self.crf:g}") for name, value in _HARDWARE[self.accelerator].items()}
        if self.codec == "h264":
            options = {"preset": self.preset, "crf": f"{self.crf:g}", "a53cc": "0"}
            names = {"master-display": "mastering-display", "max-cll": "cll"}
            parameters = [f"{names[key]}={value}" for key, value in self.hdr.encoder_parameters().items()]
            if self.preset == "superfast":
                parameters[:0] = _MACROBLOCK_TREE
            # The AVX-512 code of x264's macroblock tree (core 165) reads uninitialised memory if the width is not a
            # multiple of 256, which makes the output non-deterministic. AVX2 is equally fast for this encoder.
            if cv2.checkHardwareSupport(_OPENCV_AVX512F):
                parameters.insert(0, _WITHOUT_AVX512)
            if parameters:
                options["x264-params"] = ":".join(parameters)
            return options
        if self.codec == "hevc":
            # x265's output depends on the number of frame threads. The version message would be stored in the video.
            parameters = ["log-level=error", "pools=2", "frame-threads=1", "info=0"]
            parameters += [f"{key}={value}" for key, value in self.hdr.encoder_parameters().items()]
            return {"preset": self.preset, "crf": f"{self.crf:g}", "x265-params": ":".join(parameters)}
        if self.codec == "prores":
            return {"profile": _PRORES_PROFILES[self.profile], "vendor": "apl0"}
        # Version 3 with one slice set per thread and checksums, which archives require.
        return {"level": "3", "g": "1", "slices": "4", "slicecrc": "1"}


DEFAULT_ENCODING = Encoding()


class StoredVideo(Protocol):
    """Properties of a source that determine the default encoding."""

    @property
    def pixel_format(self) -> PixelFormat: ...
    @property
    def colour(self) -> Colour: ...
    @property
    def hdr(self) -> HdrMetadata: ...


def choose_encoding(
    source: StoredVideo,
    *,
    codec: Codec | None = None,
    pixel_format: str | None = None,
    bit_depth: int | None = None,
    crf: float = DEFAULT_CRF,
    preset: str | None = None,
    profile: ProresProfile = "auto",
    accelerator: Accelerator | None = None,
) -> Encoding:
    """Return the encoding for a source. None selects the value that fits the source.

    The default codec is H.264 for 8-bit sources and HEVC for sources with more bits. The default depth is that of the
    source, up to 10 bits for H.264 and HEVC. The default chroma subsampling is 4:2:0 for H.264 and HEVC, 4:2:2 or 4:4:4
    for ProRes, and that of the source for FFV1.

    ``accelerator``: hardware that encodes the video, or None for the CPU. Hardware encoders support 8-bit 4:2:0 video.

    Raises:
        OutputError: the codec does not support the pixel format or the depth, ``pixel_format`` and ``bit_depth``
            contradict each other, 8 bits are requested for high-dynamic-range video, or the hardware encoder does not
            support the codec or the pixel format.
    """
    stored = source.pixel_format
    deep = (bit_depth or (FORMATS[pixel_format].depth if pixel_format else stored.depth)) > 8
    codec = codec or ("hevc" if deep else "h264")
    if codec == "prores":
        if profile == "auto":
            wanted = FORMATS[pixel_format].chroma if pixel_format else stored.chroma
            profile = "4444" if wanted == "444" else "hq"
        default = format_named("444" if profile.startswith("4444") else "422", bit_depth or 10)
    elif codec == "ffv1":
        default = format_named(stored.chroma, bit_depth or stored.depth)
    else:
        default = format_named("420", bit_depth or min(stored.depth, 10))
    chosen = FORMATS[pixel_format] if pixel_format else default
    if bit_depth and chosen.depth != bit_depth:
        raise OutputError(
            f"output.pixel_format: {chosen.name} has {chosen.depth} bits, but output.bit_depth is {bit_depth}; "
            "remove one of the two options",
            code="unsupported-pixel-format",
        )
    if chosen.name not in _FORMATS[codec] or (codec == "prores" and chosen.chroma != default.chroma):
        names = [default.name] if codec == "prores" and chosen.depth == 10 else sorted(_FORMATS[codec])
        raise OutputError(
            f"output: {codec} does not support the pixel format {chosen.name} ({chosen.depth} bits); use "
            f"{', '.join(names)}",
            code="unsupported-pixel-format",
        )
    if accelerator is not None and (codec not in ("h264", "hevc") or chosen != YUV420P):
        raise OutputError(
            f"output.encoder: {accelerator} encodes h264 and hevc with the pixel format yuv420p, not {codec} with "
            f"{chosen.name}; remove output.encoder",
            code="unsupported-pixel-format",
        )
    if chosen.depth == 8 and is_hdr(source.colour.transfer):
        raise OutputError(
            "output: the video is HDR (PQ or HLG), which 8 bits cannot represent without visible steps; remove "
            "output.bit_depth and output.pixel_format, or convert the video to SDR first",
            code="hdr-requires-10-bit",
        )
    return Encoding(
        codec=codec,
        pixel_format=chosen,
        crf=crf,
        preset=preset or _DEFAULT_PRESETS.get(codec, DEFAULT_ENCODING.preset),
        profile=profile if codec == "prores" else "hq",
        accelerator=accelerator,
        hdr=source.hdr if is_hdr(source.colour.transfer) else HdrMetadata(),
    )


def choose_audio_codec(codec: Codec, requested: AudioCodec | None) -> AudioCodec:
    """Return the audio codec of an output file. The default is AAC, PCM for ProRes, and FLAC for FFV1."""
    if requested is not None:
        return requested
    return "pcm" if codec == "prores" else "flac" if codec == "ffv1" else "aac"


def check_container(path: Path, codec: Codec, audio: AudioCodec) -> None:
    """Check that the container with the suffix of ``path`` supports both codecs.

    Raises:
        OutputError: the suffix is unknown, or the container does not support a codec.
    """
    container_format(path)
    suffix = path.suffix.lower()
    for kind, name, suffixes in (("video", codec, _VIDEO_SUFFIXES[codec]), ("audio", audio, _AUDIO_SUFFIXES[audio])):
        if suffix not in suffixes:
            raise OutputError(
                f"{path}: a {suffix} file cannot contain {name} {kind}; use the suffix {' or '.join(suffixes)}, or "
                f"another {'output.codec' if kind == 'video' else 'output.audio'}",
                code="codec-not-in-container",
            )


def container_format(path: Path) -> str:
    """Return the FFmpeg container format for the suffix of ``path``. Raises OutputError if the suffix is unknown."""
    name = CONTAINERS.get(path.suffix.lower())
    if name is None:
        raise OutputError(
            f"{path}: unsupported suffix '{path.suffix}'; use .mp4, .mov or .mkv", code="unsupported-output-format"
        )
    return name
