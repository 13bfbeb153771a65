"""Specs of the bundled denoisers. The module does not import a denoising library."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field, model_validator
from retalkit.plugins import StageConfig, StageSpec, hookimpl
from retalkit.stages import StageKind

_WAVEFORM = frozenset({"speech:waveform"})


class SpectralGateConfig(StageConfig):
    """Options of the denoiser ``spectral_gate``."""

    strength: float = Field(default=0.95, ge=0.0, le=1.0)
    """Fraction of the estimated noise to remove, from 0 (none) to 1 (all)."""
    threshold: float = Field(default=1.0, ge=0.0, le=5.0)
    """Level below which a frequency band is attenuated, in standard deviations above the mean noise level in dB."""


class AdaptiveConfig(StageConfig):
    """Options of the denoiser ``adaptive``."""

    strength: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of denoised speech in the mix for noisy speech. A value of 0 selects the original speech, and a value of 1
    selects the denoised speech. The default of 0.5 yields the highest lip correlation at every noise level."""
    clean: float = Field(default=30.0, ge=0.0, le=60.0)
    """Signal-to-noise ratio in dB at and above which the speech is unchanged."""
    noisy: float = Field(default=15.0, ge=-20.0, le=59.0)
    """Signal-to-noise ratio in dB at and below which the mix contains the full share of denoised speech. The value must
    be less than ``clean``."""

    @model_validator(mode="after")
    def _check_order(self) -> AdaptiveConfig:
        if self.noisy >= self.clean:
            raise ValueError(f"noisy: expected a value below clean ({self.clean} dB), got {self.noisy} dB")
        return self


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
            parallel=True,
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
            parallel=True,
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
            parallel=True,
            requires=("pyrnnoise",),
        ),
        StageSpec(
            api=2,
            kind=StageKind.DENOISER,
            name="adaptive",
            summary="RNNoise for noisy speech. Clean speech passes unchanged.",
            build="retalkit_denoisers.adaptive:Adaptive",
            licence="Apache-2.0 AND BSD-3-Clause",
            version="2",
            config=AdaptiveConfig,
            needs=_WAVEFORM,
            gives=_WAVEFORM,
            parallel=True,
            requires=("pyrnnoise",),
        ),
    ]
