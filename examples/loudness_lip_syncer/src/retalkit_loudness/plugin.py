"""Stage spec of this package.

This module is imported whenever stages are listed, so it must not import numpy, cv2 or torch.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field
from retalkit.plugins import StageConfig, StageSpec, hookimpl
from retalkit.stages import DigitalSourceType, StageKind


class LoudnessLipSyncerConfig(StageConfig):
    """Options of ``loudness``."""

    opening: float = Field(default=1.0, ge=0.0, le=2.0)
    """Mouth opening at the loudest speech. A value of 1 corresponds to the person's widest opening in the clip."""
    range_db: float = Field(default=30.0, gt=0.0, le=80.0)
    """Level range in dB over which the mouth opening varies. The mouth stays at rest if the speech level is below the
    loudest level by at least this range.
    """
    attack: float = Field(default=0.05, ge=0.0, le=1.0)
    """Time constant of the opening motion in seconds."""
    release: float = Field(default=0.1, ge=0.0, le=1.0)
    """Time constant of the closing motion in seconds."""
    lead: float = Field(default=0.04, ge=-0.5, le=0.5)
    """Time in seconds by which the mouth motion leads the audio, as in natural speech. The lead also compensates for
    the smoothing delay.
    """


@hookimpl
def retalkit_stages() -> Iterable[StageSpec]:
    """Return the stage specs of this package."""
    return [
        StageSpec(
            kind=StageKind.LIP_SYNCER,
            name="loudness",
            summary="Baseline that opens the mouth in proportion to speech loudness and ignores phonemes",
            build="retalkit_loudness.lip_syncer:LoudnessLipSyncer",
            licence="Apache-2.0",
            config=LoudnessLipSyncerConfig,
            needs=frozenset({"frames", "landmarks:mesh478", "speech:activity", "speech:waveform"}),
            gives=frozenset({"face:edit"}),
            # The lip syncer warps the person's own pixels. The Content Credentials of the output declare this type.
            digital_source_type=DigitalSourceType.ALGORITHMICALLY_ENHANCED,
            # Increment the version whenever the stage's results change, because the version is part of the cache key.
            version="1",
            # Version of the lip syncer contract (see retalkit.stages.CONTRACT_VERSIONS).
            api=2,
        )
    ]
