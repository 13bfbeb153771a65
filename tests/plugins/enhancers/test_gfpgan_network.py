"""GFPGAN compared with the published implementation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit.errors import WeightsError
from retalkit.inference import empty_network, load_weights
from retalkit.stages import ObjectPool, Runtime
from retalkit.weights.load import read_checkpoint
from retalkit_enhancers.gfpgan.generator import NOISE_SIZES
from retalkit_enhancers.gfpgan.interface import CHECKPOINTS
from retalkit_enhancers.gfpgan.network import Gfpgan, parameter_shapes
from retalkit_enhancers.gfpgan.restorer import gfpgan_restorer
from safetensors.numpy import load_file, save_file

from tests.parity import Published


@pytest.fixture(scope="module")
def published(shared_parity: Path) -> Published:
    return Published(shared_parity, "gfpgan")


@pytest.fixture(scope="module")
def network(pseudo_weights: Callable[[str], Path]) -> Gfpgan:
    return load_weights(empty_network(Gfpgan), pseudo_weights("gfpgan"))


@pytest.fixture(scope="module")
def noisy_weights(pseudo_weights: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All noise strengths 0.1, as in the second published result."""
    arrays = load_file(pseudo_weights("gfpgan"))
    for name in [name for name, array in arrays.items() if array.shape == (1,)]:
        arrays[name] = np.full(1, 0.1, np.float32)
    file = tmp_path_factory.mktemp("gfpgan") / "gfpgan.safetensors"
    save_file(arrays, file)
    return file


@pytest.fixture(scope="module")
def face(published: Published) -> Any:
    """float32 [1, 3, 512, 512], 8-bit levels in [-1, 1]."""
    return torch.from_numpy(published.inputs["x"])


@pytest.fixture(scope="module")
def encoded(network: Gfpgan, face: Any) -> Any:
    """The input of the generator, which does not depend on the noise."""
    with torch.inference_mode():
        return network.encode(face)


def test_parameters_match_the_published_checkpoint(published: Published) -> None:
    assert parameter_shapes() == published.shapes


def test_codes_match_published(encoded: Any, published: Published) -> None:
    published.check(encoded[0].flatten(1).numpy(), "mid_style_code")


def test_faces_match_published(network: Gfpgan, encoded: Any, published: Published) -> None:
    assert not network.is_noisy
    with torch.inference_mode():
        published.check(network.stylegan_decoder(*encoded, None).numpy(), "image")


@pytest.mark.slow
def test_faces_with_noise_match_published(
    network: Gfpgan, encoded: Any, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    noise = [torch.empty(1, 1, size, size).normal_() for size in NOISE_SIZES]
    for layer in network.stylegan_decoder.styled:
        monkeypatch.setattr(layer, "weight", torch.nn.Parameter(torch.full((1,), 0.1)))
    assert network.is_noisy
    with torch.inference_mode():
        published.check(network.stylegan_decoder(*encoded, noise).numpy(), "image_noise01")


@pytest.mark.slow
def test_noise_depends_on_frame_and_seed(noisy_weights: Path, face: Any) -> None:
    first = np.rint((face[0].permute(1, 2, 0).numpy() * 0.5 + 0.5) * 255).astype(np.uint8)
    faces = np.stack([first, first])
    pool = ObjectPool()
    runtime = Runtime(inference="torch", weights={"gfpgan": noisy_weights}, pool=pool)
    together = gfpgan_restorer(runtime, 2).restore(faces, np.array([4, 9], np.int64), seed=11)
    assert together.shape == faces.shape
    assert together.dtype == np.float32
    assert 0 <= together.min() < together.max() <= 1
    # The same face has other noise in another frame, and the same noise in the same frame at any time.
    assert np.abs(together[0] - together[1]).max() > 0.01
    torch.manual_seed(5)
    again = gfpgan_restorer(runtime, 1).restore(faces[:1], np.array([9], np.int64), seed=11)
    np.testing.assert_array_equal(again[0], together[1])


def test_a_published_file_is_read(tmp_path: Path) -> None:
    # An expanded tensor is stored as a single number.
    wrong = {"conv_body_first.weight": torch.zeros(1)}
    entries = {name: torch.zeros(1).expand(shape) for name, shape in parameter_shapes().items()}
    file = tmp_path / "GFPGANv1.3.pth"
    torch.save({"params": wrong, "params_ema": entries}, file)
    assert set(read_checkpoint(file, CHECKPOINTS[0])) == set(parameter_shapes())
    torch.save({"params": entries}, file)
    assert set(read_checkpoint(file, CHECKPOINTS[0])) == set(parameter_shapes())
    torch.save({"params": wrong}, file)
    with pytest.raises(WeightsError, match="missing"):
        read_checkpoint(file, CHECKPOINTS[0])
