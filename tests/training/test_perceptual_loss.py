"""Perceptual losses compared with PIRender's loss and with the documented variants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")

from pydantic import ValidationError
from retalkit.errors import WeightsError
from retalkit_training.losses import config as configs
from retalkit_training.losses.config import PerceptualConfig
from retalkit_training.losses.perceptual import PerceptualLoss, gram
from retalkit_training.networks.vgg import VggFeatures, normalise

from tests.training.references import References

FINAL = configs.PIRENDER_FINAL
PUBLISHED: dict[str, PerceptualConfig] = {
    # Number of scales: as stored.
    "warp": configs.PIRENDER_WARP,
    "final": FINAL,
    "one_scale": PerceptualConfig(),
    "vgg16_one_scale": PerceptualConfig(network="vgg16"),
    "vgg16_final": FINAL.model_copy(update={"network": "vgg16"}),
    "l2_final": FINAL.model_copy(update={"distance": "mse"}),
    "instance_normalized": PerceptualConfig(instance_normalised=True),
    "resize224": PerceptualConfig(resize_to_224=True),
}
SLOW = pytest.mark.slow
CASES = [
    (96, "final"),
    (96, "vgg16_one_scale"),
    (128, "instance_normalized"),
    *(pytest.param(96, name, marks=SLOW) for name in ("warp", "one_scale")),
    *(pytest.param(128, name, marks=SLOW) for name in PUBLISHED if name != "instance_normalized"),
    *(pytest.param(256, name, marks=SLOW) for name in ("warp", "final")),
]


@pytest.fixture(scope="module")
def published(references: Callable[[str], References]) -> References:
    return references("perceptual")


@pytest.fixture(scope="module")
def weights(published: References) -> dict[str, dict[str, Any]]:
    """All convolutional layers of each network."""
    return {
        "vgg16": published.fill(VggFeatures("vgg16", ["pool_5"]), "vgg").state_dict(),
        "vgg19": published.fill(VggFeatures("vgg19", ["pool_5"]), "vgg").state_dict(),
    }


@pytest.fixture(scope="module")
def make_loss(weights: dict[str, Any]) -> Callable[[PerceptualConfig], PerceptualLoss]:
    return lambda config: PerceptualLoss.from_weights(config, weights[config.network], "published")


def pair(published: References, size: int) -> tuple[Any, Any]:
    inputs = published.inputs("pair", f"s{size}_", n=1 if size == 256 else 2, size=size)
    return inputs["output"].requires_grad_(), inputs["target"]


@pytest.mark.parametrize(("size", "name"), CASES)
def test_losses_match_published(size: int, name: str, published: References, make_loss: Callable[..., Any]) -> None:
    scales = int(published[f"s{size}_{name}_num_scales"])
    loss = make_loss(PUBLISHED[name].model_copy(update={"scales": scales})).train()
    output, target = pair(published, size)
    target.requires_grad_()
    value = loss(output, target)
    value.backward()
    published.check_loss(value, f"s{size}_{name}_loss")
    published.check_pixel_gradient(output.grad, f"s{size}_{name}_pixgrad")
    assert target.grad is None
    assert all(parameter.grad is None for parameter in loss.parameters())


@pytest.mark.parametrize("size", [pytest.param(size, marks=SLOW) for size in (96, 128, 256)])
def test_parts_match_published(size: int, published: References, make_loss: Callable[..., Any]) -> None:
    scales = int(published[f"s{size}_final_num_scales"])
    loss = make_loss(FINAL.model_copy(update={"scales": scales}))
    with torch.no_grad():
        terms = loss.terms(*pair(published, size))
    published.check_loss(terms.content, f"s{size}_content_by_scale_layer")
    published.check_loss(terms.style, f"s{size}_style_by_layer")


@pytest.mark.parametrize("layer", ["relu_5_3", pytest.param("pool_5", marks=SLOW)])
def test_last_layer_losses_of_the_reproduction(
    layer: str, published: References, make_loss: Callable[..., Any]
) -> None:
    config = configs.REPRODUCTION.model_copy(update={"layers": (layer,)})
    output, target = pair(published, 128)
    loss = make_loss(config)
    value = loss(output, target)
    value.backward()
    published.check_loss(value, f"doc_{layer}_loss_1_250")
    published.check_pixel_gradient(output.grad, f"doc_{layer}_pixgrad")

    def terms(**changes: Any) -> Any:
        with torch.no_grad():
            return make_loss(config.model_copy(update=changes)).terms(output, target)

    assert loss.features(normalise(target))[0].shape == tuple(published[f"doc_{layer}_shape"])
    found = terms()
    norms = published[f"doc_{layer}_content_l2norm_per_item"]
    np.testing.assert_allclose(found.content.item(), norms.mean(), rtol=1e-5)
    # One norm over the batch, as another reading of the report.
    np.testing.assert_allclose(np.linalg.norm(norms), published[f"doc_{layer}_content_l2norm_batch"], rtol=1e-5)
    np.testing.assert_allclose(
        found.style.item(), published[f"doc_{layer}_style_l2norm_per_item_gram_over_chw"].mean(), rtol=1e-5
    )
    raw = terms(gram_divisor="none").style.item()
    np.testing.assert_allclose(raw, published[f"doc_{layer}_style_l2norm_per_item"].mean(), rtol=1e-5)
    squared = terms(distance="mse")
    np.testing.assert_allclose(squared.content.item(), published[f"doc_{layer}_content_mse"], rtol=1e-5)
    np.testing.assert_allclose(squared.style.item(), published[f"doc_{layer}_style_mse_gram_over_chw"], rtol=1e-5)


def test_equation_1_taken_literally(published: References, make_loss: Callable[..., Any]) -> None:
    output, target = pair(published, 128)
    loss = make_loss(configs.EQUATION_1)
    value = loss(output, target)
    value.backward()
    norms = published["doc_eq1_l2norm_item_layer"]
    np.testing.assert_allclose(loss.terms(output, target).content[0].detach(), norms.mean(0), rtol=1e-5)
    published.check_loss(value, "doc_eq1_loss")
    published.check_pixel_gradient(output.grad, "doc_eq1_pixgrad")


def test_johnson_layers(published: References, make_loss: Callable[..., Any]) -> None:
    with torch.no_grad():
        content = make_loss(configs.JOHNSON).terms(*pair(published, 128)).content
    np.testing.assert_allclose(content[0], published["johnson_item_layer_l2norm"].mean(0), rtol=1e-5)


def test_layer_weights_apply_to_content_and_style(make_loss: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    loss = make_loss(configs.GFPGAN_PERCEPTUAL)
    terms = loss.terms(*images)
    weights = torch.tensor([0.1, 0.1, 1, 1, 1])
    torch.testing.assert_close(loss(*images), (weights * (terms.content[0] + 50 * terms.style)).sum())


def test_images_are_resized_after_normalisation(make_loss: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 1, 3, 32, 48) * 2 - 1
    config = PerceptualConfig(layers=("relu_1_1",))
    large = [torch.nn.functional.interpolate(each, size=(224, 224), mode="bilinear") for each in images]
    expected = make_loss(config)(*large)
    torch.testing.assert_close(make_loss(config.model_copy(update={"resize_to_224": True}))(*images), expected)


def test_gram_matrix_is_divided_by_the_size() -> None:
    features = torch.arange(12.0).view(1, 2, 3, 2)
    expected = torch.tensor([[[55.0, 145.0], [145.0, 451.0]]])
    torch.testing.assert_close(gram(features, normalised=False), expected)
    torch.testing.assert_close(gram(features), expected / 12)


def test_too_many_scales_are_rejected(published: References, make_loss: Callable[..., Any]) -> None:
    # The published loss fails at the third scale of 96 pixels, because it also evaluates layers that it does not use.
    assert "Output size is too small" in str(published["s96_three_scales_error"])
    images = torch.zeros(1, 3, 96, 96)
    assert make_loss(PerceptualConfig(layers=("relu_1_1",), scales=3))(images, images) == 0
    with pytest.raises(ValueError, match="12 x 12 pixels are too small"):
        make_loss(PerceptualConfig(layers=("relu_1_1",), scales=4))(images, images)


def test_features_must_have_the_layers_of_the_configuration() -> None:
    with pytest.raises(ValueError, match="relu_1_2"):
        PerceptualLoss(PerceptualConfig(layers=("relu_1_1",)), VggFeatures("vgg19", ["relu_1_2"]))
    with pytest.raises(WeightsError, match=r"features\.0\.weight"):
        PerceptualLoss.from_weights(PerceptualConfig(), {}, "vgg19-dcbb9e9d.pth")


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"layers": ()}, "layers"),
        ({"layers": ("relu_1_1", "relu_1_1")}, "twice"),
        ({"layer_weights": (1.0,)}, "1 weights for 5 layers"),
        ({"scales": 0}, "scales"),
        ({"criterion": "l1"}, "criterion"),
    ],
)
def test_invalid_options_are_rejected(options: dict[str, Any], fact: str) -> None:
    with pytest.raises(ValidationError, match=fact):
        PerceptualConfig(**options)
