"""Spec of the GANimation checkpoint, which ``enet`` uses for the upper half of the face. The module does not import
torch.
"""

from __future__ import annotations

from typing import Final

from retalkit.weights.checkpoint import Checkpoint

from retalkit_enhancers.releases import released

CHECKPOINTS: Final = (
    Checkpoint(
        name="ganimation",
        summary="GANimation generator: edits the facial action units of a 128 x 128 face",
        file="30_net_gen.pth",
        urls=released("30_net_gen.pth"),
        licence="MIT (repository licence, ganimation_replicate)",
        commercial_use=None,
        shapes="retalkit_enhancers.ganimation.generator:parameter_shapes",
        # Hash of the copy that an author of the paper published on Hugging Face (vinthony/videoretalking).
        size=33_877_439,
        sha256="4db83e1727128e2c5de27bc80d2929586535e04a709af45016a63e7cf7c46b0c",
        # In PyTorch 0.4, instance normalisation stored running statistics, which the network does not use. The
        # published loader discards all parameters that the network does not define.
        ignore_names=(r"\.running_mean$", r"\.running_var$", r"\.num_batches_tracked$"),
    ),
)
