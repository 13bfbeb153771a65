"""Settings of dataset preparation."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

FRAME_RATE: Final = 25
"""Frame rate of prepared clips in frames per second. All published networks are trained at this rate."""
FACE_SIZES: Final = (96, 256, 384)
"""Sides of the stored crops in pixels.

The crops for L-Net, Wav2Lip and the sync expert (96) and for E-Net (384) contain the face box. The crop for D-Net (256)
contains the larger square of ``retalkit.geometry.face_crop``.
"""
ALIGNED_SIZE: Final = 256
"""Side of D-Net's crop in pixels."""
RESTORED_SIZE: Final = 384
"""Side of E-Net's crop in pixels, which is cut from the restored frame if there is one."""
NEAREST: Final = 0.75 / FRAME_RATE
"""Largest difference in seconds between the time of a frame in the clip and in the source. Frames without a source
frame at their time are missing."""
WINDOW_FRAMES: Final = 5
"""Number of consecutive frames in a training window of L-Net, Wav2Lip and the sync expert."""


class PrepareSettings(BaseModel):
    """Settings of ``prepare``. Changed settings cause clips to be computed again, except for the splits and shards."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shortest: int = Field(default=16, ge=WINDOW_FRAMES, description="Minimum length of a clip in frames.")
    longest: int = Field(
        default=250, ge=WINDOW_FRAMES, description="Maximum length of a clip in frames. Longer tracks are cut."
    )
    chin: float = Field(
        default=0.08,
        ge=0,
        le=0.5,
        description="Downward extension of the face box as a fraction of its height, as the option `chin` of the lip "
        "syncers. L-Net's default is 0.08 and Wav2Lip's is 0.04. Published training code of the family crops without "
        "an extension and dubs with one.",
    )
    smallest_face: float = Field(default=64.0, ge=0, description="Minimum width of the face box in source pixels.")
    blurriest: float = Field(
        default=25.0,
        ge=0,
        description="Minimum variance of the Laplacian of the 96-pixel face, in grey levels squared. Sharp videos have "
        "140 to 1400, and a blur with a sigma of 2 pixels results in 7 to 31.",
    )
    largest_yaw: float = Field(
        default=45.0, gt=0, description="Maximum yaw in degrees of nine tenths of a clip's frames."
    )
    filter: bool = Field(default=True, description="Whether clips that fail the quality filter are left out.")
    correct_offset: bool = Field(default=True, description="Whether the estimated audio-visual offset is removed.")
    jpeg_quality: int = Field(default=95, ge=50, le=100, description="JPEG quality of the stored crops.")
    coefficients: bool = Field(
        default=True, description="Whether to fit 3DMM coefficients if the weights are in the store."
    )
    references: Literal["none", "neutral_warp", "dnet"] = Field(
        default="none",
        description="Expression editor of the additional reference faces for L-Net. S trains L-Net with D-Net's faces.",
    )
    restore: Literal["none", "auto", "gpen", "gfpgan"] = Field(
        default="none",
        description="Restorer of the 384-pixel faces, which are E-Net's targets. S restores them with GPEN. `auto`: "
        "the first of gpen and gfpgan whose weights are installed, otherwise none.",
    )


class SplitSettings(BaseModel):
    """Sizes of the splits and of the shards."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    validation: float = Field(default=0.1, ge=0, lt=1, description="Fraction of the speakers in the split `val`.")
    test: float = Field(default=0.1, ge=0, lt=1, description="Fraction of the speakers in the split `test`.")
    seed: int = Field(default=0, description="Seed of the assignment of speakers to splits.")
    shard_megabytes: float = Field(default=256.0, gt=0, description="Approximate size of a shard.")
