"""Enhancer ``spandrel``, which restores the edited face, its mouth, or the reference images with a user-provided
checkpoint.

spandrel detects the checkpoint's architecture and creates the network. The stage calls this network directly instead of
spandrel's descriptor. The descriptor passes pixel values in [0, 1] to GFPGAN and CodeFormer, although both were trained
with pixel values in [-1, 1]. The descriptor also has no option for CodeFormer's fidelity.
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
"""Published default of CodeFormer's fidelity."""


class SpandrelEnhancer(RestorationEnhancer):
    """Restoration enhancer with a user-provided checkpoint.

    The enhancer processes one face at a time, regardless of ``batch``.
    """

    def __init__(self, config: SpandrelConfig, runtime: Runtime) -> None:
        """Load the checkpoint.

        Raises WeightsError if the checkpoint is not a face restoration network, ConfigError if ``fidelity`` is set for
        a network other than CodeFormer, and PluginError if spandrel cannot be imported.
        """
        checkpoint = FaceCheckpoint(config.weights)
        if config.fidelity is not None and checkpoint.architecture != CODEFORMER:
            raise ConfigError(
                "enhancer 'spandrel': the option 'fidelity' is not supported for "
                f"{checkpoint.architecture} checkpoints ({config.weights}); remove the option",
                code="unsupported-option",
            )
        super().__init__(config, runtime, checkpoint_restorer(checkpoint, runtime, config.fidelity), FFHQ)


def checkpoint_restorer(
    checkpoint: FaceCheckpoint, runtime: Runtime, fidelity: float | None = None
) -> ThirdPartyRestorer:
    """Load the checkpoint's network, and return its restorer.

    ``fidelity``: CodeFormer's fidelity, which is ignored for other networks. Raises WeightsError if the weights do not
    match the network.
    """
    network = runtime.shared((NAME, checkpoint.path), lambda: checkpoint.load(runtime.device))
    options: dict[str, float] = {}
    if checkpoint.architecture == CODEFORMER:
        options["weight"] = _FIDELITY if fidelity is None else fidelity

    def restore(faces: Tensor) -> Tensor:
        # The first output is the image. The other outputs are used only in training.
        return network(faces, **options)[0]

    return ThirdPartyRestorer(restore, runtime)
