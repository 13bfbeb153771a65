"""The metric ``identity``, its face alignment and its network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="this metric needs the extra: pip install 'retalkit[paper]'")

import retalkit_metrics.identity.metric as metric
from retalkit.geometry.schemes import MESH478, POINTS5, convert
from retalkit.geometry.similarity import fit_similarity
from retalkit.metrics.scene import Scene, scored_frames
from retalkit_metrics.identity.alignment import TEMPLATE, aligned_face
from retalkit_metrics.identity.network import FaceRecogniser, empty_network

from tests.plugins.conftest import Portrait
from tests.plugins.metrics.network_weights import random_input, random_state, save
from tests.plugins.metrics.scenes import edited, score


class MeanColour(torch.nn.Module):
    """Replaces the recogniser in tests with known results: the direction of the mean colour relative to grey."""

    def forward(self, x):
        return torch.nn.functional.normalize(x.mean((2, 3)))


@pytest.fixture
def scene(moment: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Sixteen frames, four of which are sampled."""
    monkeypatch.setattr(metric, "load_weights", lambda network, path, device: MeanColour())
    return replace(moment, weights={"arcface_ir_se50": Path("unread.safetensors")})


def test_unchanged_face_scores_one(scene: Scene) -> None:
    assert score("identity", scene)["identity"] == pytest.approx(1, abs=1e-6)


def test_score_is_the_cosine_of_the_embeddings(scene: Scene) -> None:
    def filled(*colour: int) -> Scene:
        return edited(scene, lambda image, landmarks, index: np.full_like(image, colour))

    # Mean colours (1, 0, 0) and (0.6, 0.8, 0) relative to middle grey.
    red, orange = filled(255, 127, 127), filled(127 + 77, 127 + 102, 127)
    found = score("identity", replace(orange, original=red.source))["identity"]
    assert found == pytest.approx(0.6, abs=0.02)
    assert score("identity", replace(filled(0, 127, 127), original=red.source))["identity"] < -0.99


def test_median_ignores_a_single_outlier_frame(scene: Scene) -> None:
    def invert_once(image, landmarks, index):
        return 255 - image if index == 5 else image

    assert score("identity", edited(scene, invert_once))["identity"] == pytest.approx(1, abs=1e-6)
    assert score("identity", edited(scene, lambda image, landmarks, index: 255 - image))["identity"] < 0


def test_frames_without_face_give_nan(scene: Scene) -> None:
    class Faceless:
        source, landmark_scheme = scene.source, "mesh478"

        def landmarks(self, start, stop):
            return np.full((stop - start, 478, 3), np.nan, np.float32)

        def tracks(self, start, stop):
            return np.full(stop - start, -1, np.int32)

    assert np.isnan(score("identity", replace(scene, output=Faceless()))["identity"])


def test_network_distinguishes_faces(moment: Scene, portrait: Portrait, tmp_path: Path) -> None:
    """Holds for random weights; only the published weights recognise people."""
    file = save(FaceRecogniser(), tmp_path / "arcface.safetensors")
    session = metric.IdentityMetric().open(replace(moment, weights={"arcface_ir_se50": file}))
    frame = next(scored_frames(moment))
    points, place = (
        convert(each, MESH478, POINTS5)[:, :2].astype(float) for each in (portrait.landmarks, frame.landmarks)
    )
    other = cv2.warpAffine(portrait.image, fit_similarity(points, place), frame.image.shape[1::-1])
    for index, image in enumerate((frame.image, cv2.GaussianBlur(frame.image, (0, 0), 1), other)):
        session.add(replace(frame, time=float(index), image=image.astype(np.uint8)))
    same, softened, another = session._cosines
    assert same == pytest.approx(1, abs=1e-5)
    assert another < softened - 0.005 < 0.999


def test_network_input_is_bgr(scene: Scene) -> None:
    session = metric.IdentityMetric().open(scene)
    red = np.zeros((1, 112, 112, 3), np.uint8)
    red[..., 0] = 255
    tensor = session._tensor(red)
    assert tensor.shape == (1, 3, 112, 112)
    assert tensor[0, :, 0, 0].tolist() == [-1, -1, 1]


def test_similarity_fits_the_template(portrait: Portrait) -> None:
    points = convert(portrait.landmarks, MESH478, POINTS5)[:, :2].astype(np.float64)
    matrix = fit_similarity(points, np.array(TEMPLATE))
    assert matrix is not None
    np.testing.assert_allclose([matrix[0, 0], matrix[0, 1]], [matrix[1, 1], -matrix[1, 0]], rtol=1e-12)
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    assert np.abs(moved - TEMPLATE).max() < 6
    # A local minimum: small changes increase the error.
    error = ((moved - TEMPLATE) ** 2).sum()
    for change in np.eye(4) * 1e-3:
        a, b, x, y = change
        other = matrix + [[a, -b, x], [b, a, y]]
        assert ((points @ other[:, :2].T + other[:, 2] - TEMPLATE) ** 2).sum() > error


def test_similarity_recovers_a_known_rotation() -> None:
    turn = np.deg2rad(30)
    known = np.array([[np.cos(turn), -np.sin(turn), 5.0], [np.sin(turn), np.cos(turn), -7.0]]) * 2
    points = np.array(TEMPLATE)
    np.testing.assert_allclose(fit_similarity(points, points @ known[:, :2].T + known[:, 2]), known, atol=1e-9)


@pytest.mark.parametrize("scale", [0.6, 3.0])
def test_alignment_is_independent_of_face_size(portrait: Portrait, scale: float) -> None:
    large = cv2.resize(portrait.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    landmarks = ((portrait.landmarks + 0.5) * scale - 0.5).astype(np.float32)
    one, other = aligned_face(portrait.image, portrait.landmarks), aligned_face(large.astype(np.uint8), landmarks)
    assert one is not None and other is not None and one.shape == (112, 112, 3)
    assert np.abs(one.astype(float) - other).mean() < 4


def test_missing_or_tiny_face_has_no_crop(portrait: Portrait) -> None:
    assert aligned_face(portrait.image, np.full((478, 3), np.nan, np.float32)) is None
    assert aligned_face(portrait.image, np.zeros((478, 3), np.float32)) is None
    assert aligned_face(portrait.image, (portrait.landmarks / 20).astype(np.float32)) is None


def test_embeddings_match_the_published_code() -> None:
    network = empty_network().eval()
    network.load_state_dict(random_state(network))
    # In float64: with random weights, float32 rounding already changes the embedding by 0.004.
    with torch.inference_mode():
        embedding = network.double()((random_input(1, 3, 112, 112) * 2 - 1).double())
    assert float(embedding.norm()) == pytest.approx(1, abs=1e-12)
    # Output of facexlib's Backbone with the same weights, normalised.
    published = [0.0051146, -0.0452033, -0.0104626, 0.039046, 0.0181055, 0.1044347]
    assert embedding[0, :6].tolist() == pytest.approx(published, abs=1e-6)
