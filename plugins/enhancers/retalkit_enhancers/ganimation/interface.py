"""The checkpoint of GANimation, which ``enet`` uses for the upper face. Light: read when checkpoints are listed."""

from __future__ import annotations

from typing import Final

from retalkit.weights.checkpoint import Checkpoint

from retalkit_enhancers.releases import released

CHECKPOINTS: Final = (
    Checkpoint(
        name="ganimation",
        summary="GANimation generator, moves single muscles of a face of 128 x 128",
        file="30_net_gen.pth",
        urls=released("30_net_gen.pth"),
        licence="MIT by its repository (ganimation_replicate)",
        commercial_use=None,
        shapes="retalkit_enhancers.ganimation.generator:parameter_shapes",
        # As an author of the paper published it a second time, at Hugging Face (vinthony/videoretalking).
        size=33_877_439,
        sha256="4db83e1727128e2c5de27bc80d2929586535e04a709af45016a63e7cf7c46b0c",
        # Instance norms kept running statistics when PyTorch was 0.4; they are not used, and the published loader drops
        # every name that the network does not have.
        ignore_names=(r"\.running_mean$", r"\.running_var$", r"\.num_batches_tracked$"),
    ),
)
