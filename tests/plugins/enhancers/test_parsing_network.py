"""ParseNet against the numbers of the published implementation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit.errors import WeightsError
from retalkit.inference import load_weights
from retalkit.weights.load import read_checkpoint
from retalkit_enhancers.parsing.interface import CHECKPOINTS
from retalkit_enhancers.parsing.network import CLASSES, ParseNet, empty_network, parameter_shapes
from retalkit_enhancers.parsing.parser import FaceParser
from retalkit_enhancers.parsing.quick import QuickParseNet
from safetensors.torch import load_file, save_file

from tests.pseudo_weights import load_module, manifest

TOLERANCE = 1e-4
"""In deviations of the whole output, which is 11.7: the scores have no unit."""


@pytest.fixture(scope="module")
def network(pseudo_weights: Callable[[str], Path]) -> ParseNet:
    return load_weights(empty_network(), pseudo_weights("parsenet"))


@pytest.fixture(scope="module")
def quick(network: ParseNet) -> QuickParseNet:
    with torch.inference_mode():
        return QuickParseNet(network)


@pytest.mark.parametrize("way", ["network", "quick"])
def test_scores_and_classes_are_the_published_ones(
    way: str, shared_parity: Path, request: pytest.FixtureRequest
) -> None:
    parse: ParseNet | QuickParseNet = request.getfixturevalue(way)
    image = load_module(shared_parity / "inputs.py").make("parsenet")["x"]
    with np.load(shared_parity / "parsenet.npz") as arrays:
        published = dict(arrays)
    with torch.inference_mode():
        scores = parse(torch.from_numpy(image)).numpy()
    mean, deviation, least, most = published["out_mask__stats"]
    near = {"rtol": 0, "atol": TOLERANCE * deviation}
    stride = int(published["out_mask__stride"])
    np.testing.assert_allclose(scores[..., ::stride, ::stride], published["out_mask"], **near)
    np.testing.assert_allclose(scores[..., :16, :16], published["out_mask__tl16"], **near)
    np.testing.assert_allclose(scores[..., -16:, -16:], published["out_mask__br16"], **near)
    measured = (scores.mean(dtype=np.float64), scores.std(dtype=np.float64, ddof=1), scores.min(), scores.max())
    np.testing.assert_allclose(measured, (mean, deviation, least, most), **near)
    classes = published["argmax_u8"]
    # Of 262144 pixels with random weights, some have two classes that are as good as each other.
    assert (scores.argmax(1) == classes).mean() > 0.9999
    chosen = np.take_along_axis(scores, classes[:, None].astype(np.int64), 1)
    np.testing.assert_allclose(chosen[:, 0], scores.max(1), **near)


def test_the_quick_way_is_the_network_and_faces_do_not_depend_on_each_other(
    network: ParseNet, quick: QuickParseNet
) -> None:
    # 192 rows are bands of which each follows another, at three levels.
    faces = torch.rand(2, 3, 192, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        expected = network(faces)
        scores = quick(faces)
        assert torch.equal(quick(faces[1:]), scores[1:])
    torch.testing.assert_close(scores, expected, rtol=0, atol=TOLERANCE * float(expected.std()))


def test_the_quick_way_refuses_sizes_that_it_would_get_wrong(quick: QuickParseNet) -> None:
    with pytest.raises(ValueError, match="multiples of 64"):
        quick(torch.zeros(1, 3, 64, 80))


def test_names_and_shapes_are_those_of_the_checkpoint(shared_parity: Path) -> None:
    known = {name: tuple(shape) for name, (shape, _) in manifest(shared_parity, "parsenet")["state_dict"].items()}
    assert parameter_shapes() == known
    assert sum(name.startswith("out_img_conv") for name in known) == 2


def test_a_published_file_is_read_as_it_is(pseudo_weights: Callable[[str], Path], tmp_path: Path) -> None:
    state = load_file(pseudo_weights("parsenet"))
    file = tmp_path / "ParseNet-latest.pth"
    torch.save(state, file)
    arrays = read_checkpoint(file, CHECKPOINTS[0])
    assert set(arrays) == set(parameter_shapes())
    np.testing.assert_array_equal(
        arrays["body.3.conv2.norm.norm.running_var"], state["body.3.conv2.norm.norm.running_var"]
    )


def test_a_file_without_a_norm_is_refused(pseudo_weights: Callable[[str], Path], tmp_path: Path) -> None:
    state = load_file(pseudo_weights("parsenet"))
    del state["encoder.1.conv1.norm.norm.running_mean"]
    file = tmp_path / "short.safetensors"
    save_file(state, file)
    with pytest.raises(WeightsError, match="does not fit"):
        load_weights(empty_network(), file)


def test_parser_gives_the_class_of_the_highest_score(network: ParseNet, pseudo_weights: Callable[[str], Path]) -> None:
    # Any multiple of 64 pixels: a small face saves time.
    face = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    classes = FaceParser(pseudo_weights("parsenet")).classes(face)
    with torch.inference_mode():
        image = torch.from_numpy(face).permute(2, 0, 1)[None].float() / 255 * 2 - 1
        scores = network(image)[0].numpy()
    assert scores.shape[0] == CLASSES
    assert classes.dtype == np.uint8
    assert len(np.unique(classes)) > 3
    # Colours in the order red, green, blue; a tie of two scores may fall either way.
    assert (classes == scores.argmax(0)).mean() > 0.999
