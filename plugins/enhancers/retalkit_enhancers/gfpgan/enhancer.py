"""Enhancer ``gfpgan``, which restores the edited face, its mouth, or the reference images with GFPGAN."""

from __future__ import annotations

from retalkit.stages import Runtime

from retalkit_enhancers.gfpgan.restorer import gfpgan_restorer
from retalkit_enhancers.restoration.config import RestorationConfig
from retalkit_enhancers.restoration.enhancer import RestorationEnhancer
from retalkit_enhancers.restoration.template import FFHQ


class GfpganEnhancer(RestorationEnhancer):
    """Restoration enhancer with the GFPGAN network and its face template."""

    def __init__(self, config: RestorationConfig, runtime: Runtime) -> None:
        super().__init__(config, runtime, gfpgan_restorer(runtime, config.batch), FFHQ)
