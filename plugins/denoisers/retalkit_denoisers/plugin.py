"""Specs of the bundled denoisers. The module does not import a denoising library."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field
from retalkit.plugins import StageConfig, StageSpec, hookimpl
from retalkit.stages import StageKind

_WAVEFORM = frozenset({"speech:waveform"})


class SpectralGateConfig(StageConfig):
    """Options of the denoiser ``spectral_gate``."""

    strength: float = Field(default=0.95, ge=0.0, le=1.0)
    """Fraction of the estimated noise to remove, from 0 (none) to 1 (all)."""
    threshold: float = Field(default=1.0, ge=0.0, le=5.0)
    """Level below which a frequency band is attenuated, in standard deviations above the mean noise level in dB."""


@hookimpl
def retalkit_stages() -> Iterable[StageSpec]:
    return [
        StageSpec(
            api=2,
            kind=StageKind.DENOISER,
            name="none",
            summary="No denoising.",
            build="retalkit_denoisers.none:NoDenoiser",
            licence="Apache-2.0",
            needs=_WAVEFORM,
            gives=_WAVEFORM,
        ),
        StageSpec(
            api=2,
            kind=StageKind.DENOISER,
            name="spectral_gate",
            summary="Spectral gating with noise estimated from nearby quiet segments; fast, for stationary noise.",
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
            summary="RNNoise recurrent network, for stationary and non-stationary noise.",
            build="retalkit_denoisers.rnnoise:Rnnoise",
            licence="Apache-2.0 AND BSD-3-Clause",
            needs=_WAVEFORM,
            gives=_WAVEFORM,
            requires=("pyrnnoise",),
        ),
    ]
