"""The metric ``lpips`` on identical and distorted faces, and its network."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="this metric needs the extra: pip install 'retalkit[paper]'")

from retalkit.metrics.scene import Scene
from retalkit_metrics.lpips.network import AlexNetFeatures, LinearLayers, distance

from tests.plugins.metrics.network_weights import random_input, random_state, save
from tests.plugins.metrics.scenes import Frames, edited, score


def positive_linear() -> dict[str, torch.Tensor]:
    """Return non-negative weights, like the published ones."""
    return {name: value.abs() for name, value in random_state(LinearLayers()).items()}


@pytest.fixture(scope="module")
def scene(moment: Scene, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("lpips")
    weights = {
        "lpips_alexnet": save(AlexNetFeatures(), folder / "alexnet.safetensors"),
        "lpips_linear": save(LinearLayers(), folder / "linear.safetensors", **positive_linear()),
    }
    return replace(moment, weights=weights)


def test_distance_follows_the_published_equation() -> None:
    features, linear = AlexNetFeatures().eval(), LinearLayers().eval()
    features.load_state_dict(random_state(features))
    linear.load_state_dict(positive_linear())
    one, other = random_input(2, 2, 3, 64, 80) * 2 - 1
    expected = torch.zeros(2)
    with torch.inference_mode():
        shift, scale = torch.tensor([[-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]])[:, None, :, None, None]
        taps = [list(features((image - shift) / scale)) for image in (one, other)]
        for index, (a, b) in enumerate(zip(*taps, strict=True)):
            weights = linear.state_dict()[f"lin{index}.model.1.weight"][0, :, 0, 0]
            difference = a / a.norm(dim=1, keepdim=True) - b / b.norm(dim=1, keepdim=True)
            expected += torch.einsum("bchw,c->bhw", difference**2, weights).mean((1, 2))
        found = distance(features, linear, one, other)
        assert torch.allclose(found, expected, rtol=1e-4)
        # Output of the published code with the same weights.
        assert found.tolist() == pytest.approx([0.19296, 0.19105], abs=2e-5)
        assert torch.allclose(found, distance(features, linear, other, one))
        assert distance(features, linear, one, one).tolist() == [0, 0]
    assert [tap.shape[1] for tap in taps[0]] == [64, 192, 384, 256, 256]


def test_distance_increases_with_blur(scene: Scene) -> None:
    assert score("lpips", scene) == {"lpips": 0}

    def blurred(deviation):
        return edited(scene, lambda image, landmarks, index: cv2.GaussianBlur(image, (0, 0), deviation))

    distances = [score("lpips", blurred(deviation))["lpips"] for deviation in (1, 2, 4)]
    assert 1e-4 < distances[0] < distances[1] < distances[2]


def test_only_the_face_is_compared(scene: Scene) -> None:
    def corner(image, landmarks, index):
        changed = image.copy()
        changed[:20, :20] ^= 128
        return changed

    def mouth(image, landmarks, index):
        changed = image.copy()
        x, y = landmarks[13, :2].astype(int)
        changed[y - 20 : y + 20, x - 20 : x + 20] ^= 128
        return changed

    assert score("lpips", edited(scene, corner)) == {"lpips": 0}
    assert score("lpips", edited(scene, mouth))["lpips"] > 1e-4


def test_face_below_64_pixels_gives_nan(scene: Scene) -> None:
    class Shrunk:
        """The same tracked face at a tenth of the size."""

        def __init__(self, analysis) -> None:
            self._analysis = analysis
            self.source = Frames([np.zeros((59, 59, 3), np.uint8)] * scene.source.info.frame_count)
            self.landmark_scheme = analysis.landmark_scheme
            self.tracks = analysis.tracks

        def landmarks(self, start, stop):
            return self._analysis.landmarks(start, stop) / 10

    analysis = Shrunk(scene.output)
    frames = edited(scene, lambda image, landmarks, index: cv2.resize(image, (59, 59))).source
    small = replace(scene, source=frames, original=frames, output=analysis, original_analysis=analysis)
    assert np.isnan(score("lpips", small)["lpips"])
