"""Specs of the drivers ``model``, ``bands`` and ``file``.

The module is imported to list plugins, so it must not import an array library.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field
from retalkit.plugins import DriverSpec, StageConfig

_FOLDER = Path(__file__).parent / "weights"
WEIGHTS: Final = {
    "real": _FOLDER / "real_lips.safetensors",
    "synthetic": _FOLDER / "speech_to_mouth.safetensors",
    "live": _FOLDER / "live.safetensors",
}
"""Mapping from the value of the option ``weights`` to the weights file in the package."""
ENCODER: Final = _FOLDER / "moonshine_tiny_en.safetensors"
"""Path of the weights of the speech encoder in the package."""


class ModelDriverConfig(StageConfig):
    """Options of the driver ``model``."""

    weights: Literal["real", "synthetic", "live"] = Field(default="real")
    """Network weights. ``real`` selects weights that were fine-tuned on the lips of real people. ``synthetic`` selects
    weights that were trained only on synthetic speech, for which all sources are known. ``live`` selects weights like
    ``real`` with a look-ahead of 0.2 s."""
    transcript: Path | None = None
    """Transcript of the speech as plain text (.txt) or timed subtitles (.srt, .vtt). Lip closures and mouth shapes are
    aligned with the phones of the transcript. Parts that do not match the speech are ignored. Requires
    retalkit[transcript]."""
    language: str = "en-us"
    """Language of the transcript as the name of an espeak-ng voice, such as en-us, en-gb, de, fr-fr or es."""

    def files(self) -> dict[str, Path]:
        """Return the paths of the selected weights file, of the speech encoder and of the transcript."""
        encoder = {"encoder": ENCODER} if self.weights == "real" else {}
        return {**super().files(), "weights": WEIGHTS[self.weights], **encoder}

    def packages(self) -> dict[str, str]:
        """Return the package that converts a transcript to phones, or an empty dictionary without a transcript."""
        return {} if self.transcript is None else {"espeakng_loader": "retalkit[transcript]"}

    def check_files(self) -> None:
        """Check the transcript and its language."""
        if self.transcript is not None:
            from retalkit_renderers.speech_to_mouth.transcript.guidance import Transcript

            Transcript.read(self.transcript, self.language)


class BandDriverConfig(StageConfig):
    """Options of ``bands``, which has no settings."""


class FileDriverConfig(StageConfig):
    """Options of ``file``."""

    path: Path
    """Path of a motion file in the format of `retalkit motion` (.csv or .json) or in .npz format."""

    def check_files(self) -> None:
        """Check the motion file."""
        from retalkit.media.motion_files import read_motion

        read_motion(self.path)


DRIVERS: Final = (
    DriverSpec(
        name="model",
        summary="small network trained on synthetic speech and fine-tuned on real lips",
        build="retalkit_renderers.speech_to_mouth.model:make_driver",
        config=ModelDriverConfig,
        api=2,
    ),
    DriverSpec(
        name="bands",
        summary="rules on band energies, without training",
        build="retalkit_renderers.speech_to_mouth.bands:make_driver",
        config=BandDriverConfig,
        api=2,
    ),
    DriverSpec(
        name="file",
        summary="mouth motion from a file, such as the output of `retalkit motion`",
        build="retalkit_renderers.speech_to_mouth.motion_file:FileDriver",
        config=FileDriverConfig,
        api=2,
    ),
)
