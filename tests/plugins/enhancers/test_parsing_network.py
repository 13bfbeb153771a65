"""ParseNet compared with the published implementation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit.errors import WeightsError
from retalkit.inference import empty_network, load_weights
from retalkit.stages import Runtime
from retalkit.weights.load import read_checkpoint
from retalkit_enhancers.parsing.interface import CHECKPOINTS
from retalkit_enhancers.parsing.network import CLASSES, Convolution, ParseNet, parameter_shapes
from retalkit_enhancers.parsing.parser import FaceParser
from safetensors.torch import load_file, save_file
from torch.nn import functional

from tests.parity import TOLERANCE, Published


@pytest.fixture(scope="module")
def published(shared_parity: Path) -> Published:
    return Published(shared_parity, "parsenet")


@pytest.fixture(scope="module")
def network(pseudo_weights: Callable[[str], Path]) -> ParseNet:
    return load_weights(empty_network(ParseNet), pseudo_weights("parsenet"))


def test_logits_and_classes_match_published(network: ParseNet, published: Published) -> None:
    with torch.inference_mode():
        logits = network(torch.from_numpy(published.inputs["x"])).numpy()
    tolerance = TOLERANCE * float(published.outputs["out_mask__stats"][1])
    published.check(logits, "out_mask", tolerance)
    classes = published.outputs["argmax_u8"]
    # Of 262144 pixels with random weights, some have two classes with nearly equal logits.
    assert (logits.argmax(1) == classes).mean() > 0.9999
    chosen = np.take_along_axis(logits, classes[:, None].astype(np.int64), 1)
    np.testing.assert_allclose(chosen[:, 0], logits.max(1), rtol=0, atol=tolerance)


def test_upsampled_convolution_equals_the_two_steps() -> None:
    torch.manual_seed(6)
    layer = Convolution(5, 4, "up").double()
    x = torch.randn(2, 5, 6, 9, dtype=torch.float64)
    large = functional.interpolate(x, scale_factor=2.0, mode="nearest")
    expected = layer.conv2d(functional.pad(large, (1, 1, 1, 1), mode="reflect"))
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


def test_parameters_match_the_published_checkpoint(published: Published) -> None:
    assert parameter_shapes() == published.shapes
    assert sum(name.startswith("out_img_conv") for name in published.shapes) == 2


def test_a_published_file_is_read(pseudo_weights: Callable[[str], Path], tmp_path: Path) -> None:
    state = load_file(pseudo_weights("parsenet"))
    file = tmp_path / "ParseNet-latest.pth"
    torch.save(state, file)
    arrays = read_checkpoint(file, CHECKPOINTS[0])
    assert set(arrays) == set(parameter_shapes())
    name = "body.3.conv2.norm.norm.running_var"
    np.testing.assert_array_equal(arrays[name], state[name])


def test_a_file_without_a_normalisation_layer_is_rejected(
    pseudo_weights: Callable[[str], Path], tmp_path: Path
) -> None:
    state = load_file(pseudo_weights("parsenet"))
    del state["encoder.1.conv1.norm.norm.running_mean"]
    file = tmp_path / "short.safetensors"
    save_file(state, file)
    with pytest.raises(WeightsError, match="running_mean") as error:
        load_weights(empty_network(ParseNet), file)
    assert error.value.code == "weights-mismatch"


def test_parser_returns_the_class_of_the_highest_logit(
    network: ParseNet, pseudo_weights: Callable[[str], Path]
) -> None:
    face = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)  # a small face saves time
    runtime = Runtime(inference="torch", weights={"parsenet": pseudo_weights("parsenet")})
    classes = FaceParser(runtime).classes(face)
    with torch.inference_mode():
        image = torch.from_numpy(face).permute(2, 0, 1)[None].float() / 255 * 2 - 1
        logits = network(image)[0].numpy()
    assert logits.shape[0] == CLASSES
    assert classes.dtype == np.uint8
    assert len(np.unique(classes)) > 3
    # RGB; nearly equal logits may round either way.
    assert (classes == logits.argmax(0)).mean() > 0.999
