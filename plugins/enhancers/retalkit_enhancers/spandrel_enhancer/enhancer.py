"""Enhancer ``spandrel``: a user's checkpoint restores the edited face, its mouth or the reference images.

spandrel finds out which network a checkpoint belongs to and makes it. The network is called itself, not through
spandrel's descriptor: that hands pixels in [0, 1] to GFPGAN and CodeFormer, which were trained with [-1, 1], and gives
no way to CodeFormer's fidelity.
"""

from __future__ import annotations

from retalkit.errors import ConfigError
from retalkit.stages import Runtime
from torch import Tensor

from retalkit_enhancers.restoration.enhancer import RestorationEnhancer
from retalkit_enhancers.restoration.foreign import ForeignRestorer
from retalkit_enhancers.restoration.template import FFHQ
from retalkit_enhancers.spandrel_enhancer.checkpoint import CODEFORMER, FaceCheckpoint
from retalkit_enhancers.spandrel_enhancer.interface import SpandrelConfig

_FIDELITY = 0.5
"""What CodeFormer was published with."""


class SpandrelEnhancer(RestorationEnhancer):
    """The restoration enhancer with the network of a file. Faces go through it one at a time, whatever ``batch``."""

    def __init__(self, config: SpandrelConfig, runtime: Runtime) -> None:
        """Raises WeightsError for a file that is no face-restoration network, ConfigError for ``fidelity`` with a
        network that has none, PluginError where spandrel cannot be imported."""
        # At once, so that a wrong file does not show when half of the work is done.
        checkpoint = FaceCheckpoint(config.weights)
        if config.fidelity is not None and checkpoint.architecture != CODEFORMER:
            raise ConfigError(
                f"enhancer 'spandrel': {config.weights} is a checkpoint of {checkpoint.architecture}, which has no "
                "fidelity: leave that option out"
            )

        def load(seed: int) -> ForeignRestorer:
            return file_restorer(checkpoint, runtime, seed, config.fidelity)

        super().__init__(config, runtime, load, FFHQ)


def file_restorer(
    checkpoint: FaceCheckpoint, runtime: Runtime, seed: int = 0, fidelity: float | None = None
) -> ForeignRestorer:
    """The checkpoint's network. ``fidelity``: CodeFormer's, others take none. Raises WeightsError where it does not
    fit."""
    network = checkpoint.load(runtime.device)
    options: dict[str, float] = {}
    if checkpoint.architecture == CODEFORMER:
        options["weight"] = _FIDELITY if fidelity is None else fidelity

    def restored(faces: Tensor) -> Tensor:
        # The picture comes first, then what training looks at.
        return network(faces, **options)[0]

    return ForeignRestorer(restored, runtime, seed)
