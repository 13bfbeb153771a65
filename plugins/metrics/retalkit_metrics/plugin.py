"""Specs of the metrics. Light: nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterable

from retalkit.metrics import MetricSpec
from retalkit.plugins import hookimpl
from retalkit.weights.checkpoint import Checkpoint

import retalkit_metrics.fid.interface as fid
import retalkit_metrics.identity.interface as identity
import retalkit_metrics.interface as measured
import retalkit_metrics.lpips.interface as lpips
import retalkit_metrics.syncnet.interface as syncnet

_NETWORKS = (syncnet, lpips, fid, identity)


@hookimpl
def retalkit_metrics() -> Iterable[MetricSpec]:
    """The metrics that need no network (``face``, ``lips``, ``quiet_mouth``, ``pixels``, ``sharpness``, ``steadiness``,
    ``cost``), and those that need one (``syncnet``, ``lpips``, ``fid``, ``identity``)."""
    return [*measured.METRICS, *(spec for part in _NETWORKS for spec in part.METRICS)]


@hookimpl
def retalkit_checkpoints() -> Iterable[Checkpoint]:
    """What those networks load."""
    return [checkpoint for part in _NETWORKS for checkpoint in part.CHECKPOINTS]
