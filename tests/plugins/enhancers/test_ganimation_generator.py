"""GANimation's generator against the numbers of the published implementation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit.inference import load_weights
from retalkit.weights.load import read_checkpoint
from retalkit_enhancers.ganimation.emotions import EMOTIONS, UNITS, units_of
from retalkit_enhancers.ganimation.generator import Animated, Generator, parameter_shapes
from retalkit_enhancers.ganimation.interface import CHECKPOINTS
from retalkit_enhancers.ganimation.upper_face import EmotionalFace

from tests.pseudo_weights import load_module, manifest


@pytest.fixture(scope="module")
def inputs(shared_parity: Path) -> dict[str, np.ndarray]:
    return load_module(shared_parity / "inputs.py").make("ganimation")


@pytest.fixture(scope="module")
def animated(pseudo_weights: Callable[[str], Path], inputs: dict[str, np.ndarray]) -> Animated:
    generator = load_weights(Generator(), pseudo_weights("ganimation")).arrange()
    with torch.inference_mode():
        return generator(torch.from_numpy(inputs["img"]), torch.from_numpy(inputs["au"]))


def test_names_and_shapes_are_the_published_ones(shared_parity: Path) -> None:
    entries = manifest(shared_parity, "ganimation")["state_dict"]
    assert parameter_shapes() == {name: tuple(shape) for name, (shape, _) in entries.items()}


@pytest.mark.parametrize("name", ["color_mask", "aus_mask", "embed", "fake_img"])
def test_every_output(name: str, animated: Animated, inputs: dict[str, np.ndarray], shared_parity: Path) -> None:
    with np.load(shared_parity / "ganimation.npz") as published:
        known = {key: published[key] for key in published.files if key.startswith(name)}
    result = {
        "color_mask": animated.colours,
        "aus_mask": animated.kept,
        "embed": animated.features,
        "fake_img": animated.over(torch.from_numpy(inputs["img"])),
    }[name].numpy()
    stride = int(known[f"{name}__stride"])
    np.testing.assert_allclose(result[..., ::stride, ::stride], known[name], rtol=0, atol=1e-4)
    np.testing.assert_allclose(result[..., :16, :16], known[f"{name}__tl16"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(result[..., -16:, -16:], known[f"{name}__br16"], rtol=0, atol=1e-4)


def test_the_emotions(shared_parity: Path) -> None:
    with np.load(shared_parity / "pure_coeffs.npz") as published:
        known = {key.removeprefix("aus_"): published[key] for key in published.files if key.startswith("aus_")}
    assert set(known) == set(EMOTIONS)
    assert len(UNITS) == 17
    for emotion, units in known.items():
        np.testing.assert_array_equal(np.array([units_of(emotion)], np.float32), units.reshape(1, 17))


def test_an_emotion_keeps_size_and_range(pseudo_weights: Callable[[str], Path], shared_parity: Path) -> None:
    random = np.random.default_rng(3)
    face = load_module(shared_parity / "inputs.py").img(random, 1, 3, 384, 384).astype(np.float32)
    results = {}
    for emotion in EMOTIONS:
        with torch.inference_mode():
            results[emotion] = EmotionalFace(pseudo_weights("ganimation"), emotion, "cpu")(torch.from_numpy(face))
    for result in results.values():
        assert result.shape == (1, 3, 384, 384) and result.dtype == torch.float32
        assert float(result.min()) >= 0 and float(result.max()) <= 1
        # The network lets much of the face through whatever its weights are.
        assert np.corrcoef(result.numpy().ravel(), face.ravel())[0, 1] > 0.3
    assert not torch.equal(results["sad"], results["angry"])
    assert not torch.equal(results["angry"], results["surprise"])


def test_running_statistics_of_an_old_file_are_dropped(tmp_path: Path) -> None:
    entries = {name: torch.zeros(1).expand(shape) for name, shape in parameter_shapes().items()}
    old = {f"model.1.{name}": torch.zeros(64) for name in ("running_mean", "running_var")}
    file = tmp_path / "30_net_gen.pth"
    torch.save({**entries, **old, "model.1.num_batches_tracked": torch.tensor(7)}, file)
    assert set(read_checkpoint(file, CHECKPOINTS[0])) == set(entries)
