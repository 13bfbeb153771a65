"""Enhancer ``gfpgan_package``, which restores faces with the network from the published package ``gfpgan`` (1.3.8).

The stage loads the checkpoint of the enhancer ``gfpgan`` and produces identical images. It runs the published code
instead of Retalkit's reimplementation and is intended for comparisons.

The stage uses only the package's network class ``GFPGANv1Clean``, with the arguments that the package's class
``GFPGANer`` passes. ``GFPGANer`` itself is unsuitable for three reasons. First, its constructor creates face detection
and parsing networks, which aligned faces do not require. It loads their weights from ``gfpgan/weights`` in the working
directory, or downloads the weights. Second, ``GFPGANer`` loads checkpoints only as pickles. Third, its method
``enhance`` prints a message and returns the unrestored face if the network fails. Apart from these differences,
``enhance(face, has_aligned=True)`` scales pixels from [0, 1] to [-1, 1] and back, like ``restoration.face_tensors``,
and rounds the result.
"""

from __future__ import annotations

from typing import Any

from retalkit.inference import empty_network, load_weights
from retalkit.stages import Runtime
from torch import Tensor

from retalkit_enhancers.gfpgan_package.importing import import_architecture
from retalkit_enhancers.gfpgan_package.interface import CHECKPOINT, NAME
from retalkit_enhancers.restoration.config import RestorationConfig
from retalkit_enhancers.restoration.enhancer import RestorationEnhancer
from retalkit_enhancers.restoration.template import FFHQ
from retalkit_enhancers.restoration.third_party import ThirdPartyRestorer


class GfpganPackageEnhancer(RestorationEnhancer):
    """Restoration enhancer with the package's network.

    The enhancer processes one face at a time, regardless of ``batch``.
    """

    def __init__(self, config: RestorationConfig, runtime: Runtime) -> None:
        """Load the network.

        Raises PluginError if the package cannot be imported, and WeightsError if the checkpoint does not match the
        network.
        """
        super().__init__(config, runtime, package_restorer(import_architecture(), runtime), FFHQ)


def package_restorer(architecture: Any, runtime: Runtime) -> ThirdPartyRestorer:
    """Load the checkpoint into the package's network, and return the network's restorer.

    Raises WeightsError if the checkpoint does not match the network.
    """
    weights = runtime.weights[CHECKPOINT]

    def load() -> Any:
        network: Any = empty_network(
            lambda: architecture(
                out_size=512,
                num_style_feat=512,
                channel_multiplier=2,
                decoder_load_path=None,
                fix_decoder=False,
                num_mlp=8,
                input_is_latent=True,
                different_w=True,
                narrow=1,
                sft_half=True,
            )
        )
        return load_weights(network, weights, runtime.device)

    network = runtime.shared((NAME, weights), load)

    def restore(faces: Tensor) -> Tensor:
        return network(faces, return_rgb=False)[0]

    return ThirdPartyRestorer(restore, runtime)
