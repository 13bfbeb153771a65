"""The metric ``fid`` and its checkpoint. Light: read when metrics are listed."""

from __future__ import annotations

from typing import Final

from retalkit.metrics import FRAMES, LANDMARKS, ORIGINAL, Measure, MetricSpec
from retalkit.weights.checkpoint import Checkpoint

NETWORK: Final = "fid_inception"

METRICS: Final = (
    MetricSpec(
        name="fid",
        summary="How far the faces lie from the original's as a set (FID); compare only variants of the same frames.",
        measures=(
            Measure(
                name="fid",
                title="FID (same frames only)",
                direction="lower",
                ideal=0.0,
                low=0.0,
                digits=1,
                summary="Frechet distance of Inception features, face crops, five frames a second. Biased upwards by "
                "few frames (far fewer than its 2048 dimensions): compare variants on the same frames, never clips "
                "with one another or with a number from a paper. Blind to timing.",
            ),
        ),
        build="retalkit_metrics.fid.metric:FidMetric",
        source="Heusel et al., GANs trained by a two time-scale update rule converge to a local Nash equilibrium, "
        "NIPS 2017; the Inception of pytorch-fid",
        licence="Apache-2.0",
        needs=frozenset({FRAMES, LANDMARKS, ORIGINAL}),
        requires=("torch",),
        install="retalkit[paper]",
        checkpoints=(NETWORK,),
    ),
)

CHECKPOINTS: Final = (
    Checkpoint(
        name=NETWORK,
        summary="Inception v3 of 2015-12-05 as FID uses it, brought to PyTorch by pytorch-fid",
        file="pt_inception-2015-12-05-6726825d.pth",
        urls=(
            "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        ),
        # The licence of pytorch-fid's repository, to whose releases the file belongs.
        licence="Apache-2.0 (pytorch-fid; the network is Google's inception-2015-12-05, trained on ImageNet)",
        commercial_use=True,
        shapes="retalkit_metrics.fid.network:parameter_shapes",
        size=95_628_359,
        # The published name carries its beginning.
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    ),
)
