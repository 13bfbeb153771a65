"""The metric ``identity`` and its checkpoint. Light: read when metrics are listed."""

from __future__ import annotations

from typing import Final

from retalkit.metrics import FRAMES, LANDMARKS, ORIGINAL, Measure, MetricSpec
from retalkit.weights.checkpoint import Checkpoint

NETWORK: Final = "arcface_ir_se50"

METRICS: Final = (
    MetricSpec(
        name="identity",
        summary="Whether a face recogniser still sees the same person (cosine of ArcFace embeddings).",
        measures=(
            Measure(
                name="identity",
                title="identity",
                direction="higher",
                ideal=1.0,
                low=-1.0,
                high=1.0,
                summary="Cosine of the ArcFace embeddings of output and original, median over five frames a second. "
                "Another person gives about 0. A method that changes nothing gives 1.",
            ),
        ),
        build="retalkit_metrics.identity.metric:IdentityMetric",
        source="Deng et al., ArcFace: additive angular margin loss for deep face recognition, CVPR 2019; the IR-SE50 "
        "of facexlib",
        licence="Apache-2.0; weights MIT where stated, of faces collected from the web",
        needs=frozenset({FRAMES, LANDMARKS, ORIGINAL}),
        requires=("torch",),
        install="retalkit[paper]",
        checkpoints=(NETWORK,),
    ),
)

CHECKPOINTS: Final = (
    Checkpoint(
        name=NETWORK,
        summary="ArcFace IR-SE50, tells faces of 112 x 112 apart",
        file="recognition_arcface_ir_se50.pth",
        urls=("https://github.com/xinntao/facexlib/releases/download/v0.1.0/recognition_arcface_ir_se50.pth",),
        # facexlib calls the original licence MIT (InsightFace_Pytorch, its code) and refers to it for the use. Nothing
        # is said of the weights, nor of MS1M, the faces they were trained on.
        licence="MIT (InsightFace_Pytorch's code; nothing stated for the weights, trained on MS1M)",
        commercial_use=None,
        shapes="retalkit_metrics.identity.network:parameter_shapes",
        min_size=175_296_472,
        sha256="a035c768259b98ab1ce0e646312f48b9e1e218197a0f80ac6765e88f8b6ddf28",
    ),
)
