"""Registry for tests of configuration and planning, which do not depend on the bundled stages."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from retalkit.plugins import StageConfig, StageSpec
from retalkit.plugins.registry import FoundStage, Registry
from retalkit.stages import StageKind


class Curve(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    points: int = 5


class DetailOptions(StageConfig):
    on: Literal["mouth", "face"] = "mouth"
    strength: float = Field(default=1.0, ge=0, le=1)
    curve: Curve = Curve()


class WarpOptions(StageConfig):
    template: str = "neutral"


def stage(
    kind: StageKind,
    name: str,
    needs: tuple[str, ...] = (),
    gives: tuple[str, ...] = (),
    config: type[StageConfig] = StageConfig,
    package: str = "retalkit",
    requires: tuple[str, ...] = (),
    install: str = "",
) -> FoundStage:
    spec = StageSpec(
        kind=kind,
        name=name,
        summary=f"the {name}",
        build=lambda config, runtime: config,
        api=2,
        licence="MIT",
        config=config,
        needs=frozenset(needs),
        gives=frozenset(gives),
        requires=requires,
        install=install,
    )
    return FoundStage(spec, package, "1.0", "stages")


def usual_stages() -> list[FoundStage]:
    """Return the stages of the preset ``embedded``, ``first_frame`` and ``none``."""
    return [
        stage(StageKind.DETECTOR, "mediapipe", gives=("landmarks:mesh478",)),
        stage(StageKind.RECONSTRUCTOR, "shallow", needs=("landmarks:mesh478",), gives=("coefficients:mesh",)),
        stage(StageKind.EXPRESSION_EDITOR, "first_frame", gives=("reference:landmarks",)),
        stage(
            StageKind.EXPRESSION_EDITOR,
            "neutral_warp",
            needs=("coefficients:mesh", "frames"),
            gives=("reference:landmarks", "reference:image"),
            config=WarpOptions,
        ),
        stage(StageKind.DENOISER, "none"),
        stage(StageKind.DENOISER, "rnnoise"),
        stage(StageKind.DENOISER, "adaptive"),
        stage(
            StageKind.LIP_SYNCER,
            "exemplar",
            needs=("landmarks:mesh478", "reference:landmarks", "speech:mel"),
            gives=("face:edit",),
        ),
        stage(StageKind.ENHANCER, "detail", needs=("face:edit",), gives=("face:edit",), config=DetailOptions),
        stage(StageKind.ENHANCER, "none", needs=("face:edit",), gives=("face:edit",)),
    ]


def usual_registry(*more: FoundStage) -> Registry:
    return Registry([*usual_stages(), *more])
