"""Identity losses compared with GPEN's and GFPGAN's, and with equation 10."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")

from retalkit_metrics.identity.network import FaceRecogniser
from retalkit_training.losses.config import IdentityConfig
from retalkit_training.losses.identity import IdentityLoss, crop_face
from retalkit_training.losses.image_formats import BGR_SIGNED, BGR_UNIT, RGB_SIGNED

from tests.training.references import References

GPEN = IdentityConfig(distance="cosine", crop="gpen", network_colours="rgb")


@pytest.fixture(scope="module")
def published(references: Callable[[str], References]) -> References:
    return references("arcface_identity")


@pytest.fixture(scope="module")
def network(published: References) -> FaceRecogniser:
    return published.fill(FaceRecogniser())


def test_losses_match_published(published: References, network: FaceRecogniser) -> None:
    inputs = published.inputs("arcface")
    output, target = inputs["y_hat"].requires_grad_(), inputs["y"].requires_grad_()
    loss = IdentityLoss(GPEN, network, RGB_SIGNED).train()
    value = loss(output, target)
    value.backward()
    # 1 - cosine of nearly equal vectors is .0026: rounding of the cosine is 2e-5 of it.
    published.check_loss(value, "loss_one_minus_cosine", 1e-4)
    published.check_loss(value, "f64_loss_one_minus_cosine", 1e-4)
    published.check_pixel_gradient(output.grad, "y_hat_grad")
    assert target.grad is None
    assert all(parameter.grad is None for parameter in network.parameters())
    with torch.no_grad():
        for name, images in inputs.items():
            np.testing.assert_allclose(loss.embed(images), published[f"embedding_{name}"], rtol=0, atol=1e-6)
        lengths = IdentityLoss(GPEN.model_copy(update={"distance": "l2"}), network, RGB_SIGNED)(output, target)
        means = IdentityLoss(GPEN.model_copy(update={"distance": "l1"}), network, RGB_SIGNED)(output, target)
        whole = IdentityLoss(GPEN.model_copy(update={"crop": "whole"}), network, RGB_SIGNED).embed(target)
    np.testing.assert_allclose(lengths, published["doc_eq10_l2_per_item"].mean(), rtol=1e-5)
    published.check_loss(means, "gfpgan_style_l1_mean")
    np.testing.assert_allclose(whole, published["embedding_y_uncropped_pool112"], rtol=0, atol=1e-6)


def rows_and_columns(gradient: Any) -> list[int]:
    used = gradient.abs().sum((0, 1))
    rows, columns = used.sum(1).nonzero().flatten(), used.sum(0).nonzero().flatten()
    return [int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])]


@pytest.mark.parametrize("size", [384, pytest.param(512, marks=pytest.mark.slow)])
def test_integer_crop_matches_published(size: int, published: References, network: FaceRecogniser) -> None:
    inputs = published.inputs("arcface", f"s{size}_", n=1, size=size)
    config = GPEN.model_copy(update={"crop": "gpen-integer"})
    output = inputs["y_hat"].requires_grad_()
    value = IdentityLoss(config, network, RGB_SIGNED)(output, inputs["y"])
    value.backward()
    published.check_loss(value, f"s{size}_loss_one_minus_cosine", 1e-4)
    assert rows_and_columns(output.grad) == published[f"s{size}_rows_cols_with_gradient"].tolist()


def test_crop_is_scaled_with_the_image() -> None:
    def bounds(size: int, crop: str) -> list[int]:
        images = torch.zeros(1, 3, size, size, requires_grad=True)
        crop_face(images, crop).sum().backward()
        return rows_and_columns(images.grad)

    assert bounds(256, "gpen") == bounds(256, "gpen-integer") == [35, 222, 32, 219]
    assert bounds(512, "gpen") == bounds(512, "gpen-integer") == [70, 445, 64, 439]
    # Python rounds 52.5 and 49.5 to even numbers.
    assert bounds(384, "gpen") == [52, 333, 48, 329]
    assert bounds(384, "gpen-integer") == [35, 350, 32, 347]
    assert bounds(96, "whole") == [0, 95, 0, 95]
    with pytest.raises(ValueError, match="at least 256 pixels, got 128"):
        bounds(128, "gpen-integer")
    with pytest.raises(ValueError, match="square images, got 20 x 10"):
        crop_face(torch.zeros(1, 3, 10, 20), "gpen")


class _Means(torch.nn.Module):
    """Stand-in whose embedding is the mean of each channel."""

    def forward(self, x: Any) -> Any:
        assert x.shape[2:] == (112, 112)
        return x.mean((2, 3))


@pytest.mark.parametrize(
    ("image_format", "network_colours", "expected"),
    [
        (RGB_SIGNED, "bgr", (0.5, 0.0, -1.0)),
        (RGB_SIGNED, "rgb", (-1.0, 0.0, 0.5)),
        (BGR_SIGNED, "bgr", (-1.0, 0.0, 0.5)),
        (BGR_UNIT, "bgr", (-3.0, -1.0, 0.0)),
        (BGR_UNIT, "rgb", (0.0, -1.0, -3.0)),
    ],
)
def test_images_are_converted_to_the_format_of_the_network(
    image_format: Any, network_colours: Any, expected: tuple[float, ...]
) -> None:
    images = torch.tensor([-1.0, 0.0, 0.5])[None, :, None, None].expand(1, 3, 224, 224)
    config = IdentityConfig(network_colours=network_colours)
    loss = IdentityLoss(config, _Means(), image_format)  # type: ignore[arg-type]
    torch.testing.assert_close(loss.embed(images), torch.tensor([expected]))
