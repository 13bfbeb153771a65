"""Names and shapes of the training networks, and their errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")

from retalkit.errors import WeightsError
from retalkit_metrics.identity import network as face_recognition
from retalkit_training.networks import quality_discriminator, stylegan2_discriminator, syncnet_expert, vgg
from retalkit_training.networks.loading import freeze, load_partial
from retalkit_training.networks.stylegan2_discriminator import StyleGan2Discriminator
from retalkit_training.networks.syncnet_expert import SyncNetExpert, mouth_windows
from retalkit_training.networks.vgg import VggFeatures, layer_indexes, normalise


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("vgg16", lambda: vgg.parameter_shapes("vgg16")),
        ("vgg19", lambda: vgg.parameter_shapes("vgg19")),
        ("syncnet_expert", syncnet_expert.parameter_shapes),
        ("wav2lip_quality_discriminator", quality_discriminator.parameter_shapes),
        ("stylegan2_discriminator_64_quarter", lambda: stylegan2_discriminator.parameter_shapes(64, 0.25)),
        ("stylegan2_discriminator_256", lambda: stylegan2_discriminator.parameter_shapes(256)),
        ("stylegan2_discriminator_512", lambda: stylegan2_discriminator.parameter_shapes(512)),
        ("arcface_irse50", face_recognition.parameter_shapes),
    ],
)
def test_parameters_match_the_published_ones(
    name: str, shapes: Callable[[], Any], references: Callable[[str], Any]
) -> None:
    assert shapes() == references("windows").shapes(name)


def test_vgg_layer_indexes_are_the_published_ones() -> None:
    # PIRender's loss/perceptual.py.
    published = {"relu_1_1": 1, "relu_1_2": 3, "relu_2_1": 6, "relu_3_1": 11, "relu_3_3": 15, "relu_4_1": 20}
    assert published.items() <= layer_indexes("vgg19").items()
    assert (layer_indexes("vgg19")["relu_4_4"], layer_indexes("vgg19")["relu_5_1"]) == (26, 29)
    assert (layer_indexes("vgg16")["relu_4_1"], layer_indexes("vgg16")["relu_5_1"]) == (18, 25)
    assert layer_indexes("vgg16")["pool_5"] == 30
    assert layer_indexes("vgg19")["pool_5"] == 36


def test_vgg_stops_after_the_last_layer() -> None:
    network = VggFeatures("vgg19", ["relu_2_1", "conv_1_2"])
    assert len(network.features) == 7
    second, first = network(normalise(torch.zeros(2, 3, 20, 16)))
    assert second.shape == (2, 128, 10, 8)
    assert first.shape == (2, 64, 20, 16)
    assert bool((first < 0).any())
    assert not bool((second < 0).any())
    # The published loss needs 32 pixels.
    assert VggFeatures("vgg16", ["relu_5_1"])(torch.zeros(1, 3, 16, 16))[0].shape == (1, 512, 1, 1)


def test_unknown_vgg_layer_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"vgg16 has no layer relu_3_4; .*relu_3_3"):
        VggFeatures("vgg16", ["relu_3_4"])
    with pytest.raises(ValueError, match="vgg11"):
        VggFeatures("vgg11", ["relu_1_1"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one layer"):
        VggFeatures("vgg16", [])


def test_weights_of_a_larger_network_are_loaded() -> None:
    torch.manual_seed(0)
    whole = VggFeatures("vgg16", ["relu_2_2"])
    entries = {**whole.state_dict(), "classifier.0.weight": torch.zeros(3)}
    part = load_partial(VggFeatures("vgg16", ["relu_1_2"]), entries, "vgg16-397923af.pth")
    torch.testing.assert_close(part.features[2].weight, whole.features[2].weight, rtol=0, atol=0)
    assert all(not value.requires_grad for value in freeze(part).parameters())
    assert not part.training

    bias = entries.pop("features.2.bias")
    with pytest.raises(WeightsError, match=r"vgg16-397923af\.pth.*features\.2\.bias") as error:
        load_partial(part, entries, "vgg16-397923af.pth")
    assert error.value.code == "weights-mismatch"
    with pytest.raises(WeightsError, match=r"features\.2\.bias \[63\], expected \[64\]"):
        load_partial(part, {**entries, "features.2.bias": bias[:63]}, "vgg16-397923af.pth")


@pytest.mark.parametrize("size", [384, 4, 2048])
def test_discriminator_sizes_are_powers_of_two(size: int) -> None:
    with pytest.raises(ValueError, match=rf"powers of two from 8 to 1024, not for {size}"):
        StyleGan2Discriminator(size)


def test_discriminator_rejects_images_of_another_size() -> None:
    network = StyleGan2Discriminator(8, narrow=1 / 64)
    with pytest.raises(ValueError, match=r"8 x 8 pixels, got \[1, 3, 16, 16\]"):
        network(torch.zeros(1, 3, 16, 16))


def test_standard_deviation_is_computed_over_the_batch_or_groups_of_four() -> None:
    torch.manual_seed(0)
    images = torch.randn(8, 3, 8, 8)
    results: dict[str, Any] = {}
    for groups in ("batch", "four"):
        network = StyleGan2Discriminator(8, narrow=1 / 64, deviation_groups=groups)
        torch.manual_seed(1)
        for value in network.parameters():
            torch.nn.init.normal_(value)
        results[groups] = network(images), network(images[::2]), network(images[:1])
        x = network.convs(images)
        deviation = network._deviation(x)[:, 0, 0, 0]
        if groups == "batch":
            assert len(deviation.unique()) == 1
        else:
            # As in rosinality's implementation, items 0, 2, 4, 6 are one group and 1, 3, 5, 7 the other.
            torch.testing.assert_close(deviation[::2], deviation[:1].expand(4))
            assert deviation[0] != deviation[1]
            expected = (x[::2].var(0, unbiased=False) + 1e-8).sqrt().mean()
            torch.testing.assert_close(deviation[0], expected)
        torch.testing.assert_close(network._deviation(x[:1]), torch.full((1, 1, 4, 4), 1e-4))
    # Up to four items are one group.
    torch.testing.assert_close(results["batch"][1], results["four"][1])
    torch.testing.assert_close(results["batch"][2], results["four"][2])
    assert not torch.allclose(results["batch"][0], results["four"][0])
    with pytest.raises(ValueError, match="batch of 6 cannot be divided into groups of 4"):
        StyleGan2Discriminator(8, narrow=1 / 64, deviation_groups="four")(images[:6])


def test_narrow_expert_returns_unit_vectors_without_negative_elements() -> None:
    torch.manual_seed(0)
    embeddings = SyncNetExpert(4)(torch.randn(2, 1, 80, 16), torch.rand(2, 15, 48, 96))
    for vectors in embeddings:
        assert vectors.shape == (2, 64)
        assert bool((vectors >= 0).all())
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    assert bool((embeddings.cosines() >= 0).all())


def test_mouth_windows_are_the_lower_halves_frame_by_frame() -> None:
    faces = torch.arange(2 * 3 * 5).view(2, 3, 5, 1, 1) + torch.linspace(0, 0.5, 96)[:, None].expand(96, 96)
    mouths = mouth_windows(faces)
    assert mouths.shape == (2, 15, 48, 96)
    torch.testing.assert_close(mouths[1, 3 * 4 + 2], faces[1, 2, 4, 48:])
