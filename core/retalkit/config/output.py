"""Options of the output file: video encoding, audio and kept streams."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from retalkit.media.codec_names import Accelerator, AudioCodec, Codec, Preset, ProresProfile
from retalkit.media.pixel_format import FORMATS

if TYPE_CHECKING:
    from retalkit.media.video_codec import Encoding, StoredVideo

_GAIN = Field(ge=-80, le=40, description="Gain in dB.")
_TRACK = Field(ge=0, description="Audio track of the file, counted from 0; by default, the file's default track.")


class OutputConfig(BaseModel):
    """Encoding of the output file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    codec: Annotated[
        Literal["auto"] | Codec,
        Field(description="Video codec; 'auto' selects h264 for 8-bit video and hevc for video with more bits."),
    ] = "auto"
    crf: Annotated[
        int,
        Field(
            ge=0,
            le=51,
            description="Constant rate factor of h264 and hevc; lower values increase quality and file size.",
        ),
    ] = 17
    preset: Annotated[
        Literal["auto"] | Preset,
        Field(
            description="Preset of h264 and hevc: time that the encoder spends. 'auto' selects superfast for h264 and "
            "veryfast for hevc."
        ),
    ] = "auto"
    encoder: Annotated[
        Literal["auto"] | Accelerator,
        Field(
            description="Hardware that encodes h264 and hevc: nvenc (NVIDIA), qsv (Intel) or videotoolbox (Apple). "
            "'auto' selects the CPU, because its output is reproducible."
        ),
    ] = "auto"
    profile: Annotated[
        ProresProfile, Field(description="ProRes profile; 'auto' selects hq, or 4444 for 4:4:4 video.")
    ] = "auto"
    pixel_format: Annotated[
        str,
        Field(
            pattern=rf"^(auto|{'|'.join(FORMATS)})$",
            description="Pixel format in which frames are edited and encoded, such as yuv422p10le; 'auto' selects the "
            "format that fits the codec and the source.",
        ),
    ] = "auto"
    bit_depth: Annotated[
        Literal["auto", 8, 10, 12, 16],
        Field(description="Bits per sample; 'auto' keeps the source's depth, up to 10 bits for h264 and hevc."),
    ] = "auto"
    audio: Annotated[
        Literal["auto"] | AudioCodec,
        Field(description="Audio codec; 'auto' selects aac, pcm for prores, and flac for ffv1."),
    ] = "auto"
    keep: Annotated[
        Literal["none", "streams"],
        Field(
            description="'streams' copies the source's other audio tracks, subtitles, chapters, metadata and timecode."
        ),
    ] = "none"

    def encoding(self, source: StoredVideo) -> Encoding:
        """Return the encoding for a source. Raises OutputError if the options are incompatible."""
        from retalkit.media.video_codec import choose_encoding

        return choose_encoding(
            source,
            codec=None if self.codec == "auto" else self.codec,
            pixel_format=None if self.pixel_format == "auto" else self.pixel_format,
            bit_depth=None if self.bit_depth == "auto" else self.bit_depth,
            crf=self.crf,
            preset=None if self.preset == "auto" else self.preset,
            profile=self.profile,
            accelerator=None if self.encoder == "auto" else self.encoder,
        )

    def encoding_key(self) -> dict[str, Any]:
        """Return the options that affect the encoded video, for cache keys.

        Options that version 0.1 did not have are omitted if they have their default values.
        """
        names = ("codec", "encoder", "profile", "pixel_format", "bit_depth")
        changed = {name: getattr(self, name) for name in names if getattr(self, name) != "auto"}
        return {"crf": self.crf, "preset": self.preset, **changed}


class OriginalSound(BaseModel):
    """Original sound of the video in the output."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gain: Annotated[float, _GAIN] = 0.0
    ducking: Annotated[
        Literal["auto", "mute"] | Annotated[float, Field(ge=-80, le=0)],
        Field(
            description="Change of the original sound's level in dB while the speech is active, or 'mute' to silence "
            "the original sound wherever a speech is placed; 'auto' is 'mute' with cues and -12 without."
        ),
    ] = "auto"
    track: Annotated[int | None, _TRACK] = None


class SoundFile(BaseModel):
    """Additional file in the output's sound, such as music."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Annotated[Path, Field(description="Audio file, or a video with audio.")]
    gain: Annotated[float, _GAIN] = 0.0
    start: Annotated[float, Field(description="Start in the output in seconds.")] = 0.0
    offset: Annotated[float, Field(ge=0, description="Position in the file in seconds at which playback starts.")] = 0.0
    ducking: Annotated[
        float, Field(ge=-80, le=0, description="Change of the level in dB while the speech is active.")
    ] = 0.0
    track: Annotated[int | None, _TRACK] = None


class SoundConfig(BaseModel):
    """Sound of the output."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mix: Annotated[
        Path | None,
        Field(description="Finished mix that becomes the output's sound; the speech only drives the mouth."),
    ] = None
    speech: Annotated[float, Field(ge=-80, le=40, description="Gain of the speech in dB.")] = 0.0
    original: Annotated[
        Literal["auto", "none"] | OriginalSound,
        Field(description="Original sound below the speech; 'auto' keeps the original sound outside cues."),
    ] = "auto"
    files: Annotated[tuple[SoundFile, ...], Field(description="Additional files, such as music.")] = ()
    loudness: Annotated[
        float | None,
        Field(ge=-50, le=-5, description="Integrated loudness of the output's sound in LUFS, such as -16 or -23."),
    ] = None

    @field_validator("files")
    @classmethod
    def _files(cls, value: tuple[SoundFile, ...], info: Any) -> tuple[SoundFile, ...]:
        data: dict[str, Any] = info.data
        if value and data.get("mix") is not None:
            raise ValueError("must be empty if sound.mix is set, because the mix is already complete")
        return value


def expand_sound(value: str) -> dict[str, Any]:
    """Return the mapping for the short forms ``speech``, ``original`` and FILE of ``sound``."""
    if value == "speech":
        return {"original": "none"}
    return {"original": {}} if value == "original" else {"mix": value}
