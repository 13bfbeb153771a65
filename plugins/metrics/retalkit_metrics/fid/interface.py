"""Specs of the metric ``fid`` and its checkpoint. The module does not import an array library or torch."""

from __future__ import annotations

from typing import Final

from retalkit.metrics import FRAMES, LANDMARKS, ORIGINAL, Measure, MetricSpec
from retalkit.weights.checkpoint import Checkpoint

NETWORK: Final = "fid_inception"

METRICS: Final = (
    MetricSpec(
        name="fid",
        summary="Fréchet distance between output and original faces (FID). Compare only values "
        "computed from identical frames.",
        measures=(
            Measure(
                name="fid",
                title="FID (identical frames only)",
                direction="lower",
                ideal=0.0,
                low=0.0,
                digits=1,
                summary="Fréchet distance between Inception features of face crops, sampled at five "
                "frames per second. The estimate is biased upwards, because a clip has far "
                "fewer frames than the 2048 feature dimensions. Compare variants of one clip "
                "on identical frames only. Do not compare different clips or values from "
                "publications. The metric does not measure timing.",
            ),
        ),
        build="retalkit_metrics.fid.metric:FidMetric",
        source="Heusel et al., GANs trained by a two time-scale update rule converge to a local Nash "
        "equilibrium, NIPS 2017; Inception network from pytorch-fid",
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
        summary="Inception v3 (2015-12-05) for FID, converted to PyTorch by pytorch-fid",
        file="pt_inception-2015-12-05-6726825d.pth",
        urls=(
            "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        ),
        # The licence is that of the pytorch-fid repository, which publishes the checkpoint as a release asset.
        licence="Apache-2.0 (pytorch-fid); the network is Google's inception-2015-12-05, trained on ImageNet",
        commercial_use=True,
        shapes="retalkit_metrics.fid.network:parameter_shapes",
        size=95_628_359,
        # The published file name contains the first digits of the hash.
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    ),
)
