"""GFPGAN against the numbers of the published implementation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit.errors import WeightsError
from retalkit.inference import load_weights
from retalkit.observer import SilentObserver
from retalkit.stages import StageContext
from retalkit.weights.load import read_checkpoint
from retalkit_enhancers.gfpgan.generator import NOISE_SIZES
from retalkit_enhancers.gfpgan.interface import CHECKPOINTS
from retalkit_enhancers.gfpgan.network import Gfpgan, empty_network, parameter_shapes
from retalkit_enhancers.gfpgan.restorer import GfpganRestorer
from safetensors.numpy import load_file, save_file

from tests.pseudo_weights import load_module, manifest

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def published(shared_parity: Path) -> dict[str, np.ndarray]:
    with np.load(shared_parity / "gfpgan.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def network(pseudo_weights: Callable[[str], Path]) -> Gfpgan:
    return load_weights(empty_network(), pseudo_weights("gfpgan")).arrange()


@pytest.fixture(scope="module")
def noisy_weights(pseudo_weights: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All strengths of noise 0.1, as in the second published result."""
    arrays = load_file(pseudo_weights("gfpgan"))
    for name in [name for name, array in arrays.items() if array.shape == (1,)]:
        arrays[name] = np.full(1, 0.1, np.float32)
    file = tmp_path_factory.mktemp("gfpgan") / "gfpgan.safetensors"
    save_file(arrays, file)
    return file


@pytest.fixture(scope="module")
def face(shared_parity: Path) -> Any:
    """float32 [1, 3, 512, 512], grey levels of 8 bits in [-1, 1]."""
    return torch.from_numpy(load_module(shared_parity / "inputs.py").make("gfpgan")["x"])


@pytest.fixture(scope="module")
def encoded(network: Gfpgan, face: Any) -> Any:
    """What the generator takes; it is the same with any noise."""
    with torch.inference_mode():
        return network.encode(face)


def agree(result: np.ndarray, published: dict[str, np.ndarray], name: str) -> None:
    stride = int(published[f"{name}__stride"])
    np.testing.assert_allclose(result[..., ::stride, ::stride], published[name], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(result[..., :16, :16], published[f"{name}__tl16"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(result[..., -16:, -16:], published[f"{name}__br16"], rtol=0, atol=TOLERANCE)
    measured = (result.mean(dtype=np.float64), result.std(dtype=np.float64, ddof=1), result.min(), result.max())
    np.testing.assert_allclose(measured, published[f"{name}__stats"], rtol=0, atol=TOLERANCE)


def test_names_and_shapes_are_the_published_ones(shared_parity: Path) -> None:
    entries = manifest(shared_parity, "gfpgan")["state_dict"]
    expected = {name: tuple(shape) for name, (shape, _) in entries.items()}
    assert parameter_shapes() == expected
    assert {name: tuple(value.shape) for name, value in empty_network().state_dict().items()} == expected


def test_the_codes(encoded: Any, published: dict[str, np.ndarray]) -> None:
    codes = encoded[0].flatten(1).numpy()
    np.testing.assert_allclose(codes, published["mid_style_code"], rtol=0, atol=TOLERANCE)


def test_the_face(
    network: Gfpgan, face: Any, encoded: Any, published: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not network.is_noisy
    monkeypatch.setattr(network, "encode", lambda faces: encoded)
    with torch.inference_mode():
        result = network(face).numpy()
    assert result.shape == (1, 3, 512, 512)
    agree(result, published, "image")


def test_the_face_with_noise(
    network: Gfpgan, face: Any, encoded: Any, published: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    noise = [torch.empty(1, 1, size, size).normal_() for size in NOISE_SIZES]
    monkeypatch.setattr(network, "encode", lambda faces: encoded)
    for layer in network.stylegan_decoder.styled:
        monkeypatch.setattr(layer, "weight", torch.nn.Parameter(torch.full((1,), 0.1)))
    assert network.is_noisy
    with torch.inference_mode():
        agree(network(face, noise).numpy(), published, "image_noise01")


def test_noise_belongs_to_the_frame(noisy_weights: Path, face: Any) -> None:
    first = np.rint((face[0].permute(1, 2, 0).numpy() * 0.5 + 0.5) * 255).astype(np.uint8)
    faces = np.stack([first, first])
    context = StageContext(None, SilentObserver(), seed=11, weights={"gfpgan": noisy_weights})  # type: ignore[arg-type]
    together = GfpganRestorer(context, 2).restore(faces, np.array([4, 9], np.int64))
    assert together.shape == faces.shape
    assert together.dtype == np.float32
    assert 0 <= together.min() < together.max() <= 1
    # The same face in another frame has other noise; in the same frame the same, alone or not, now or later.
    assert np.abs(together[0] - together[1]).max() > 0.01
    torch.manual_seed(5)
    again = GfpganRestorer(context, 1).restore(faces[:1], np.array([9], np.int64))
    np.testing.assert_allclose(again[0], together[1], rtol=0, atol=2e-5)


def test_restoring_takes_and_gives_red_first(
    pseudo_weights: Callable[[str], Path], face: Any, published: dict[str, np.ndarray]
) -> None:
    picture = np.rint((face.permute(0, 2, 3, 1).numpy() * 0.5 + 0.5) * 255).astype(np.uint8)
    context = StageContext(None, SilentObserver(), weights={"gfpgan": pseudo_weights("gfpgan")})  # type: ignore[arg-type]
    restorer = GfpganRestorer(context, 1)
    restored = restorer.restore(picture, np.array([0], np.int64))
    expected = np.clip(published["image"][0].transpose(1, 2, 0) * 0.5 + 0.5, 0, 1)
    np.testing.assert_allclose(restored[0, ::4, ::4], expected, rtol=0, atol=TOLERANCE)
    assert restorer.restore(picture[:0], np.zeros(0, np.int64)).shape == (0, 512, 512, 3)


def test_a_published_file_is_understood(tmp_path: Path) -> None:
    # Of a tensor that repeats one number only that number is written.
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
