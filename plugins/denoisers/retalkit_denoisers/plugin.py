"""The denoisers' specs. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field
from retalkit.plugins import StageConfig, StageSpec, hookimpl
from retalkit.stages import StageKind

_WAVEFORM = frozenset({"speech:waveform"})


class SpectralGateConfig(StageConfig):
    """Options of ``spectral_gate``."""

    strength: float = Field(default=0.95, ge=0.0, le=1.0)
    """How much of what is taken for noise goes: 0 leaves all, 1 leaves nothing of it."""
    threshold: float = Field(default=1.0, ge=0.0, le=5.0)
    """Standard deviations above the noise's mean level, in dB, below which a band counts as noise."""


@hookimpl
def retalkit_stages() -> Iterable[StageSpec]:
    return [
        StageSpec(
            api=2,
            kind=StageKind.DENOISER,
            name="none",
            summary="Leaves the speech as it is.",
            build="retalkit_denoisers.none:NoDenoiser",
            licence="Apache-2.0",
            needs=_WAVEFORM,
            gives=_WAVEFORM,
        ),
        StageSpec(
            api=2,
            kind=StageKind.DENOISER,
            name="spectral_gate",
            summary="Spectral gating against the quietest moments nearby; fast, for steady noise.",
            build="retalkit_denoisers.spectral_gate:SpectralGate",
            licence="Apache-2.0 AND MIT",
            config=SpectralGateConfig,
            needs=_WAVEFORM,
            gives=_WAVEFORM,
            requires=("noisereduce",),
        ),
        StageSpec(
            api=2,
            kind=StageKind.DENOISER,
            name="rnnoise",
            summary="RNNoise recurrent network, for steady and changing noise.",
            build="retalkit_denoisers.rnnoise:Rnnoise",
            licence="Apache-2.0 AND BSD-3-Clause",
            needs=_WAVEFORM,
            gives=_WAVEFORM,
            requires=("pyrnnoise",),
        ),
    ]
