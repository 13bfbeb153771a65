"""Enhancer ``gpen``, which restores the edited face, its mouth, or the reference images with GPEN."""

from __future__ import annotations

from retalkit.stages import Runtime

from retalkit_enhancers.gpen.restorer import gpen_restorer
from retalkit_enhancers.restoration.config import RestorationConfig
from retalkit_enhancers.restoration.enhancer import RestorationEnhancer
from retalkit_enhancers.restoration.template import GPEN


class GpenEnhancer(RestorationEnhancer):
    """Restoration enhancer with the GPEN network and its face template."""

    def __init__(self, config: RestorationConfig, runtime: Runtime) -> None:
        super().__init__(config, runtime, gpen_restorer(runtime, config.batch), GPEN)
