"""Specs of the metric ``lpips`` and its checkpoints. The module does not import an array library or torch."""

from __future__ import annotations

from typing import Final

from retalkit.metrics import FRAMES, LANDMARKS, ORIGINAL, TRUTH, Measure, MetricSpec
from retalkit.weights.checkpoint import Checkpoint

FEATURES: Final = "lpips_alexnet"
LINEAR: Final = "lpips_linear"

METRICS: Final = (
    MetricSpec(
        name="lpips",
        summary="Perceptual distance between the output's face and a clip with identical words (LPIPS, AlexNet).",
        measures=(
            Measure(
                name="lpips",
                title="LPIPS",
                direction="lower",
                ideal=0.0,
                low=0.0,
                digits=4,
                summary="Learned perceptual distance between face crops, mean over five frames per "
                "second. A value of 0 means identical images. The distance depends on the "
                "face size in pixels, so compare only variants of one clip.",
            ),
        ),
        build="retalkit_metrics.lpips.metric:LpipsMetric",
        source="Zhang et al., The unreasonable effectiveness of deep features as a perceptual "
        "metric, CVPR 2018; version 0.1",
        licence="Apache-2.0; weights: BSD-2-Clause (LPIPS) and torchvision's AlexNet (no licence stated)",
        needs=frozenset({FRAMES, LANDMARKS, ORIGINAL, TRUTH}),
        requires=("torch",),
        install="retalkit[paper]",
        checkpoints=(FEATURES, LINEAR),
    ),
)

CHECKPOINTS: Final = (
    Checkpoint(
        name=FEATURES,
        summary="torchvision's AlexNet, trained on ImageNet; LPIPS compares the outputs of its convolutional layers",
        file="alexnet-owt-7be5be79.pth",
        urls=("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",),
        # torchvision's code is BSD-3-Clause. Its documentation states that the weights may be subject to separate terms
        # derived from the training data.
        licence="no licence stated for the weights, which were trained on ImageNet; torchvision's code is BSD-3-Clause",
        commercial_use=None,
        shapes="retalkit_metrics.lpips.network:feature_shapes",
        min_size=244_403_360,  # including the classifier
        # The published file name contains the first digits of the hash, which is a torch.hub convention.
        sha256="7be5be79",
        ignore_names=(r"^classifier\.",),
    ),
    Checkpoint(
        name=LINEAR,
        summary="LPIPS v0.1 feature weights for AlexNet",
        file="alex.pth",
        urls=("https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/alex.pth",),
        licence="BSD-2-Clause (Zhang et al., 2018)",
        commercial_use=True,
        shapes="retalkit_metrics.lpips.network:linear_shapes",
        size=6_009,
        sha256="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    ),
)
