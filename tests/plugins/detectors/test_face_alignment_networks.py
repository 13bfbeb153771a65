"""S3FD and FAN of the library with weights of the store, compared with published outputs."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'retalkit[face-alignment]'")
pytest.importorskip("face_alignment", reason="needs the extra: pip install 'retalkit[face-alignment]'")

from retalkit.errors import WeightsError
from retalkit.observer import SilentObserver
from retalkit.stages import DetectionClip, FrameBatch, ObjectPool, Runtime, SourceInfo, StageContext
from retalkit.storage.cache import Folder
from retalkit_detectors.face_alignment.interface import CHECKPOINTS, STAGES
from retalkit_detectors.face_alignment.networks import load_networks
from safetensors.torch import load_file, save_file

from tests.pseudo_weights import load_module, manifest

Weights = Callable[[str], Path]
POOL = ObjectPool()


@pytest.mark.parametrize("name", ["s3fd", "fan"])
def test_parameters_match_the_published_checkpoint(shared_parity: Path, name: str) -> None:
    declared = next(checkpoint for checkpoint in CHECKPOINTS if checkpoint.name == name)
    known = manifest(shared_parity, name)["state_dict"]
    assert declared.expected_shapes() == {key: tuple(shape) for key, (shape, _) in known.items()}


def test_file_names_contain_the_published_hash() -> None:
    for checkpoint in CHECKPOINTS:
        assert checkpoint.sha256 is not None and len(checkpoint.sha256) == 64
        assert checkpoint.sha256.startswith(checkpoint.file.split("-")[1].split(".")[0])


@pytest.mark.parametrize("name", ["s3fd", "fan"])
def test_outputs_match_published(shared_parity: Path, pseudo_weights: Weights, name: str) -> None:
    weights = {key: pseudo_weights(key) for key in ("s3fd", "fan")}
    networks = load_networks(Runtime(inference="torch", weights=weights, pool=POOL))
    inputs = load_module(shared_parity / "inputs.py").make(name)
    network = networks.s3fd if name == "s3fd" else networks.fan
    outputs = network(torch.from_numpy(inputs["x"]))
    reference = np.load(shared_parity / f"{name}.npz")
    keys = list(manifest(shared_parity, name)["outputs"])
    assert len(keys) == len(outputs)
    for key, output in zip(keys, outputs, strict=True):
        stride = int(reference[f"{key}__stride"])
        # Outputs of FAN with these weights are in the thousands: the tolerance is relative to their deviation.
        tolerance = 2e-5 * max(1.0, float(reference[f"{key}__stats"][1]))
        np.testing.assert_allclose(output[..., ::stride, ::stride].numpy(), reference[key], rtol=0, atol=tolerance)


def test_mismatched_weights_are_reported_by_name(pseudo_weights: Weights, tmp_path: Path) -> None:
    tensors = load_file(pseudo_weights("s3fd"))
    tensors["conv9_9.weight"] = tensors.pop("conv1_1.weight")
    file = tmp_path / "s3fd.safetensors"
    save_file(tensors, file)
    with pytest.raises(WeightsError, match=r"conv1_1\.weight"):
        load_networks(Runtime(inference="torch", weights={"s3fd": file, "fan": pseudo_weights("fan")}))


def test_stage_downloads_nothing_and_writes_only_to_its_cache(
    pseudo_weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("network access")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    home, cache = tmp_path / "home", Folder(tmp_path / "cache")
    home.mkdir()
    for variable in ("HOME", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(home))
    monkeypatch.chdir(home)
    weights = {name: pseudo_weights(name) for name in STAGES[0].checkpoints}
    config = STAGES[0].config.model_validate({"max_faces": 1})
    stage: Any = STAGES[0].make(config, Runtime(inference="torch", weights=weights))
    clip = DetectionClip(source=SourceInfo(53, 21, 1, 0.04))
    session = stage.open(clip, StageContext(cache, SilentObserver()))
    image = np.random.default_rng(0).integers(0, 256, (1, 21, 53, 3), np.uint8)
    faces = session.detect(FrameBatch(image, np.zeros(1), np.zeros(1, np.int64)))
    session.close()
    assert [len(found) <= 1 for found in faces] == [True]
    assert list(home.iterdir()) == []
    assert [file.suffix for file in cache.folder.iterdir()] == [".npz"]


def test_json_of_options_is_plain() -> None:
    assert json.dumps(STAGES[0].config().model_dump())
