"""ParseNet against the numbers of the published implementation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit.errors import WeightsError  # noqa: E402
from retalkit.inference import load_weights  # noqa: E402
from retalkit.weights.reading import read_checkpoint  # noqa: E402
from retalkit_enhancers.parsing.interface import CHECKPOINTS  # noqa: E402
from retalkit_enhancers.parsing.network import CLASSES, ParseNet, empty_network, parameter_shapes  # noqa: E402
from retalkit_enhancers.parsing.parser import FaceParser  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from tests.pseudo_weights import load_module, manifest  # noqa: E402

TOLERANCE = 1e-4
"""In deviations of the whole output, which is 11.7: the scores have no unit."""


@pytest.fixture(scope="module")
def network(pseudo_weights: Callable[[str], Path]) -> ParseNet:
    return load_weights(empty_network(), pseudo_weights("parsenet"))


def test_scores_and_classes_are_the_published_ones(network: ParseNet, shared_parity: Path) -> None:
    image = load_module(shared_parity / "inputs.py").make("parsenet")["x"]
    with np.load(shared_parity / "parsenet.npz") as arrays:
        published = dict(arrays)
    with torch.inference_mode():
        scores = network(torch.from_numpy(image)).numpy()
    mean, deviation, least, most = published["out_mask__stats"]
    near = {"rtol": 0, "atol": TOLERANCE * deviation}
    stride = int(published["out_mask__stride"])
    np.testing.assert_allclose(scores[..., ::stride, ::stride], published["out_mask"], **near)
    np.testing.assert_allclose(scores[..., :16, :16], published["out_mask__tl16"], **near)
    np.testing.assert_allclose(scores[..., -16:, -16:], published["out_mask__br16"], **near)
    measured = (scores.mean(dtype=np.float64), scores.std(dtype=np.float64, ddof=1), scores.min(), scores.max())
    np.testing.assert_allclose(measured, (mean, deviation, least, most), **near)
    np.testing.assert_array_equal(scores.argmax(1), published["argmax_u8"])


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
    # Any multiple of 16 pixels: a small face saves time.
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
