"""Every stage that ships passes the author's kit, those with networks with pseudo-random weights."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import FoundMetric, FoundStage
from retalkit.testing import check_metric, check_stage
from retalkit.weights.store import WeightStore

REGISTRY = discover()
STAGES = [found for found in REGISTRY.stages if found.package == "retalkit"]
METRICS = [found for found in REGISTRY.metrics if found.package == "retalkit"]
NETWORKS = ("dnet", "lnet", "enet", "face3d", "gpen", "gfpgan", "parsenet", "s3fd", "fan")
MATRICES = {"bfm_landmarks": "similarity_Lm3D_all.mat", "expression_templates": "expression.mat"}

OPTIONS = {"face_alignment": {"max_faces": 1, "flip": False}}
"""Pseudo-random networks see faces everywhere."""


@pytest.fixture(scope="module")
def weights(
    pseudo_weights: Callable[[str], Path], shared_parity: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """A store with every checkpoint that our stages load by default."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETALKIT_HOME", str(tmp_path_factory.mktemp("home")))
        store = WeightStore()
        for name in NETWORKS:
            store.add(REGISTRY.checkpoint(name), pseudo_weights(name))
        for name, file in MATRICES.items():
            store.add(REGISTRY.checkpoint(name), shared_parity / file)
        yield


@pytest.mark.parametrize("found", STAGES, ids=lambda found: found.label)
def test_our_stage_keeps_its_contract(found: FoundStage, request: pytest.FixtureRequest) -> None:
    if found.spec.checkpoints:
        request.getfixturevalue("weights")
    report = check_stage(found, options=OPTIONS.get(found.spec.name))
    report.raise_if_broken()
    if report.unavailable:
        missing = [name for name in found.spec.requires if importlib.util.find_spec(name) is None]
        assert missing or found.spec.name == "spandrel", str(report)
        pytest.skip(str(report))
    assert report.ok


@pytest.mark.parametrize("found", METRICS, ids=lambda found: found.spec.name)
def test_our_metric_keeps_its_contract(found: FoundMetric) -> None:
    report = check_metric(found)
    report.raise_if_broken()
    if report.unavailable:
        pytest.skip(str(report))
