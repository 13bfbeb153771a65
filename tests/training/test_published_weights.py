"""Weights of the frozen networks: from ``retalkit weights import`` to the losses."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")

from retalkit.cli.main import main
from retalkit.errors import RetalkitError
from retalkit.plugins.discovery import discover
from retalkit_training.losses.config import IdentityConfig, PerceptualConfig
from retalkit_training.networks.vgg import VggFeatures
from retalkit_training.tasks.frozen_weights import StoredWeights
from retalkit_training.tasks.supervision import identity_loss, perceptual_loss
from safetensors.torch import save_file

VGG = PerceptualConfig(network="vgg16", layers=("relu_5_3",))


def run(*arguments: object) -> int:
    """Run ``retalkit`` and return the exit code."""
    with pytest.raises(SystemExit) as left:
        main([str(each) for each in arguments])
    return int(left.value.code or 0)


def test_declared_files_have_the_published_names_and_parameters(shared_parity_training: Path) -> None:
    registry = discover()
    for name, classifier in (("vgg16", 123_642_856), ("vgg19", 123_642_856)):
        checkpoint = registry.checkpoint(name)
        known = json.loads((shared_parity_training / f"{name}.manifest.json").read_text(encoding="utf-8"))
        shapes = checkpoint.expected_shapes()
        assert {each: list(shape) for each, shape in shapes.items()} == {
            each: entry[0] for each, entry in known["state_dict"].items() if each.startswith("features.")
        }
        assert checkpoint.sha256 is not None and f"-{checkpoint.sha256[:8]}.pth" in checkpoint.file
        assert checkpoint.size is not None
        assert 0 < checkpoint.size - 4 * (sum(map(prod, shapes.values())) + classifier) < 10_000


def test_imported_weights_are_used_by_the_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RETALKIT_HOME", str(tmp_path / "home"))
    for build, name in (
        (lambda: perceptual_loss(VGG, StoredWeights()), "vgg16"),
        (lambda: identity_loss(IdentityConfig(), StoredWeights()), "arcface_ir_se50"),
    ):
        with pytest.raises(RetalkitError, match=f"`retalkit weights pull {name}`") as error:
            build()
        assert error.value.code == "missing-weights"
        assert "\n" not in str(error.value)
    weights = VggFeatures("vgg16", ["pool_5"]).state_dict()
    file = tmp_path / "vgg16.safetensors"
    save_file(weights, file)
    assert run("weights", "import", file) == 0
    assert run("weights", "list", "--json") == 0
    out = capsys.readouterr().out
    rows = {row["name"]: row for row in json.loads(out[out.index("{") :])["weights"]}
    assert rows["vgg16"]["path"] is not None
    assert rows["vgg19"]["path"] is None
    assert rows["vgg16"]["used_by"] == ["command 'train'"]
    loss = perceptual_loss(VGG, StoredWeights())
    assert torch.equal(loss.features.state_dict()["features.28.weight"], weights["features.28.weight"])
