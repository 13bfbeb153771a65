"""Enhancer ``gfpgan_package``: the network of the published package ``gfpgan`` (1.3.8) restores faces.

It takes the same checkpoint as ``gfpgan`` and gives the same pictures; it is there to compare, and for those who trust
the published code more than ours.

Of the package only the network's class ``GFPGANv1Clean`` is run, with the arguments that the package's ``GFPGANer``
makes it with. ``GFPGANer`` itself is not: its constructor makes networks that find and parse faces, which it looks for
in ``gfpgan/weights`` of the working directory and downloads otherwise, though an aligned face needs none of them; it
reads the checkpoint as a pickle only; and its ``enhance`` gives the unrestored face back, with a printed line, where
the network fails. What ``enhance(face, has_aligned=True)`` does besides is to scale pixels from [0, 1] to [-1, 1] and
back, which ``restoration.pixels`` does, and to round them.
"""

from __future__ import annotations

from typing import Any

import torch
from retalkit.inference import load_weights
from retalkit.stages import Runtime
from torch import Tensor

from retalkit_enhancers.gfpgan_package.importing import clean_architecture
from retalkit_enhancers.gfpgan_package.interface import CHECKPOINT
from retalkit_enhancers.restoration.config import RestorationConfig
from retalkit_enhancers.restoration.enhancer import RestorationEnhancer
from retalkit_enhancers.restoration.foreign import ForeignRestorer
from retalkit_enhancers.restoration.template import FFHQ


class GfpganPackageEnhancer(RestorationEnhancer):
    """The restoration enhancer with the package's network. Faces go through it one at a time, whatever ``batch``."""

    def __init__(self, config: RestorationConfig, runtime: Runtime) -> None:
        """Raises PluginError where the package cannot be imported."""
        # At once, so that a broken installation does not show when half of the work is done.
        architecture = clean_architecture()

        def load(seed: int) -> ForeignRestorer:
            return package_restorer(architecture, runtime, seed)

        super().__init__(config, runtime, load, FFHQ)


def package_restorer(architecture: Any, runtime: Runtime, seed: int = 0) -> ForeignRestorer:
    """The package's network with the checkpoint. Raises WeightsError where that does not fit."""
    # Without numbers: to draw random ones takes longer than to read them.
    with torch.device("meta"):
        empty = architecture(
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
    network = load_weights(empty.to_empty(device="cpu"), runtime.weights[CHECKPOINT], runtime.device)

    def restored(faces: Tensor) -> Tensor:
        return network(faces, return_rgb=False)[0]

    return ForeignRestorer(restored, runtime, seed)
