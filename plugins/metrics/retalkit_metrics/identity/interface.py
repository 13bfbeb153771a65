"""Specs of the metric ``identity`` and its checkpoint. The module imports neither an array library nor torch."""

from __future__ import annotations

from typing import Final

from retalkit.metrics import FRAMES, LANDMARKS, ORIGINAL, Measure, MetricSpec
from retalkit.weights.checkpoint import Checkpoint

NETWORK: Final = "arcface_ir_se50"

METRICS: Final = (
    MetricSpec(
        name="identity",
        summary="Similarity of the person's identity (cosine similarity of ArcFace embeddings).",
        measures=(
            Measure(
                name="identity",
                title="identity",
                direction="higher",
                ideal=1.0,
                low=-1.0,
                high=1.0,
                summary="Cosine similarity of the ArcFace embeddings of output and original, median over five frames a "
                "second. Another person gives about 0; an unchanged video gives 1.",
            ),
        ),
        build="retalkit_metrics.identity.metric:IdentityMetric",
        source="Deng et al., ArcFace: additive angular margin loss for deep face recognition, CVPR 2019; the IR-SE50 "
        "of facexlib",
        licence="Apache-2.0; weights: MIT where stated, trained on faces collected from the web",
        needs=frozenset({FRAMES, LANDMARKS, ORIGINAL}),
        requires=("torch",),
        install="retalkit[paper]",
        checkpoints=(NETWORK,),
    ),
)

CHECKPOINTS: Final = (
    Checkpoint(
        name=NETWORK,
        summary="ArcFace IR-SE50 face recognition network, input 112 x 112",
        file="recognition_arcface_ir_se50.pth",
        urls=("https://github.com/xinntao/facexlib/releases/download/v0.1.0/recognition_arcface_ir_se50.pth",),
        # facexlib states the MIT licence of the InsightFace_Pytorch code and refers users to that repository. No
        # licence is stated for the weights or for the training data set MS1M.
        licence="MIT (InsightFace_Pytorch's code; nothing stated for the weights, trained on MS1M)",
        commercial_use=None,
        shapes="retalkit_metrics.identity.network:parameter_shapes",
        min_size=175_296_472,
        sha256="a035c768259b98ab1ce0e646312f48b9e1e218197a0f80ac6765e88f8b6ddf28",
    ),
)
