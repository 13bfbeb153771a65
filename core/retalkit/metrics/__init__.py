"""Scoring of finished videos. Metric plugins import types and functions from this package."""

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
