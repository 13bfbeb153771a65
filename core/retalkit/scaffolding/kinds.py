"""What the packages of each kind differ in, as plain facts for the templates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from retalkit.errors import ConfigError
from retalkit.plugins.registry import nearest
from retalkit.stages import StageKind

METRIC: Final = "metric"


@dataclass(frozen=True, slots=True)
class PluginKind:
    """One kind of package."""

    name: str
    """``enhancer``, ...; also the folder of its templates."""
    summary: str
    """One line for ``retalkit plugins``: what the example in it does."""
    option: str
    """Name of the example's option; a metric has none."""
    place: str
    """Where a configuration names the stage, such as ``lip_syncer`` or ``enhancers.1``."""
    needs: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    """Modules without which it cannot run, besides those that Retalkit cannot do without."""


_KINDS: Final = (
    PluginKind(
        name=StageKind.DETECTOR.value,
        summary="MediaPipe's face mesh, every frame by itself",
        option="min_confidence",
        place="detector",
        gives=("landmarks:mesh478",),
        requires=("mediapipe",),
    ),
    PluginKind(
        name=StageKind.RECONSTRUCTOR.value,
        summary="Head pose by a rigid fit of one mean face of the whole clip",
        option="samples",
        place="reconstructor",
        needs=("landmarks:mesh478",),
        gives=("coefficients:mesh",),
    ),
    PluginKind(
        name=StageKind.EXPRESSION_EDITOR.value,
        summary="One mouth of the clip, worn in every frame",
        option="openness",
        place="expression_editor",
        needs=("coefficients:mesh", "landmarks:mesh478"),
        gives=("reference:landmarks",),
    ),
    PluginKind(
        name=StageKind.DENOISER.value,
        summary="A noise gate: what is quiet becomes quieter",
        option="threshold",
        place="denoiser",
        needs=("speech:waveform",),
        gives=("speech:waveform",),
    ),
    PluginKind(
        name=StageKind.LIP_SYNCER.value,
        summary="Opens the mouth as far as the speech is loud",
        option="opening",
        place="lip_syncer",
        needs=("landmarks:mesh478", "reference:image", "reference:landmarks", "speech:activity", "speech:waveform"),
        gives=("face:edit",),
    ),
    PluginKind(
        name=StageKind.ENHANCER.value,
        summary="Sharpens the edited face by an unsharp mask",
        option="strength",
        place="enhancers.1",
        needs=("face:edit",),
        gives=("face:edit",),
    ),
    PluginKind(
        name=METRIC,
        summary="How sharp the face is: mean strength of its fine detail",
        option="",
        place="",
    ),
)

KIND_NAMES: Final = tuple(kind.name for kind in _KINDS)


def kind_named(text: str) -> PluginKind:
    """The kind that the user means; a dash counts as an underscore. Raises ConfigError with the nearest name."""
    name = text.replace("-", "_").lower()
    for kind in _KINDS:
        if kind.name == name:
            return kind
    raise ConfigError(
        f"--kind: '{text}' is no kind of plugin{nearest(name, KIND_NAMES)}; kinds: {', '.join(KIND_NAMES)}"
    )
