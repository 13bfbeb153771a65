"""All bundled stages and metrics pass the testing kit, networks with pseudo-random weights."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from retalkit.plugins.discovery import discover
from retalkit.testing import ContractCheck, parametrize_with_checks
from retalkit.weights.store import WeightStore

REGISTRY = discover()
STAGES = [found for found in REGISTRY.stages if found.package == "retalkit"]
METRICS = [found for found in REGISTRY.metrics if found.package == "retalkit"]
NETWORKS = ("dnet", "lnet", "wav2lip", "enet", "face3d", "gpen", "gfpgan", "parsenet", "s3fd", "fan")
MATRICES = {"bfm_landmarks": "similarity_Lm3D_all.mat", "expression_templates": "expression.mat"}

OPTIONS = {"face_alignment": {"max_faces": 1, "flip": False}}
"""Networks with pseudo-random weights detect faces everywhere."""


@pytest.fixture(scope="module")
def weights(
    pseudo_weights: Callable[[str], Path], shared_parity: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Use a store with every checkpoint that the bundled stages load by default."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETALKIT_HOME", str(tmp_path_factory.mktemp("home")))
        store = WeightStore()
        for name in NETWORKS:
            store.add(REGISTRY.checkpoint(name), pseudo_weights(name))
        for name, file in MATRICES.items():
            store.add(REGISTRY.checkpoint(name), shared_parity / file)
        yield


@parametrize_with_checks([found for found in STAGES if "torch" not in found.spec.requires])
def test_bundled_stage_passes(check: ContractCheck) -> None:
    check()


@pytest.mark.slow
@parametrize_with_checks([found for found in STAGES if "torch" in found.spec.requires], options=OPTIONS)
def test_bundled_network_stage_passes(check: ContractCheck, request: pytest.FixtureRequest) -> None:
    spec = check.spec
    if spec.checkpoints or spec.optional_checkpoints:
        request.getfixturevalue("weights")
    if check.report.unavailable:
        missing = [name for name in spec.requires if importlib.util.find_spec(name) is None]
        assert missing or spec.name == "spandrel", str(check.report)
    check()


@pytest.mark.slow
@parametrize_with_checks(METRICS)
def test_bundled_metric_passes(check: ContractCheck) -> None:
    check()
