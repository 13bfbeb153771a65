"""Wav2Lip's generator compared with the published implementation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from retalkit.errors import WeightsError
from retalkit.plugins.discovery import discover
from retalkit.stages import ObjectPool, Runtime
from retalkit.weights.load import check_names, unwrap_state_dict

from tests.parity import Published
from tests.pseudo_weights import load_module

torch = pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit.inference import computing, empty_network, load_weights
from retalkit_renderers.wav2lip.face_generator import FaceGenerator
from retalkit_renderers.wav2lip.network import Wav2LipGenerator, parameter_shapes

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def published(shared_parity: Path) -> Published:
    return Published(shared_parity, "wav2lip", published_inputs(shared_parity))


def published_inputs(parity: Path) -> dict[str, NDArray[np.float32]]:
    """Return the inputs by the rule in the manifest (``inputs_rule``)."""
    image = load_module(parity / "inputs.py").img
    generator = np.random.default_rng(0)
    mel = np.clip(generator.standard_normal((2, 1, 80, 16)) * 1.5, -4, 4)
    original, reference = (image(generator, 2, 3, 96, 96) for _ in range(2))
    original[:, :, 48:] = 0
    faces = np.concatenate([original, reference], axis=1)
    return {"audio_sequences": mel.astype(np.float32), "face_sequences": faces.astype(np.float32)}


def runtime(weights: Path, **options: str) -> Runtime:
    return Runtime(weights={"wav2lip": weights}, pool=ObjectPool(), **options)  # type: ignore[arg-type]


def test_parameters_match_the_published_checkpoint(published: Published) -> None:
    assert parameter_shapes() == published.shapes
    assert list(parameter_shapes()) == list(published.shapes), "optimiser states depend on the order"


def test_inputs_match_those_of_the_published_outputs(published: Published) -> None:
    for name, values in published.inputs.items():
        digest = np.frombuffer(hashlib.sha256(values.tobytes()).digest()[:8], np.uint8)
        np.testing.assert_array_equal(digest, published.outputs[f"in_{name}__sha256_8"])


def test_outputs_match_published(pseudo_weights: Callable[[str], Path], published: Published) -> None:
    network = load_weights(empty_network(Wav2LipGenerator), pseudo_weights("wav2lip"))
    speech, faces = (torch.from_numpy(published.inputs[name]) for name in ("audio_sequences", "face_sequences"))
    with computing("cpu", "float32"):
        published.check(network.audio_encoder(speech).numpy(), "mid_audio", TOLERANCE)
        features = faces
        for block in network.face_encoder_blocks[:7]:
            features = block(features)
        published.check(features.numpy(), "mid_face", TOLERANCE)
        published.check(network(speech, faces).numpy(), "prediction", TOLERANCE)


@pytest.mark.parametrize(
    "inference",
    [
        "torch",
        pytest.param("openvino", marks=pytest.mark.skipif(find_spec("openvino") is None, reason="no openvino")),
    ],
)
def test_generated_faces_are_rgb_and_independent_of_the_batch(
    pseudo_weights: Callable[[str], Path], published: Published, inference: str
) -> None:
    generator = FaceGenerator("wav2lip", runtime(pseudo_weights("wav2lip"), inference=inference), 4)
    speech, faces = published.inputs["audio_sequences"][:, 0], published.inputs["face_sequences"]
    together = generator(speech, faces)
    expected = published.outputs["prediction"][:, ::-1].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(together, expected, rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(generator(speech[1:], faces[1:])[0], together[1])
    assert generator(speech[:0], faces[:0]).shape == (0, 96, 96, 3)


def test_bfloat16_is_close(pseudo_weights: Callable[[str], Path], published: Published) -> None:
    speech, faces = published.inputs["audio_sequences"][:1, 0], published.inputs["face_sequences"][:1]
    face = FaceGenerator("wav2lip", runtime(pseudo_weights("wav2lip"), precision="bfloat16"), 2)(speech, faces)
    assert face.shape == (1, 96, 96, 3)
    assert face.dtype == np.float32
    assert np.abs(face - published.outputs["prediction"][:1, ::-1].transpose(0, 2, 3, 1)).mean() < 0.01


def test_width_is_proportional_to_the_channels() -> None:
    narrow = Wav2LipGenerator(channels=2).train()
    shapes = {name: tuple(value.shape) for name, value in narrow.state_dict().items()}
    assert list(shapes) == list(parameter_shapes())
    assert shapes["face_encoder_blocks.0.0.conv_block.0.weight"] == (2, 6, 7, 7)
    assert shapes["audio_encoder.0.conv_block.0.weight"] == (4, 1, 3, 3)
    assert shapes["face_decoder_blocks.3.0.conv_block.0.weight"] == (96, 48, 3, 3)
    assert shapes["output_block.1.weight"] == (3, 4, 1, 1)
    generated = narrow(torch.randn(2, 1, 80, 16), torch.rand(2, 6, 96, 96))
    assert generated.shape == (2, 3, 96, 96)
    generated.mean().backward()
    assert all(value.grad is not None for value in narrow.parameters())


def test_wrappers_of_the_published_files_are_removed() -> None:
    with torch.device("meta"):
        tensors = Wav2LipGenerator().state_dict()
    wrapped = {f"module.{name}": tensor for name, tensor in tensors.items()}
    for name in ("wav2lip", "wav2lip_gan"):
        checkpoint = discover().checkpoint(name)
        path = Path(checkpoint.file)
        found = unwrap_state_dict(
            {"state_dict": dict(wrapped), "optimizer": {"state": {}}, "global_step": 3, "global_epoch": 1},
            checkpoint,
            path,
        )
        check_names(found, checkpoint, path)
        assert set(found) == set(tensors)
        missing = "output_block.1.weight"
        found["output_block.2.weight"] = found.pop(missing)
        with pytest.raises(WeightsError, match=rf"{missing}.*output_block\.2\.weight") as error:
            check_names(found, checkpoint, path)
        assert error.value.code == "weights-mismatch"
