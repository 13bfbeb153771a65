"""Specs of the metric ``identity``, the recogniser ``arcface`` and their checkpoint.

The module does not import an array library or torch.
"""

from __future__ import annotations

from typing import Final

from retalkit.metrics import FRAMES, LANDMARKS, ORIGINAL, Measure, MetricSpec
from retalkit.plugins import RecogniserSpec
from retalkit.weights.checkpoint import Checkpoint

NETWORK: Final = "arcface_ir_se50"

METRICS: Final = (
    MetricSpec(
        name="identity",
        summary="Identity similarity between output and original faces (cosine similarity of ArcFace embeddings).",
        measures=(
            Measure(
                name="identity",
                title="identity",
                direction="higher",
                ideal=1.0,
                low=-1.0,
                high=1.0,
                summary="Cosine similarity between the ArcFace embeddings of output and original "
                "faces, median over five frames per second. The value is about 0 for "
                "different people and 1 for an unchanged video.",
            ),
        ),
        build="retalkit_metrics.identity.metric:IdentityMetric",
        source="Deng et al., ArcFace: additive angular margin loss for deep face recognition, CVPR "
        "2019; IR-SE50 network from facexlib",
        licence="Apache-2.0; weights: MIT as stated by the publisher, trained on face images collected from the web",
        needs=frozenset({FRAMES, LANDMARKS, ORIGINAL}),
        requires=("torch",),
        install="retalkit[paper]",
        checkpoints=(NETWORK,),
    ),
)

RECOGNISERS: Final = (
    RecogniserSpec(
        name="arcface",
        summary="ArcFace IR-SE50 face recognition network (512 values)",
        build="retalkit_metrics.identity.recogniser:ArcFaceRecogniser",
        licence="Apache-2.0; weights: MIT as stated by the publisher, trained on face images collected from the web",
        rank=30,
        requires=("torch",),
        install="retalkit[paper]",
        checkpoints=(NETWORK,),
    ),
)

CHECKPOINTS: Final = (
    Checkpoint(
        name=NETWORK,
        summary="ArcFace IR-SE50 face recognition network for 112 x 112 faces",
        file="recognition_arcface_ir_se50.pth",
        # The second URL is a copy of the identical file model_ir_se50.pth, which InsightFace_Pytorch publishes.
        urls=(
            "https://github.com/xinntao/facexlib/releases/download/v0.1.0/recognition_arcface_ir_se50.pth",
            "https://huggingface.co/lithiumice/insightface/resolve/main/InsightFace_Pytorch%2Bmodel_ir_se50.pth",
        ),
        # facexlib states the MIT licence of the InsightFace_Pytorch code and refers users to that repository. No
        # licence is stated for the weights or for the training data set MS1M.
        licence="MIT for the code (InsightFace_Pytorch); no licence stated for the weights, which were trained on MS1M",
        commercial_use=None,
        shapes="retalkit_metrics.identity.network:parameter_shapes",
        size=175_367_323,
        sha256="a035c768259b98ab1ce0e646312f48b9e1e218197a0f80ac6765e88f8b6ddf28",
    ),
)
