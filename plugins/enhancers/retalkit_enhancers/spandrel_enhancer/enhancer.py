"""Enhancer ``spandrel``: a user's checkpoint restores the edited face, its mouth or the reference images.

spandrel recognises the architecture of a checkpoint and creates the network. The network is called directly, not
through spandrel's descriptor, which passes pixels in [0, 1] to GFPGAN and CodeFormer (trained with [-1, 1]) and has no
option for CodeFormer's fidelity.
"""

from __future__ import annotations

from retalkit.errors import ConfigError
from retalkit.stages import Runtime
from torch import Tensor

from retalkit_enhancers.restoration.enhancer import RestorationEnhancer
from retalkit_enhancers.restoration.template import FFHQ
from retalkit_enhancers.restoration.third_party import ThirdPartyRestorer
from retalkit_enhancers.spandrel_enhancer.checkpoint import CODEFORMER, FaceCheckpoint
from retalkit_enhancers.spandrel_enhancer.interface import NAME, SpandrelConfig

_FIDELITY = 0.5
"""The published default of CodeFormer."""


class SpandrelEnhancer(RestorationEnhancer):
    """The restoration enhancer with the network of a file. It restores faces one at a time, whatever ``batch``."""

    def __init__(self, config: SpandrelConfig, runtime: Runtime) -> None:
        """Raises WeightsError for a file that is not a face-restoration network, ConfigError for ``fidelity`` with
        another network than CodeFormer, PluginError if spandrel cannot be imported."""
        checkpoint = FaceCheckpoint(config.weights)
        if config.fidelity is not None and checkpoint.architecture != CODEFORMER:
            raise ConfigError(
                f"enhancer 'spandrel': {config.weights} is a checkpoint of {checkpoint.architecture}, which has no "
                "fidelity: remove that option",
                code="unsupported-option",
            )
        super().__init__(config, runtime, checkpoint_restorer(checkpoint, runtime, config.fidelity), FFHQ)


def checkpoint_restorer(
    checkpoint: FaceCheckpoint, runtime: Runtime, fidelity: float | None = None
) -> ThirdPartyRestorer:
    """Return the network of the checkpoint; ``fidelity`` is for CodeFormer only. Raises WeightsError if it does not
    fit."""
    network = runtime.shared((NAME, checkpoint.path), lambda: checkpoint.load(runtime.device))
    options: dict[str, float] = {}
    if checkpoint.architecture == CODEFORMER:
        options["weight"] = _FIDELITY if fidelity is None else fidelity

    def restore(faces: Tensor) -> Tensor:
        # The image is the first output; the rest is for training.
        return network(faces, **options)[0]

    return ThirdPartyRestorer(restore, runtime)
