"""GPEN compared with the published implementation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit.errors import WeightsError
from retalkit.inference import empty_network, load_weights
from retalkit.stages import Runtime
from retalkit.weights.load import read_checkpoint
from retalkit_enhancers.gpen.interface import CHECKPOINTS
from retalkit_enhancers.gpen.layers import LowPass
from retalkit_enhancers.gpen.network import Gpen, parameter_shapes
from retalkit_enhancers.gpen.restorer import gpen_restorer

from tests.parity import TOLERANCE, Published


@pytest.fixture(scope="module")
def published(shared_parity: Path) -> Published:
    return Published(shared_parity, "gpen")


@pytest.fixture(scope="module")
def face(published: Published) -> Any:
    """float32 [1, 3, 512, 512], 8-bit levels in [-1, 1]."""
    return torch.from_numpy(published.inputs["x"])


@pytest.fixture(scope="module")
def network(pseudo_weights: Callable[[str], Path]) -> Gpen:
    return load_weights(empty_network(Gpen), pseudo_weights("gpen"))


def test_parameters_match_the_published_checkpoint(published: Published) -> None:
    assert parameter_shapes() == published.shapes


def test_filters_match_the_published_ones(network: Gpen) -> None:
    filters = {name: module for name, module in network.named_modules() if isinstance(module, LowPass)}
    assert len(filters) == 7 * 3
    for name, module in filters.items():
        torch.testing.assert_close(LowPass(1 if name.startswith("ecd") else 4).kernel, module.kernel)


def test_faces_match_published(network: Gpen, face: Any, published: Published) -> None:
    inner: dict[str, np.ndarray] = {}

    def keep(name: str) -> Callable[[Any, Any, Any], None]:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            inner.setdefault(name, output.numpy().copy())

        return hook

    network.final_linear.register_forward_hook(keep("mid_final_linear"))
    network.generator.style.register_forward_hook(keep("mid_latent"))
    with torch.inference_mode():
        published.check(network(face).numpy(), "image")
    for name, array in inner.items():
        np.testing.assert_allclose(array, published.outputs[name], rtol=0, atol=TOLERANCE)


@pytest.mark.slow
def test_restorer_maps_rgb_to_rgb_independent_of_the_batch(
    pseudo_weights: Callable[[str], Path], face: Any, published: Published
) -> None:
    image = np.rint((face.permute(0, 2, 3, 1).numpy() * 0.5 + 0.5) * 255).astype(np.uint8)
    restorer = gpen_restorer(Runtime(inference="torch", weights={"gpen": pseudo_weights("gpen")}), batch=2)
    restored = restorer.restore(image, np.array([4], np.int64), seed=0)
    assert restored.shape == image.shape
    assert restored.dtype == np.float32
    expected = np.clip(published.outputs["image"][0].transpose(1, 2, 0) * 0.5 + 0.5, 0, 1)
    np.testing.assert_allclose(restored[0, ::4, ::4], expected, rtol=0, atol=TOLERANCE)
    assert restorer.restore(image[:0], np.zeros(0, np.int64), seed=0).shape == (0, 512, 512, 3)
    together = restorer.restore(np.concatenate([image[:, ::-1], image]), np.arange(2), seed=0)
    np.testing.assert_array_equal(together[1:], restored)


def test_a_published_file_is_read(tmp_path: Path) -> None:
    # An expanded tensor is stored as a single number.
    entries = {name: torch.zeros(1).expand(shape) for name, shape in parameter_shapes().items()}
    file = tmp_path / "GPEN-BFR-512.pth"
    torch.save(entries, file)
    assert set(read_checkpoint(file, CHECKPOINTS[0])) == set(parameter_shapes())

    del entries["ecd1.0.0.kernel"]
    torch.save(entries, file)
    with pytest.raises(WeightsError, match=r"ecd1\.0\.0\.kernel"):
        read_checkpoint(file, CHECKPOINTS[0])
