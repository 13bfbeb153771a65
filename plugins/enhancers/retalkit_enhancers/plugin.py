"""Specs of the bundled enhancers.

This module is imported whenever stages are listed, so it must not import an array library.
"""

from __future__ import annotations

from collections.abc import Iterable

from retalkit.plugins import StageSpec, hookimpl
from retalkit.stages import StageKind
from retalkit.weights.checkpoint import Checkpoint

import retalkit_enhancers.enet.interface as enet
import retalkit_enhancers.ganimation.interface as ganimation
import retalkit_enhancers.gfpgan.interface as gfpgan
import retalkit_enhancers.gfpgan_package.interface as gfpgan_package
import retalkit_enhancers.gpen.interface as gpen
import retalkit_enhancers.parsing.interface as parsing
import retalkit_enhancers.published_files as published_files
import retalkit_enhancers.spandrel_enhancer.interface as spandrel_enhancer
from retalkit_enhancers.config import DetailConfig, NoneConfig

FACE_EDIT = frozenset({"face:edit"})


@hookimpl
def retalkit_stages() -> Iterable[StageSpec]:
    """Return the specs of all bundled enhancers.

    The enhancers are ``detail``, ``none``, ``enet``, ``gpen``, ``gfpgan``, ``gfpgan_package`` and ``spandrel``.
    """
    return [
        StageSpec(
            api=2,
            kind=StageKind.ENHANCER,
            name="detail",
            version="3",
            summary="restores the original frame's sharpness and grain in the edited face without a network",
            build="retalkit_enhancers.detail:DetailEnhancer",
            licence="Apache-2.0",
            config=DetailConfig,
            needs=FACE_EDIT,
            gives=FACE_EDIT,
            parallel=True,
        ),
        StageSpec(
            api=2,
            kind=StageKind.ENHANCER,
            name="none",
            summary="returns the edited face unchanged",
            build="retalkit_enhancers.none:NoneEnhancer",
            licence="Apache-2.0",
            config=NoneConfig,
            needs=FACE_EDIT,
            gives=FACE_EDIT,
            parallel=True,
        ),
        *enet.STAGES,
        *gpen.STAGES,
        *gfpgan.STAGES,
        *gfpgan_package.STAGES,
        *spandrel_enhancer.STAGES,
    ]


@hookimpl
def retalkit_checkpoints() -> Iterable[Checkpoint]:
    """Return the checkpoints of the bundled enhancers' networks."""
    parts = (enet, ganimation, gpen, gfpgan, parsing, published_files)
    return [checkpoint for part in parts for checkpoint in part.CHECKPOINTS]
