"""L-Net compared with the published implementation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from retalkit.errors import WeightsError
from retalkit.plugins.discovery import discover
from retalkit.stages import ObjectPool, Runtime
from retalkit.weights.load import check_names, unwrap_state_dict

from tests.parity import TOLERANCE, Published

torch = pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit.inference import computing, empty_network, load_weights
from retalkit_renderers.lnet.convolutions import spectral_convolution
from retalkit_renderers.lnet.face_generator import FaceGenerator
from retalkit_renderers.lnet.network import LNet, parameter_shapes


@pytest.fixture(scope="module")
def published(shared_parity: Path) -> Published:
    return Published(shared_parity, "lnet")


@pytest.fixture(scope="module")
def pool() -> ObjectPool:
    return ObjectPool()


@pytest.fixture(scope="module")
def generator(pseudo_weights: Callable[[str], Path], pool: ObjectPool) -> FaceGenerator:
    return FaceGenerator(Runtime(inference="torch", weights={"lnet": pseudo_weights("lnet")}, pool=pool), 4)


def test_parameters_match_the_published_checkpoint(published: Published) -> None:
    assert parameter_shapes() == published.shapes


def test_inputs_match_those_of_the_published_outputs(published: Published) -> None:
    for name, values in published.inputs.items():
        digest = np.frombuffer(hashlib.sha256(values.tobytes()).digest()[:8], np.uint8)
        np.testing.assert_array_equal(digest, published.outputs[f"in_{name}__sha256_8"])


def test_outputs_match_published(pseudo_weights: Callable[[str], Path], published: Published) -> None:
    network = load_weights(empty_network(LNet), pseudo_weights("lnet"))
    speech, faces = (torch.from_numpy(published.inputs[name]) for name in ("audio_sequences", "face_sequences"))
    with computing("cpu", "float32"):
        published.check(network.audio_encoder(speech).numpy(), "mid_audio_feat")
        published.check(network(speech, faces).numpy(), "out")


def test_generated_faces_are_rgb_and_independent_of_the_batch(generator: FaceGenerator, published: Published) -> None:
    speech, faces = published.inputs["audio_sequences"][:, 0], published.inputs["face_sequences"]
    together = generator(speech, faces)
    expected = published.outputs["out"][:, ::-1].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(together, expected, rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(generator(speech[1:], faces[1:])[0], together[1])
    assert generator(speech[:0], faces[:0]).shape == (0, 96, 96, 3)


@pytest.mark.parametrize(
    "inference",
    [
        "torch",
        # OpenVINO needs 16 seconds to convert the network.
        pytest.param(
            "openvino",
            marks=[pytest.mark.slow, pytest.mark.skipif(find_spec("openvino") is None, reason="no openvino")],
        ),
    ],
)
def test_bfloat16_is_close(
    pseudo_weights: Callable[[str], Path], published: Published, inference: str, request: pytest.FixtureRequest
) -> None:
    if inference == "torch":
        request.getfixturevalue("bfloat16_instructions")
    speech, faces = published.inputs["audio_sequences"][:1, 0], published.inputs["face_sequences"][:1]
    runtime = Runtime(inference=inference, precision="bfloat16", weights={"lnet": pseudo_weights("lnet")})
    face = FaceGenerator(runtime, 2)(speech, faces)
    assert face.shape == (1, 96, 96, 3)
    assert face.dtype == np.float32
    assert np.abs(face - published.outputs["out"][:1, ::-1].transpose(0, 2, 3, 1)).mean() < 0.02


def test_spectral_norm_uses_stored_vectors_in_evaluation_and_iterates_in_training() -> None:
    convolution: Any = spectral_convolution(3, 4, 3)
    x = torch.rand(1, 3, 8, 8)
    stored = convolution.weight_u.clone()
    convolution.eval()
    sigma = torch.dot(convolution.weight_u, convolution.weight_orig.flatten(1) @ convolution.weight_v)
    expected = torch.nn.functional.conv2d(x, convolution.weight_orig / sigma, convolution.bias, padding=1)
    torch.testing.assert_close(convolution(x), expected)
    assert torch.equal(convolution.weight_u, stored)
    convolution.train()
    convolution(x)
    assert not torch.equal(convolution.weight_u, stored)


def test_wrappers_of_the_published_file_are_removed() -> None:
    checkpoint = discover().checkpoint("lnet")
    path = Path("LNet.pth")
    with torch.device("meta"):
        tensors = LNet().state_dict()
    wrapped = {f"module.{name}": tensor for name, tensor in tensors.items()}
    inside = {f"module.low_res.{name}": tensor for name, tensor in tensors.items()}
    found = unwrap_state_dict({"state_dict": {**wrapped, **inside}, "epoch": 3}, checkpoint, path)
    check_names(found, checkpoint, path)
    assert set(found) == set(tensors)
    missing, unexpected = "decoder.final.model.0.weight_u", "decoder.res2.res9.conv1.bn_l.mlp_gamma.bias"
    found[unexpected] = found.pop(missing)
    with pytest.raises(WeightsError, match=f"{missing}.*{unexpected}"):
        check_names(found, checkpoint, path)
