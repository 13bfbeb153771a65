"""What this package offers. Light: read whenever stages are listed, so it imports no numpy, cv2 or torch."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field
from retalkit.plugins import StageConfig, StageSpec, hookimpl
from retalkit.stages import StageKind


class LoudnessLipSyncerConfig(StageConfig):
    """Options of ``loudness``."""

    opening: float = Field(default=1.0, ge=0.0, le=2.0)
    """How far the loudest speech opens the mouth; 1 is as wide as this person opens it in the clip."""
    range_db: float = Field(default=30.0, gt=0.0, le=80.0)
    """Speech that is so many dB quieter than the loudest no longer opens the mouth."""
    attack: float = Field(default=0.05, ge=0.0, le=1.0)
    """Seconds in which the mouth covers most of the way when the speech becomes louder."""
    release: float = Field(default=0.1, ge=0.0, le=1.0)
    """The same when it becomes quieter."""
    lead: float = Field(default=0.04, ge=-0.5, le=0.5)
    """Seconds by which the mouth is ahead of the sound, as mouths are; it also makes up for what smoothing delays."""


@hookimpl
def retalkit_stages() -> Iterable[StageSpec]:
    """The stage of this package."""
    return [
        StageSpec(
            kind=StageKind.LIP_SYNCER,
            name="loudness",
            summary="Opens the mouth as far as the speech is loud; knows no sounds (a baseline)",
            build="retalkit_loudness.lip_syncer:LoudnessLipSyncer",
            licence="Apache-2.0",
            config=LoudnessLipSyncerConfig,
            needs=frozenset({"frames", "landmarks:mesh478", "speech:activity", "speech:waveform"}),
            gives=frozenset({"face:edit"}),
            # Raise it whenever the result changes: it is part of the cache key.
            version="1",
            # The version of Retalkit's contracts that this was made for.
            api=1,
        )
    ]
