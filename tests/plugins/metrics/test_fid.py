"""The metric ``fid`` on known normal distributions and on real frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import linalg

torch = pytest.importorskip("torch", reason="this metric needs the extra: pip install 'retalkit[paper]'")

import retalkit_metrics.fid.metric as metric
from retalkit.metrics.scene import Scene, scored_frames
from retalkit_metrics.fid.frechet import frechet_distance
from retalkit_metrics.fid.network import FidInception, empty_network

from tests.plugins.metrics.network_weights import random_input, random_state, save
from tests.plugins.metrics.scenes import edited, score


def gaussian_features(mean: np.ndarray, root: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Return ``count`` features with exactly the given mean and the covariance root' root."""
    noise = np.random.default_rng(seed).standard_normal((count, len(mean)))
    noise -= noise.mean(0)
    white = noise @ np.linalg.inv(np.linalg.cholesky(np.cov(noise, rowvar=False))).T
    return mean + white @ root


def test_distance_matches_the_analytic_value() -> None:
    # For diagonal covariances: |m1 - m2|^2 plus the squared differences of the standard deviations.
    one = gaussian_features(np.zeros(3), np.diag([1.0, 2.0, 3.0]), 50, 1)
    other = gaussian_features(np.array([1.0, 0.0, -2.0]), np.diag([2.0, 2.0, 1.0]), 400, 2)
    assert frechet_distance(one, other) == pytest.approx(5 + 1 + 0 + 4)
    assert frechet_distance(other, one) == pytest.approx(10)


def test_distance_of_non_commuting_covariances() -> None:
    generator = np.random.default_rng(3)
    roots = [generator.standard_normal((4, 4)) for _ in range(2)]
    one, other = (gaussian_features(np.zeros(4), root, 90, index) for index, root in enumerate(roots))
    first, second = (root.T @ root for root in roots)
    expected = np.trace(first + second - 2 * np.real(linalg.sqrtm(first @ second)))
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-6)
    # Ignoring the off-diagonal elements gives another value.
    assert expected != pytest.approx(((np.sqrt(np.diag(first)) - np.sqrt(np.diag(second))) ** 2).sum(), rel=0.05)


def test_equal_sets_have_zero_distance() -> None:
    features = np.random.default_rng(0).standard_normal((60, 200)).astype(np.float32)
    assert frechet_distance(features, features) < 1e-9
    assert frechet_distance(features[:, :20], features[:, :20]) < 1e-9
    assert frechet_distance(features, features[::-1]) < 1e-9
    assert frechet_distance(features, features + 0.5) == pytest.approx(200 * 0.25, rel=1e-5)


def test_distance_is_biased_upwards_for_few_features() -> None:
    """Two samples of the same distribution: the fewer features, the larger the distance."""
    draws = np.random.default_rng(5).standard_normal((2, 1000, 100))
    distances = [frechet_distance(draws[0, :count], draws[1, :count]) for count in (20, 100, 1000)]
    assert distances[0] > 2 * distances[1] > 4 * distances[2] > 0


def test_incompatible_shapes_are_rejected() -> None:
    with pytest.raises(ValueError, match="two sets of at least two features"):
        frechet_distance(np.zeros((1, 5)), np.zeros((4, 5)))
    with pytest.raises(ValueError, match="two sets of at least two features"):
        frechet_distance(np.zeros((4, 5)), np.zeros((4, 6)))


def test_network_matches_the_published_inception() -> None:
    """Average pooling excludes the padding, the last block uses max pooling, and features match the published code."""
    network = empty_network().eval()
    network.load_state_dict(random_state(network))
    with torch.inference_mode():
        ones = torch.ones(1, 288, 5, 5)
        pooled = network.Mixed_5d.branch_pool(ones)
        assert torch.equal(network.Mixed_5d(ones)[:, -64:], pooled)
        rising = torch.arange(64.0).reshape(1, 1, 8, 8).expand(1, 2048, 8, 8)
        most = torch.nn.functional.max_pool2d(rising, 3, 1, 1)
        assert torch.equal(network.Mixed_7c(rising)[:, -192:], network.Mixed_7c.branch_pool(most))
        features = network(random_input(1, 3, 80, 90))
    assert features.shape == (1, 2048)
    # Output of the published code with the same weights.
    assert float(features.mean()) == pytest.approx(0.207048, abs=2e-5)
    assert float(features.std()) == pytest.approx(0.279221, abs=2e-5)
    assert features[0, :3].tolist() == pytest.approx([0.00073, 0.01684, 0.0], abs=2e-5)


class Averages(torch.nn.Module):
    """Replaces the Inception in tests with known results: features are the means of 8 x 8 tiles."""

    def forward(self, x):
        return torch.nn.functional.adaptive_avg_pool2d(x, 8).flatten(1) * 255


@pytest.fixture
def scene(moment: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Sixteen frames, four of which are sampled."""
    monkeypatch.setattr(metric, "load_weights", lambda network, path, device: Averages())
    monkeypatch.setattr(metric, "MIN_FACES", 4)
    return replace(moment, weights={"fid_inception": Path("unread.safetensors")})


def test_identical_frames_have_zero_distance(scene: Scene) -> None:
    assert score("fid", scene)["fid"] < 1e-6


def test_constant_shift_gives_its_square(scene: Scene) -> None:
    dim = edited(scene, lambda image, landmarks, index: image // 2 + 20)
    light = edited(scene, lambda image, landmarks, index: image // 2 + 23)
    assert score("fid", replace(light, original=dim.source))["fid"] == pytest.approx(3 * 64 * 9, rel=1e-4)


def test_too_few_faces_give_nan(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric, "MIN_FACES", 5)
    assert np.isnan(score("fid", scene)["fid"])


def test_session_runs_the_network(moment: Scene, tmp_path: Path) -> None:
    file = save(FidInception(), tmp_path / "inception.safetensors")
    session = metric.FidMetric().open(replace(moment, weights={"fid_inception": file}))
    session.add(next(scored_frames(moment)))
    assert session._output[0].shape == (2048,)
    np.testing.assert_allclose(session._output[0], session._original[0], atol=1e-5)
    assert np.isnan(session.result()["fid"])
