"""Plugin kinds and the template values for each kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from retalkit.errors import ConfigError
from retalkit.plugins.registry import nearest
from retalkit.stages import StageKind

METRIC: Final = "metric"


@dataclass(frozen=True, slots=True)
class PluginKind:
    """Plugin kind with its template values."""

    name: str
    """Name of the kind, such as ``enhancer``. The kind's template directory has the same name."""
    summary: str
    """One-line summary of the example plugin for ``retalkit plugins``."""
    option: str
    """Name of the example plugin's option, or an empty string for a metric."""
    config_path: str
    """Run-file key of the stage, such as ``lip_syncer`` or ``enhancers.1``, or an empty string for a metric."""
    needs: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    """Modules imported by the example plugin that are not dependencies of Retalkit."""


_KINDS: Final = (
    PluginKind(
        name=StageKind.DETECTOR.value,
        summary="MediaPipe face mesh, applied to each frame independently",
        option="min_confidence",
        config_path="detector",
        gives=("landmarks:mesh478",),
        requires=("mediapipe",),
    ),
    PluginKind(
        name=StageKind.RECONSTRUCTOR.value,
        summary="Head pose from a rigid fit of the clip's mean face",
        option="samples",
        config_path="reconstructor",
        needs=("landmarks:mesh478",),
        gives=("coefficients:mesh",),
    ),
    PluginKind(
        name=StageKind.EXPRESSION_EDITOR.value,
        summary="Applies the mouth of one selected frame to every frame",
        option="openness",
        config_path="expression_editor",
        needs=("coefficients:mesh", "landmarks:mesh478"),
        gives=("reference:landmarks",),
    ),
    PluginKind(
        name=StageKind.DENOISER.value,
        summary="Noise gate that attenuates quiet audio",
        option="threshold",
        config_path="denoiser",
        needs=("speech:waveform",),
        gives=("speech:waveform",),
    ),
    PluginKind(
        name=StageKind.LIP_SYNCER.value,
        summary="Opens the mouth in proportion to the loudness of the speech",
        option="opening",
        config_path="lip_syncer",
        needs=("landmarks:mesh478", "reference:image", "reference:landmarks", "speech:activity", "speech:waveform"),
        gives=("face:edit",),
    ),
    PluginKind(
        name=StageKind.ENHANCER.value,
        summary="Sharpens the edited face with an unsharp mask",
        option="strength",
        config_path="enhancers.1",
        needs=("face:edit",),
        gives=("face:edit",),
    ),
    PluginKind(
        name=METRIC,
        summary="Face sharpness, measured as the mean absolute Laplacian",
        option="",
        config_path="",
    ),
)

KIND_NAMES: Final = tuple(kind.name for kind in _KINDS)


def kind_named(text: str) -> PluginKind:
    """Return the kind with the given name, in which hyphens and underscores are equivalent.

    Raises ConfigError for an unknown name. The error message suggests the closest name.
    """
    name = text.replace("-", "_").lower()
    for kind in _KINDS:
        if kind.name == name:
            return kind
    raise ConfigError(
        f"--kind: unknown plugin kind '{text}'{nearest(name, KIND_NAMES)}; available kinds: {', '.join(KIND_NAMES)}",
        code="unknown-kind",
    )
