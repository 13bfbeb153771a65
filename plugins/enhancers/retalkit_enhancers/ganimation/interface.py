"""The checkpoint of GANimation, which ``enet`` uses for the upper face. Imports no torch."""

from __future__ import annotations

from typing import Final

from retalkit.weights.checkpoint import Checkpoint

from retalkit_enhancers.releases import released

CHECKPOINTS: Final = (
    Checkpoint(
        name="ganimation",
        summary="GANimation generator, changes facial action units of a face of 128 x 128",
        file="30_net_gen.pth",
        urls=released("30_net_gen.pth"),
        licence="MIT by its repository (ganimation_replicate)",
        commercial_use=None,
        shapes="retalkit_enhancers.ganimation.generator:parameter_shapes",
        # Hash of the copy that an author of the paper published at Hugging Face (vinthony/videoretalking).
        size=33_877_439,
        sha256="4db83e1727128e2c5de27bc80d2929586535e04a709af45016a63e7cf7c46b0c",
        # Instance normalisation stored running statistics in PyTorch 0.4. They are not used; the published loader drops
        # all names that the network does not have.
        ignore_names=(r"\.running_mean$", r"\.running_var$", r"\.num_batches_tracked$"),
    ),
)
