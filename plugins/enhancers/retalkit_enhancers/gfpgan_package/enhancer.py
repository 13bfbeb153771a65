"""Enhancer ``gfpgan_package``: the network of the published package ``gfpgan`` (1.3.8) restores faces.

It uses the same checkpoint as ``gfpgan`` and gives the same images; use it to compare, or to run the published code
instead of ours.

Only the network's class ``GFPGANv1Clean`` of the package is used, with the arguments of the package's ``GFPGANer``.
``GFPGANer`` itself is not used: its constructor creates face detection and parsing networks, whose weights it expects
in ``gfpgan/weights`` of the working directory or downloads, although an aligned face needs neither; it reads the
checkpoint only as a pickle; and its ``enhance`` returns the unrestored face, with a printed line, where the network
fails. Apart from that ``enhance(face, has_aligned=True)`` scales pixels from [0, 1] to [-1, 1] and back, as
``restoration.face_tensors`` does, and rounds them.
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
    """The restoration enhancer with the package's network. It restores faces one at a time, whatever ``batch``."""

    def __init__(self, config: RestorationConfig, runtime: Runtime) -> None:
        """Raises PluginError if the package cannot be imported, WeightsError if the checkpoint does not fit."""
        super().__init__(config, runtime, package_restorer(import_architecture(), runtime), FFHQ)


def package_restorer(architecture: Any, runtime: Runtime) -> ThirdPartyRestorer:
    """Return the package's network with the checkpoint. Raises WeightsError if it does not fit."""
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
