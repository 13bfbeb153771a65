"""Specs of the metric ``syncnet`` and its checkpoint. The module does not import an array library or torch."""

from __future__ import annotations

from typing import Final

from retalkit.metrics import FRAMES, LANDMARKS, ORIGINAL, SPEECH, Measure, MetricSpec
from retalkit.weights.checkpoint import Checkpoint

NETWORK: Final = "syncnet"
REACH: Final = 15
"""Maximum offset between lips and audio that is searched, in frames."""

METRICS: Final = (
    MetricSpec(
        name="syncnet",
        summary="Synchrony between lips and audio, measured by SyncNet (LSE-C, LSE-D, offset).",
        measures=(
            Measure(
                name="lse_c",
                title="LSE-C",
                direction="higher",
                low=0.0,
                digits=2,
                summary="Confidence: median minus minimum of the lip-audio distance over all "
                "offsets. Methods that were trained with SyncNet can exceed real video, so "
                "compare the value with the anchor and with the mismatched arm.",
            ),
            Measure(
                name="lse_d",
                title="LSE-D",
                direction="lower",
                low=0.0,
                digits=2,
                summary="Mean distance between lip and audio embeddings at the best offset.",
            ),
            Measure(
                name="av_offset",
                title="AV offset",
                direction="nearer",
                ideal=0.0,
                low=-float(REACH),
                high=float(REACH),
                unit="frames at 25 fps",
                digits=0,
                summary="Offset with the minimum lip-audio distance. Positive values mean that the "
                "lips lag behind the audio. The offset is not meaningful if LSE-C is low. "
                "Clips have inherent offsets, so compare the value with the real video.",
            ),
        ),
        build="retalkit_metrics.syncnet.metric:SyncNetMetric",
        source="Chung and Zisserman, Out of time: automated lip sync in the wild, ACCV Workshops "
        "2016; LSE as defined by Prajwal et al., A lip sync expert is all you need, ACM "
        "Multimedia 2020",
        licence="Apache-2.0; weights: no licence stated",
        needs=frozenset({FRAMES, LANDMARKS, SPEECH}),
        uses=frozenset({ORIGINAL}),
        requires=("torch",),
        install="retalkit[paper]",
        checkpoints=(NETWORK,),
    ),
)

CHECKPOINTS: Final = (
    Checkpoint(
        name=NETWORK,
        summary="SyncNet: joint embeddings of five mouth frames and 0.2 s of audio",
        file="syncnet_v2.model",
        # The published URL uses http. The server also supports https.
        urls=(
            "https://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model",
            "http://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model",
        ),
        # The repository joonson/syncnet_python, which loads the checkpoint, is MIT-licensed. No licence is stated for
        # the checkpoint.
        licence="no licence stated for the weights; the publisher's code is MIT-licensed (Chung, 2016)",
        commercial_use=None,
        shapes="retalkit_metrics.syncnet.network:parameter_shapes",
        # Other projects that use the checkpoint publish this hash. The checkpoint's publisher does not state a hash.
        size=54_573_114,
        sha256="961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
    ),
)
