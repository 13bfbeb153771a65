"""Checkpoints of the metrics' networks: contents of the published files, and reading them."""

from __future__ import annotations

from math import prod
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="these metrics need the extra: pip install 'retalkit[paper]'")

from retalkit.errors import WeightsError
from retalkit.inference import load_weights
from retalkit.metrics import MetricSpec
from retalkit.plugins.availability import metric_availability
from retalkit.plugins.discovery import discover
from retalkit.weights.checkpoint import Checkpoint
from retalkit.weights.load import read_checkpoint
from retalkit_metrics.fid.network import empty_network as empty_inception
from retalkit_metrics.identity.network import empty_network as empty_recogniser
from retalkit_metrics.lpips.network import AlexNetFeatures, LinearLayers
from retalkit_metrics.syncnet.network import SyncNet
from safetensors.torch import save_file

from tests.conftest import REPOSITORY
from tests.plugins.metrics.network_weights import random_state

METRICS = {"syncnet", "lpips", "fid", "identity"}

# Checkpoint: number of entries, number of values, and some shapes. All but the two of LPIPS were derived from the
# publishers' classes.
KNOWN = {
    "syncnet": (
        102,
        13_640_270,
        {
            "netcnnaud.0.weight": (64, 1, 3, 3),
            "netcnnaud.18.weight": (512, 256, 5, 4),
            "netcnnaud.19.running_mean": (512,),
            "netfcaud.3.weight": (1024, 512),
            "netcnnlip.0.weight": (96, 3, 5, 7, 7),
            "netcnnlip.18.weight": (512, 256, 1, 6, 6),
            "netcnnlip.19.bias": (512,),
            "netfclip.1.num_batches_tracked": (),
            "netfclip.3.bias": (1024,),
        },
    ),
    "lpips_alexnet": (
        10,
        2_469_696,
        {"features.0.weight": (64, 3, 11, 11), "features.8.bias": (256,), "features.10.weight": (256, 256, 3, 3)},
    ),
    "lpips_linear": (5, 1_152, {"lin0.model.1.weight": (1, 64, 1, 1), "lin4.model.1.weight": (1, 256, 1, 1)}),
    "fid_inception": (
        566,
        23_885_486,
        {
            "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
            "Mixed_5d.branch5x5_2.bn.running_var": (64,),
            "Mixed_6c.branch7x7dbl_2.conv.weight": (160, 160, 7, 1),
            "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
            "Mixed_7c.branch3x3dbl_3b.conv.weight": (384, 384, 3, 1),
            "fc.weight": (1008, 2048),
        },
    ),
    "arcface_ir_se50": (
        397,
        43_824_118,
        {
            "input_layer.2.weight": (64,),
            "body.3.shortcut_layer.0.weight": (128, 64, 1, 1),
            "body.23.res_layer.5.fc1.weight": (32, 512, 1, 1),
            "output_layer.3.weight": (512, 25088),
            "output_layer.4.running_var": (512,),
        },
    ),
}


def checkpoint(name: str) -> Checkpoint:
    return discover().checkpoint(name)


@pytest.mark.parametrize("name", KNOWN)
def test_names_and_shapes_match_the_published_file(name: str) -> None:
    shapes = checkpoint(name).expected_shapes()
    entries, numbers, some = KNOWN[name]
    assert len(shapes) == entries
    assert sum(prod(shape) for shape in shapes.values()) == numbers
    assert {key: shapes[key] for key in some} == some


@pytest.mark.parametrize("name", ["syncnet", "fid_inception"])
def test_declared_size_matches_the_number_of_values(name: str) -> None:
    size = checkpoint(name).size
    assert size is not None
    assert 0 < size - 4 * KNOWN[name][1] < 150_000


def test_missing_weights_message_names_the_pull_command() -> None:
    found = {metric.spec.name: metric for metric in discover().metrics if metric.spec.name in METRICS}
    assert set(found) == METRICS
    for name, metric in found.items():
        reason = metric_availability(metric)
        assert reason is not None and f"`retalkit weights pull {metric.spec.checkpoints[0]}" in reason, name


def test_licences_are_declared() -> None:
    specs: list[MetricSpec] = [found.spec for found in discover().metrics if found.spec.name in METRICS]
    declared = {each.name: each for each in discover().checkpoints}
    for spec in specs:
        for name in spec.checkpoints:
            assert declared[name].licence and declared[name].urls and declared[name].sha256
    # No licence is published for these weights; the licences of the code do not cover them.
    assert [name for name in KNOWN if declared[name].commercial_use is None] == [
        "syncnet",
        "lpips_alexnet",
        "arcface_ir_se50",
    ]


def test_measures_and_checkpoints_are_documented() -> None:
    text = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
    specs = [found.spec for found in discover().metrics if found.spec.name in METRICS]
    assert [measure.name for spec in specs for measure in spec.measures if f"`{measure.name}`" not in text] == []
    assert [name for spec in specs for name in spec.checkpoints if f"`{name}`" not in text] == []


def test_legacy_syncnet_pickle_is_read(tmp_path: Path) -> None:
    # Files of PyTorch before 1.6 are not zip archives; norms before 0.4.1 have no num_batches_tracked.
    state = {name: value for name, value in random_state(SyncNet()).items() if not name.endswith("batches_tracked")}
    file = tmp_path / "syncnet_v2.model"
    torch.save(state, file, _use_new_zipfile_serialization=False)
    arrays = read_checkpoint(file, checkpoint("syncnet"))
    assert set(arrays) == set(checkpoint("syncnet").expected_shapes())
    assert torch.equal(arrays["netcnnlip.0.weight"], state["netcnnlip.0.weight"])


def test_pickled_syncnet_module_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "syncnet_v2.model"
    torch.save(SyncNet(), file)
    with pytest.raises(WeightsError, match="could run code"):
        read_checkpoint(file, checkpoint("syncnet"))


def test_alexnet_classifier_is_dropped(tmp_path: Path) -> None:
    state = random_state(AlexNetFeatures())
    file = tmp_path / "alexnet-owt-7be5be79.pth"
    torch.save({**state, "classifier.1.weight": torch.zeros(4, 4), "classifier.6.bias": torch.zeros(4)}, file)
    assert set(read_checkpoint(file, checkpoint("lpips_alexnet"))) == set(state)


def test_lpips_weights_of_another_backbone_are_rejected(tmp_path: Path) -> None:
    state = random_state(LinearLayers())
    state["lin4.model.1.weight"] = torch.zeros(1, 512, 1, 1)
    file = tmp_path / "vgg.safetensors"
    save_file(state, file)
    with pytest.raises(WeightsError, match="shape mismatch: lin4.model.1.weight"):
        read_checkpoint(file, checkpoint("lpips_linear"))


@pytest.mark.parametrize("empty", [empty_inception, empty_recogniser])
def test_incomplete_checkpoint_is_rejected(empty, tmp_path: Path) -> None:
    state = random_state(empty())
    missing = next(name for name in state if name.endswith("running_mean"))
    del state[missing]
    file = tmp_path / "short.safetensors"
    save_file(state, file)
    with pytest.raises(WeightsError, match="do not match"):
        load_weights(empty(), file)
