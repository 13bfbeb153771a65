"""The metric ``syncnet`` and its checkpoint. Light: read when metrics are listed."""

from __future__ import annotations

from typing import Final

from retalkit.metrics import FRAMES, LANDMARKS, ORIGINAL, SPEECH, Measure, MetricSpec
from retalkit.weights.checkpoint import Checkpoint

NETWORK: Final = "syncnet"
REACH: Final = 15
"""Frames by which the sound is moved to both sides."""

METRICS: Final = (
    MetricSpec(
        name="syncnet",
        summary="Whether lips and sound belong together, by a network that was trained to tell (LSE-C, LSE-D, offset).",
        measures=(
            Measure(
                name="lse_c",
                title="LSE-C",
                direction="higher",
                low=0.0,
                digits=2,
                summary="Confidence: how much nearer lips and sound are at the best offset than at the median one. A "
                "method trained on SyncNet can beat real video: read it beside the anchor and the mismatched arm.",
            ),
            Measure(
                name="lse_d",
                title="LSE-D",
                direction="lower",
                low=0.0,
                digits=2,
                summary="Mean distance of lips and sound at the best offset, in units of the network.",
            ),
            Measure(
                name="av_offset",
                title="AV offset",
                direction="nearer",
                ideal=0.0,
                low=-float(REACH),
                high=float(REACH),
                unit="frames at 25/s",
                digits=0,
                summary="Offset at which lips and sound are nearest; positive: the lips come late. Says nothing where "
                "LSE-C is low. Clips carry offsets of their own: see the real video's.",
            ),
        ),
        build="retalkit_metrics.syncnet.metric:SyncNetMetric",
        source="Chung and Zisserman, Out of time: automated lip sync in the wild, ACCV Workshops 2016; LSE as in "
        "Prajwal et al., A lip sync expert is all you need, ACM Multimedia 2020",
        licence="Apache-2.0; weights: nothing stated",
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
        summary="SyncNet, brings five frames of a mouth and 0.2 s of sound into one space",
        file="syncnet_v2.model",
        # Published with http; the same server gives the folder's other files over https.
        urls=(
            "https://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model",
            "http://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model",
        ),
        # The repository that loads it, joonson/syncnet_python, has the MIT licence; of the file nothing is said.
        licence="not stated for the weights (MIT for the publisher's code, Chung, 2016)",
        commercial_use=None,
        shapes="retalkit_metrics.syncnet.network:parameter_shapes",
        # By projects that name this file; its publisher gives no hash.
        size=54_573_114,
        sha256="961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
    ),
)
