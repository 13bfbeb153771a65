"""Options, stage spec and checkpoints of the lip syncer ``wav2lip``.

The module is imported to list stages, so it must not import torch.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field
from retalkit.plugins import StageConfig, StageSpec
from retalkit.stages import DigitalSourceType, StageKind
from retalkit.weights.checkpoint import Checkpoint

NAME: Final = "wav2lip"
ACCURATE: Final = "wav2lip"
"""Checkpoint that was trained with L1 loss and the sync expert."""
ADVERSARIAL: Final = "wav2lip_gan"
"""Checkpoint that was also trained with the visual quality discriminator."""


class Wav2LipConfig(StageConfig):
    """Options of the lip syncer ``wav2lip``."""

    checkpoint: Literal["wav2lip", "wav2lip_gan"] = "wav2lip"
    """Published checkpoint. According to the authors, the lip sync of ``wav2lip`` is more accurate, and the images of
    ``wav2lip_gan``, which was trained with a visual quality discriminator, are better.
    """
    gate: bool = True
    """Whether to replace the input audio with silence wherever no speech is detected, so that noise does not move the
    mouth. The published script has no such gate.
    """
    chin: float = Field(default=0.04, ge=0.0, le=0.5)
    """Downward extension of the face box as a fraction of the box height. The default equals the published extension of
    10 pixels for a box height of 250 pixels.
    """
    batch: int = Field(default=16, ge=1, le=128)
    """Maximum number of faces per network call on a GPU. On the CPU, each call processes one face, because larger
    batches are not faster.
    """

    def checkpoints(self) -> tuple[str, ...]:
        """Return the name of the selected checkpoint."""
        return (self.checkpoint,)


STAGES: Final = (
    StageSpec(
        api=2,
        kind=StageKind.LIP_SYNCER,
        name=NAME,
        summary="Wav2Lip: generates the lower half of the face at 96 x 96 from speech",
        build="retalkit_renderers.wav2lip.syncer:Wav2LipLipSyncer",
        licence="Apache-2.0; weights for research, academic and personal use only",
        config=Wav2LipConfig,
        needs=frozenset({"frames", "reference:image", "speech:mel", "speech:activity"}),
        gives=frozenset({"face:edit"}),
        requires=("torch",),
        install="retalkit[paper]",
        optional_checkpoints=(ACCURATE, ADVERSARIAL),
        digital_source_type=DigitalSourceType.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA,
    ),
)


def _copies(file: str) -> tuple[str, ...]:
    # The authors' OneDrive links are invalid since 2025 (Rudrabha/Wav2Lip, issue 739). A commenter in that issue
    # refers to the second copy.
    return (
        f"https://huggingface.co/Nekochu/Wav2Lip/resolve/main/{file}",
        f"https://huggingface.co/numz/wav2lip_studio/resolve/main/Wav2lip/{file}",
    )


def _checkpoint(name: str, summary: str, file: str, size: int, sha256: str) -> Checkpoint:
    return Checkpoint(
        name=name,
        summary=summary,
        file=file,
        urls=_copies(file),
        # The terms are stated in the README of the publisher's repository, Rudrabha/Wav2Lip. The training data (LRS2)
        # excludes commercial use.
        licence="research, academic and personal use only (IIIT Hyderabad, 2020)",
        commercial_use=False,
        shapes="retalkit_renderers.wav2lip.network:parameter_shapes",
        # The authors did not publish a hash. Size and hash are those of several independent copies on Hugging Face.
        size=size,
        sha256=sha256,
        # The training checkpoint also contains the optimiser state.
        entries=("state_dict",),
        strip_from_names="module.",
    )


CHECKPOINTS: Final = (
    _checkpoint(
        ACCURATE,
        "Wav2Lip: generates the lower half of a 96 x 96 face from speech",
        "wav2lip.pth",
        435_807_851,
        "b78b681b68ad9fe6c6fb1debc6ff43ad05834a8af8a62ffc4167b7b34ef63c37",
    ),
    _checkpoint(
        ADVERSARIAL,
        "Wav2Lip trained with a visual quality discriminator",
        "wav2lip_gan.pth",
        435_801_865,
        "ca9ab7b7b812c0e80a6e70a5977c545a1e8a365a6c49d5e533023c034d7ac3d8",
    ),
)
