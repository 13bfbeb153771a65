"""Plugin hooks for the metrics and their checkpoints. The module does not import an array library or torch."""

from __future__ import annotations

from collections.abc import Iterable

from retalkit.metrics import MetricSpec
from retalkit.plugins import RecogniserSpec, hookimpl
from retalkit.weights.checkpoint import Checkpoint

import retalkit_metrics.fid.interface as fid
import retalkit_metrics.identity.interface as identity
import retalkit_metrics.interface as handcrafted
import retalkit_metrics.lpips.interface as lpips
import retalkit_metrics.syncnet.interface as syncnet

_NETWORKS = (syncnet, lpips, fid, identity)


@hookimpl
def retalkit_metrics() -> Iterable[MetricSpec]:
    """Return the specs of all bundled metrics.

    The metrics that do not require a network are ``face``, ``lips``, ``quiet_mouth``, ``pixels``, ``sharpness``,
    ``steadiness`` and ``cost``. The metrics that require a network are ``syncnet``, ``lpips``, ``fid`` and
    ``identity``.
    """
    return [*handcrafted.METRICS, *(spec for module in _NETWORKS for spec in module.METRICS)]


@hookimpl
def retalkit_recognisers() -> Iterable[RecogniserSpec]:
    """Return the recogniser with the network of the metric ``identity``."""
    return identity.RECOGNISERS


@hookimpl
def retalkit_checkpoints() -> Iterable[Checkpoint]:
    """Return the checkpoints of the metrics' networks."""
    return [checkpoint for module in _NETWORKS for checkpoint in module.CHECKPOINTS]
