"""GPEN against the numbers of the published implementation."""

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
from retalkit_enhancers.convolutions.doubling import doubled_convolution
from retalkit_enhancers.gpen.interface import CHECKPOINTS
from retalkit_enhancers.gpen.network import Gpen, empty_network, parameter_shapes
from retalkit_enhancers.gpen.restorer import GpenRestorer
from safetensors.numpy import load_file, save_file
from torch.nn import functional

from tests.pseudo_weights import load_module, manifest

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def published(shared_parity: Path) -> dict[str, np.ndarray]:
    with np.load(shared_parity / "gpen.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def weights(pseudo_weights: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With filters as published: those that halve add up to 1, those that double to 4."""
    arrays = load_file(pseudo_weights("gpen"))
    for name in [name for name in arrays if name.endswith("kernel")]:
        wanted = 1.0 if name.startswith("ecd") else 4.0
        arrays[name] = arrays[name] * np.float32(wanted / arrays[name].sum())
    file = tmp_path_factory.mktemp("gpen") / "gpen.safetensors"
    save_file(arrays, file)
    return file


@pytest.fixture(scope="module")
def face(shared_parity: Path) -> Any:
    """float32 [1, 3, 512, 512], grey levels of 8 bits in [-1, 1]."""
    return torch.from_numpy(load_module(shared_parity / "inputs.py").make("gpen")["x"])


def agree(result: np.ndarray, published: dict[str, np.ndarray], name: str) -> None:
    stride = int(published[f"{name}__stride"])
    np.testing.assert_allclose(result[..., ::stride, ::stride], published[name], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(result[..., :16, :16], published[f"{name}__tl16"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(result[..., -16:, -16:], published[f"{name}__br16"], rtol=0, atol=TOLERANCE)
    measured = (result.mean(dtype=np.float64), result.std(dtype=np.float64, ddof=1), result.min(), result.max())
    np.testing.assert_allclose(measured, published[f"{name}__stats"], rtol=0, atol=TOLERANCE)


def test_names_and_shapes_are_the_published_ones(shared_parity: Path) -> None:
    entries = manifest(shared_parity, "gpen")["state_dict"]
    expected = {name: tuple(shape) for name, (shape, _) in entries.items()}
    assert parameter_shapes() == expected
    assert {name: tuple(value.shape) for name, value in empty_network().state_dict().items()} == expected


def test_the_face_alone_and_with_another(weights: Path, face: Any, published: dict[str, np.ndarray]) -> None:
    network: Gpen = load_weights(empty_network(), weights).arrange()
    seen: dict[str, np.ndarray] = {}

    def keep(name: str) -> Callable[[Any, Any, Any], None]:
        def hook(module: Any, given: Any, result: Any) -> None:
            seen.setdefault(name, result.numpy().copy())

        return hook

    network.final_linear.register_forward_hook(keep("mid_final_linear"))
    network.generator.style.register_forward_hook(keep("mid_latent"))
    other = face.flip(2)
    with torch.inference_mode():
        together = network(torch.cat((face, other))).numpy()
        alone = network(other).numpy()
    assert together.shape == (2, 3, 512, 512)
    agree(together[:1], published, "image")
    for name in ("mid_final_linear", "mid_latent"):
        np.testing.assert_allclose(seen[name][:1], published[name], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(together[1:], alone, rtol=0, atol=5e-5)


def test_restoring_takes_and_gives_red_first(weights: Path, face: Any, published: dict[str, np.ndarray]) -> None:
    picture = np.rint((face.permute(0, 2, 3, 1).numpy() * 0.5 + 0.5) * 255).astype(np.uint8)
    context = StageContext(None, SilentObserver(), weights={"gpen": weights})  # type: ignore[arg-type]
    restorer = GpenRestorer(context, batch=2)
    restored = restorer.restore(picture, np.array([4], np.int64))
    assert restored.shape == picture.shape
    assert restored.dtype == np.float32
    expected = np.clip(published["image"][0].transpose(1, 2, 0) * 0.5 + 0.5, 0, 1)
    np.testing.assert_allclose(restored[0, ::4, ::4], expected, rtol=0, atol=TOLERANCE)
    assert restorer.restore(picture[:0], np.zeros(0, np.int64)).shape == (0, 512, 512, 3)
    # Bit for bit, whatever is asked with it.
    together = restorer.restore(np.concatenate([picture[:, ::-1], picture]), np.arange(2))
    np.testing.assert_array_equal(together[1:], restored)


@pytest.mark.parametrize("size", [(40, 33), (5, 7)])
def test_convolving_the_double_is_the_same_up_to_the_border(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(2, 5, *size, generator=generator, dtype=torch.float64)
    weight = torch.randn(4, 5, 3, 3, generator=generator, dtype=torch.float64)
    bias = torch.randn(4, generator=generator, dtype=torch.float64)
    doubled = functional.interpolate(values, scale_factor=2, mode="bilinear", align_corners=False)
    for added in (bias, None):
        expected = functional.conv2d(doubled, weight, added, padding=1)
        torch.testing.assert_close(doubled_convolution(values, weight, added), expected, rtol=0, atol=1e-12)


def test_a_published_file_is_understood(tmp_path: Path) -> None:
    # Of a tensor that repeats one number only that number is written.
    entries = {name: torch.zeros(1).expand(shape) for name, shape in parameter_shapes().items()}
    file = tmp_path / "GPEN-BFR-512.pth"
    torch.save(entries, file)
    assert set(read_checkpoint(file, CHECKPOINTS[0])) == set(parameter_shapes())

    del entries["ecd1.0.0.kernel"]
    torch.save(entries, file)
    with pytest.raises(WeightsError, match=r"missing ecd1\.0\.0\.kernel"):
        read_checkpoint(file, CHECKPOINTS[0])
