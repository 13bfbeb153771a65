"""Scoring of finished videos. The names below are what a metric plugin imports."""

from retalkit.plugins.metric_specs import (
    FRAMES,
    LANDMARKS,
    LIPS,
    ORIGINAL,
    PORTS,
    QUIET,
    RECORD,
    SPEECH,
    TRUTH,
    Direction,
    Measure,
    MetricSpec,
    Scores,
)

__all__ = [
    "Direction",
    "FRAMES",
    "LANDMARKS",
    "LIPS",
    "Measure",
    "MetricSpec",
    "ORIGINAL",
    "PORTS",
    "QUIET",
    "RECORD",
    "SPEECH",
    "Scores",
    "TRUTH",
]
