"""GANimation's generator compared with the published implementation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit.inference import empty_network, load_weights
from retalkit.stages import ObjectPool, Runtime
from retalkit.weights.load import read_checkpoint
from retalkit_enhancers.ganimation.emotional_face import EmotionalFace
from retalkit_enhancers.ganimation.emotions import EMOTIONS, UNITS, unit_strengths
from retalkit_enhancers.ganimation.generator import Animated, Generator, parameter_shapes
from retalkit_enhancers.ganimation.interface import CHECKPOINTS

from tests.parity import Published
from tests.pseudo_weights import load_module


@pytest.fixture(scope="module")
def published(shared_parity: Path) -> Published:
    return Published(shared_parity, "ganimation")


@pytest.fixture(scope="module")
def animated(pseudo_weights: Callable[[str], Path], published: Published) -> Animated:
    generator = load_weights(empty_network(Generator), pseudo_weights("ganimation"))
    inputs = published.inputs
    with torch.inference_mode():
        return generator(torch.from_numpy(inputs["img"]), torch.from_numpy(inputs["au"]))


def test_parameters_match_the_published_checkpoint(published: Published) -> None:
    assert parameter_shapes() == published.shapes


def test_outputs_match_published(animated: Animated, published: Published) -> None:
    published.check(animated.colours.numpy(), "color_mask")
    published.check(animated.kept.numpy(), "aus_mask")
    published.check(animated.features.numpy(), "embed")
    published.check(animated.blend(torch.from_numpy(published.inputs["img"])).numpy(), "fake_img")


def test_action_units_of_emotions_match_published(shared_parity: Path) -> None:
    with np.load(shared_parity / "pure_coeffs.npz") as arrays:
        known = {key.removeprefix("aus_"): arrays[key] for key in arrays.files if key.startswith("aus_")}
    assert set(known) == set(EMOTIONS)
    assert len(UNITS) == 17
    for emotion, units in known.items():
        np.testing.assert_array_equal(np.array([unit_strengths(emotion)], np.float32), units.reshape(1, 17))


def test_emotional_face_keeps_size_and_range(pseudo_weights: Callable[[str], Path], shared_parity: Path) -> None:
    random = np.random.default_rng(3)
    face = load_module(shared_parity / "inputs.py").img(random, 1, 3, 384, 384).astype(np.float32)
    weights = {"ganimation": pseudo_weights("ganimation")}
    runtime = Runtime(inference="torch", weights=weights, pool=ObjectPool())
    results = {emotion: EmotionalFace(runtime, emotion)(torch.from_numpy(face)) for emotion in EMOTIONS}
    for result in results.values():
        assert result.shape == (1, 3, 384, 384) and result.dtype == torch.float32
        assert float(result.min()) >= 0 and float(result.max()) <= 1
        # With any weights the network keeps much of the given face.
        assert np.corrcoef(result.numpy().ravel(), face.ravel())[0, 1] > 0.3
    assert not torch.equal(results["sad"], results["angry"])
    assert not torch.equal(results["angry"], results["surprise"])


def test_running_statistics_of_old_files_are_dropped(tmp_path: Path) -> None:
    entries = {name: torch.zeros(1).expand(shape) for name, shape in parameter_shapes().items()}
    old = {f"model.1.{name}": torch.zeros(64) for name in ("running_mean", "running_var")}
    file = tmp_path / "30_net_gen.pth"
    torch.save({**entries, **old, "model.1.num_batches_tracked": torch.tensor(7)}, file)
    assert set(read_checkpoint(file, CHECKPOINTS[0])) == set(entries)
