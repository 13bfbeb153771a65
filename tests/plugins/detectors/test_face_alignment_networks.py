"""S3FD and FAN of the library with weights of our store: names, numbers, and nothing fetched."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'retalkit[face-alignment]'")
pytest.importorskip("face_alignment", reason="needs the extra: pip install 'retalkit[face-alignment]'")

from retalkit.errors import WeightsError
from retalkit.observer import SilentObserver
from retalkit.stages import FrameBatch, SourceInfo, StageContext
from retalkit.storage.cache import Folder
from retalkit_detectors.face_alignment.interface import CHECKPOINTS, STAGES
from retalkit_detectors.face_alignment.networks import load_networks
from safetensors.torch import load_file, save_file

from tests.pseudo_weights import load_module, manifest

Weights = Callable[[str], Path]


@pytest.mark.parametrize("name", ["s3fd", "fan"])
def test_names_and_shapes_are_those_of_the_published_checkpoint(shared_parity: Path, name: str) -> None:
    declared = next(checkpoint for checkpoint in CHECKPOINTS if checkpoint.name == name)
    known = manifest(shared_parity, name)["state_dict"]
    assert declared.expected_shapes() == {key: tuple(shape) for key, (shape, _) in known.items()}


def test_the_file_names_begin_with_the_published_hash() -> None:
    for checkpoint in CHECKPOINTS:
        assert checkpoint.sha256 is not None and len(checkpoint.sha256) == 64
        assert checkpoint.sha256.startswith(checkpoint.file.split("-")[1].split(".")[0])


@pytest.mark.parametrize("name", ["s3fd", "fan"])
def test_numbers_are_those_of_the_published_implementation(
    shared_parity: Path, pseudo_weights: Weights, name: str
) -> None:
    networks = load_networks(pseudo_weights("s3fd"), pseudo_weights("fan"))
    inputs = load_module(shared_parity / "inputs.py").make(name)
    network = networks.s3fd if name == "s3fd" else networks.fan
    with torch.inference_mode():
        outputs = network(torch.from_numpy(inputs["x"]))
    reference = np.load(shared_parity / f"{name}.npz")
    keys = list(manifest(shared_parity, name)["outputs"])
    assert len(keys) == len(outputs)
    for key, output in zip(keys, outputs, strict=True):
        stride = int(reference[f"{key}__stride"])
        # FAN with these weights answers with thousands, so that 1e-4 is meant in units of the output's spread.
        tolerance = 2e-5 * max(1.0, float(reference[f"{key}__stats"][1]))
        np.testing.assert_allclose(output[..., ::stride, ::stride].numpy(), reference[key], rtol=0, atol=tolerance)


def test_weights_that_do_not_fit_are_refused_by_name(pseudo_weights: Weights, tmp_path: Path) -> None:
    tensors = load_file(pseudo_weights("s3fd"))
    tensors["conv9_9.weight"] = tensors.pop("conv1_1.weight")
    file = tmp_path / "s3fd.safetensors"
    save_file(tensors, file)
    with pytest.raises(WeightsError, match=r"conv1_1\.weight"):
        load_networks(file, pseudo_weights("fan"))


def test_the_stage_reaches_for_no_network_and_writes_only_into_its_cache(
    pseudo_weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("reached for the network")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    home, cache = tmp_path / "home", Folder(tmp_path / "cache")
    home.mkdir()
    for variable in ("HOME", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(home))
    monkeypatch.chdir(home)
    weights = {name: pseudo_weights(name) for name in STAGES[0].checkpoints}
    stage = STAGES[0].make(STAGES[0].config.model_validate({"max_faces": 1}))
    session = stage.open(SourceInfo(53, 21, 1, 0.04), StageContext(cache, SilentObserver(), weights=weights))
    image = np.random.default_rng(0).integers(0, 256, (1, 21, 53, 3), np.uint8)
    faces = session.detect(FrameBatch(image, np.zeros(1), np.zeros(1, np.int64)))
    session.close()
    assert [len(found) <= 1 for found in faces] == [True]
    assert list(home.iterdir()) == []
    assert [file.suffix for file in cache.folder.iterdir()] == [".npz"]


def test_json_of_options_is_plain() -> None:
    assert json.dumps(STAGES[0].config().model_dump())
