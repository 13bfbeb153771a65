"""L-Net against the numbers of the published implementation, with its pseudo-random weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from retalkit.errors import WeightsError
from retalkit.plugins.discovery import discover
from retalkit.weights.load import check_names, unwrap_state_dict

from tests.pseudo_weights import load_module, manifest

torch = pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit.inference import computing, load_weights
from retalkit_renderers.lnet.drawing import FaceDrawing, empty_network
from retalkit_renderers.lnet.folding import fold
from retalkit_renderers.lnet.network import LNet, parameter_shapes
from retalkit_renderers.lnet.packing import PackedConvolution
from retalkit_renderers.lnet.winograd import WinogradConvolution

TOLERANCE = 1e-4


class Published:
    """Inputs and outputs of the published implementation."""

    def __init__(self, parity: Path) -> None:
        self.inputs: dict[str, NDArray[np.float32]] = load_module(parity / "inputs.py").make("lnet")
        with np.load(parity / "lnet.npz") as outputs:
            self.outputs = dict(outputs)
        self.speech = torch.from_numpy(self.inputs["audio_sequences"])
        self.faces = torch.from_numpy(self.inputs["face_sequences"])
        self.drawn = self.outputs["out"][:, ::-1].transpose(0, 2, 3, 1)


@pytest.fixture(scope="module")
def published(shared_parity: Path) -> Published:
    return Published(shared_parity)


@pytest.fixture(scope="module")
def drawing(pseudo_weights: Callable[[str], Path]) -> FaceDrawing:
    return FaceDrawing(pseudo_weights("lnet"), "cpu", "float32", 4)


def test_names_and_shapes_are_those_of_the_published_checkpoint(shared_parity: Path) -> None:
    entries = manifest(shared_parity, "lnet")["state_dict"]
    assert parameter_shapes() == {name: tuple(shape) for name, (shape, _) in entries.items()}


def test_inputs_are_those_that_the_published_network_got(published: Published) -> None:
    for name, values in published.inputs.items():
        digest = np.frombuffer(hashlib.sha256(values.tobytes()).digest()[:8], np.uint8)
        np.testing.assert_array_equal(digest, published.outputs[f"in_{name}__sha256_8"])


def test_the_network_as_it_is_trained_gives_the_published_numbers(
    pseudo_weights: Callable[[str], Path], published: Published
) -> None:
    network = load_weights(empty_network(), pseudo_weights("lnet"))
    with computing("cpu", "float32"):
        heard = network.audio_encoder(published.speech).numpy()
        drawn = network(published.speech, published.faces).numpy()
    np.testing.assert_allclose(heard, published.outputs["mid_audio_feat"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(drawn, published.outputs["out"], rtol=0, atol=TOLERANCE)


def test_the_folded_network_of_a_processor_gives_the_published_numbers(
    drawing: FaceDrawing, published: Published
) -> None:
    drawn = drawing(published.inputs["audio_sequences"][:, 0], published.inputs["face_sequences"])
    np.testing.assert_allclose(drawn, published.drawn, rtol=0, atol=TOLERANCE)
    mean, deviation, *_ = published.outputs["out__stats"]
    assert drawn.mean() == pytest.approx(mean, abs=1e-5)
    assert drawn.std(ddof=1) == pytest.approx(deviation, abs=1e-5)


def test_a_face_does_not_depend_on_those_that_are_drawn_with_it(drawing: FaceDrawing, published: Published) -> None:
    speech, faces = published.inputs["audio_sequences"][:, 0], published.inputs["face_sequences"]
    together = drawing(speech, faces)
    for row in (0, 1):
        np.testing.assert_array_equal(drawing(speech[row : row + 1], faces[row : row + 1])[0], together[row])
    assert drawing(speech[:0], faces[:0]).shape == (0, 96, 96, 3)


def test_the_folded_network_for_batches_gives_the_published_numbers(
    pseudo_weights: Callable[[str], Path], published: Published
) -> None:
    network = fold(load_weights(empty_network(), pseudo_weights("lnet")), processor=False)
    with computing("cpu", "float32"):
        together = network(published.speech, published.faces).numpy()
        alone = [network(published.speech[row : row + 1], published.faces[row : row + 1]).numpy()[0] for row in (0, 1)]
    np.testing.assert_allclose(together, published.outputs["out"], rtol=0, atol=TOLERANCE)
    # Kernels differ with the number of pictures, and 54 norms enlarge the last digit; drawing fills batches up.
    np.testing.assert_allclose(np.stack(alone), together, rtol=0, atol=5e-5)


def test_half_precision_stays_near(pseudo_weights: Callable[[str], Path], published: Published) -> None:
    speech, faces = published.inputs["audio_sequences"][:1, 0], published.inputs["face_sequences"][:1]
    # As on any other device batches are filled up; what fills them does not come back.
    drawn = FaceDrawing(pseudo_weights("lnet"), "cpu", "bfloat16", 2)(speech, faces)
    assert drawn.shape == (1, 96, 96, 3)
    assert drawn.dtype == np.float32
    assert np.abs(drawn - published.drawn[:1]).mean() < 0.02


def test_a_torch_that_packs_no_weights_is_no_obstacle(
    pseudo_weights: Callable[[str], Path], published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: PackedConvolution, height: int, width: int) -> bool:
        return False

    monkeypatch.setattr(PackedConvolution, "pack", refused)
    network = fold(load_weights(empty_network(), pseudo_weights("lnet")), processor=True)
    assert not any(isinstance(module, WinogradConvolution) for module in network.modules())
    with computing("cpu", "float32"):
        drawn = network(published.speech[:1], published.faces[:1]).numpy()
    np.testing.assert_allclose(drawn, published.outputs["out"][:1], rtol=0, atol=TOLERANCE)


def test_the_wrappers_of_the_published_file_are_taken_off() -> None:
    checkpoint = discover().checkpoint("lnet")
    path = Path("LNet.pth")
    with torch.device("meta"):
        tensors = LNet().state_dict()
    wrapped = {f"module.{name}": tensor for name, tensor in tensors.items()}
    inside = {f"module.low_res.{name}": tensor for name, tensor in tensors.items()}
    found = unwrap_state_dict({"state_dict": {**wrapped, **inside}, "epoch": 3}, checkpoint, path)
    check_names(found, checkpoint, path)
    assert set(found) == set(tensors)
    lost, added = "decoder.final.model.0.weight_u", "decoder.res2.res9.conv1.bn_l.mlp_gamma.bias"
    found[added] = found.pop(lost)
    with pytest.raises(WeightsError, match=f"missing {lost}; unexpected {added}"):
        check_names(found, checkpoint, path)
