"""Specs of the bundled expression editors, lip syncers and drivers.

The module is imported to list stages, so it must not import an array library.
"""

from __future__ import annotations

from retalkit.plugins import DriverSpec, StageSpec, hookimpl
from retalkit.stages import DigitalSourceType, StageKind
from retalkit.weights.checkpoint import Checkpoint

import retalkit_renderers.dnet.interface as dnet
import retalkit_renderers.lnet.interface as lnet
import retalkit_renderers.wav2lip.interface as wav2lip
from retalkit_renderers.editors.config import FirstFrameConfig, NeutralWarpConfig, NoneConfig
from retalkit_renderers.exemplar.config import ExemplarConfig
from retalkit_renderers.speech_to_mouth.interface import DRIVERS

_MESH = frozenset({"landmarks:mesh478", "coefficients:mesh"})
_REFERENCES = frozenset({"reference:landmarks", "reference:image"})


@hookimpl
def retalkit_stages() -> list[StageSpec]:
    """Return the specs of the bundled expression editors and lip syncers."""
    return [
        StageSpec(
            api=2,
            kind=StageKind.EXPRESSION_EDITOR,
            name="first_frame",
            summary="the first face of the clip as reference (a shortcut of VideoReTalking reproductions)",
            build="retalkit_renderers.editors.first_frame:FirstFrameEditor",
            licence="Apache-2.0",
            config=FirstFrameConfig,
            needs=_MESH,
            gives=_REFERENCES,
            parallel=True,
        ),
        StageSpec(
            api=2,
            kind=StageKind.EXPRESSION_EDITOR,
            name="neutral_warp",
            version="5",
            summary="the person's own closed mouth, warped into every frame",
            build="retalkit_renderers.editors.neutral_warp:NeutralWarpEditor",
            licence="Apache-2.0",
            config=NeutralWarpConfig,
            needs=_MESH,
            gives=_REFERENCES,
            parallel=True,
        ),
        StageSpec(
            api=2,
            kind=StageKind.LIP_SYNCER,
            name="exemplar",
            version="7",
            summary="the person's own mouth from other frames, chosen by shape and warped onto each frame",
            build="retalkit_renderers.exemplar.syncer:ExemplarLipSyncer",
            licence="Apache-2.0",
            config=ExemplarConfig,
            needs=_MESH | {"reference:landmarks", "speech:activity"},
            gives=frozenset({"face:edit"}),
            digital_source_type=DigitalSourceType.ALGORITHMICALLY_ENHANCED,
            eases=True,
            parallel=True,
        ),
        *dnet.STAGES,
        *lnet.STAGES,
        *wav2lip.STAGES,
        StageSpec(
            api=2,
            kind=StageKind.EXPRESSION_EDITOR,
            name="none",
            summary="the frames themselves as references",
            build="retalkit_renderers.editors.unedited:NoneEditor",
            licence="Apache-2.0",
            config=NoneConfig,
            needs=frozenset({"frames"}),
            gives=_REFERENCES,
            parallel=True,
        ),
    ]


@hookimpl
def retalkit_drivers() -> list[DriverSpec]:
    """Return the specs of the drivers ``model``, ``bands`` and ``file``."""
    return list(DRIVERS)


@hookimpl
def retalkit_checkpoints() -> list[Checkpoint]:
    """Return the checkpoints of the published networks."""
    return [*dnet.CHECKPOINTS, *lnet.CHECKPOINTS, *wav2lip.CHECKPOINTS]
