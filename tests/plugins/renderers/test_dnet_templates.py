"""Expressions for D-Net: published templates, coefficient files and photos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError
from retalkit.errors import InputError, WeightsError
from retalkit.observer import SilentObserver
from retalkit.plugins import StageConfig, StageSpec
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import FoundStage, Registry
from retalkit.stages import Face, FaceBatch, FrameBatch, Runtime, StageContext, StageKind
from retalkit.storage.cache import Folder
from retalkit.weights.load import read_checkpoint
from retalkit.weights.store import WeightStore
from retalkit_renderers.dnet.interface import CHECKPOINTS, DNetConfig
from retalkit_renderers.dnet.templates import published_expression, stored_expression
from safetensors.numpy import save_file
from scipy.io import loadmat, savemat

EXPRESSION = np.linspace(-2, 2, 64, dtype=np.float32)
WHOLE = np.concatenate([np.full(80, 9, np.float32), EXPRESSION, np.full(118, 9, np.float32)])


@pytest.fixture(scope="module")
def store(shared_parity: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch", reason="the store reads files with torch")
    return WeightStore(tmp_path_factory.mktemp("store")).add(CHECKPOINTS[1], shared_parity / CHECKPOINTS[1].file)


@pytest.mark.parametrize(("template", "name"), [("neutral", "expression_center"), ("smile", "expression_mouth")])
def test_templates_match_the_published_file(store: Path, shared_parity: Path, template: str, name: str) -> None:
    found = published_expression(store, template)
    assert found.dtype == np.float32
    assert np.array_equal(found, loadmat(shared_parity / "expression.mat")[name][0])


def test_other_matlab_files_are_rejected(shared_parity: Path) -> None:
    with pytest.raises(WeightsError, match=r"similarity_Lm3D_all.mat: not a valid expression.mat .*expression_center"):
        read_checkpoint(shared_parity / "similarity_Lm3D_all.mat", CHECKPOINTS[1])


def write(folder: Path, kind: str) -> Path:
    path = folder / f"grin.{kind.partition(' ')[0]}"
    match kind:
        case "npy":
            np.save(path, EXPRESSION)
        case "npy of a fit":
            np.save(path, WHOLE[None])
        case "npz":
            np.savez(path, identity=np.zeros(80), expression=EXPRESSION[:, None].astype(np.float64))
        case "safetensors":
            save_file({"anything": WHOLE[:257]}, path)
        case "mat":
            savemat(path, {"id": np.zeros((1, 80)), "exp": EXPRESSION[None]})
    return path


@pytest.mark.parametrize("kind", ["npy", "npy of a fit", "npz", "safetensors", "mat"])
def test_coefficients_are_read_from_each_file_type(tmp_path: Path, kind: str) -> None:
    assert np.array_equal(stored_expression(write(tmp_path, kind)), EXPRESSION)


def test_unusable_coefficient_files_are_reported_in_one_line(tmp_path: Path) -> None:
    files: dict[str, Path] = {}
    for name, array in {"short": np.zeros(60), "text": np.array(["a"] * 64), "lost": np.full(64, np.nan)}.items():
        files[name] = tmp_path / f"{name}.npy"
        np.save(files[name], array)
    files["many"] = tmp_path / "many.npz"
    np.savez(files["many"], one=EXPRESSION, two=EXPRESSION)
    for name in ("truncated.npy", "truncated.npz", "truncated.safetensors", "truncated.mat"):
        files[name] = tmp_path / name
        files[name].write_bytes(b"\x93NUMPY truncated")
    files["objects"] = tmp_path / "objects.npy"
    np.save(files["objects"], np.array([{}], dtype=object), allow_pickle=True)
    facts = {"short": "60", "lost": "not finite", "many": "one, two"}
    for name, path in files.items():
        with pytest.raises(InputError, match=facts.get(name, name)) as caught:
            stored_expression(path)
        assert caught.value.code in ("invalid-coefficients", "unreadable-file")
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_options_declare_checkpoints_and_files() -> None:
    assert DNetConfig().checkpoints() == ("expression_templates",)
    assert DNetConfig.model_validate({"template": "smile"}).files() == {}
    photo = DNetConfig.model_validate({"template": "me.JPG"})
    assert photo.checkpoints() == ("face3d", "bfm_landmarks")
    assert photo.files() == {"template": Path("me.JPG")}
    assert DNetConfig.model_validate({"template": "grin.npy"}).checkpoints() == ()
    with pytest.raises(ValidationError, match="safetensors"):
        DNetConfig.model_validate({"template": "nutral"})


@pytest.fixture
def runtime(pseudo_weights: Callable[[str], Path], shared_parity: Path, tmp_path: Path) -> Runtime:
    """A runtime with the weights of the reconstructor."""
    landmarks = discover().checkpoint("bfm_landmarks")
    file = WeightStore(tmp_path / "store").add(landmarks, shared_parity / landmarks.file)
    weights = {"face3d": pseudo_weights("face3d"), "bfm_landmarks": file}
    return Runtime(inference="torch", weights=weights)


def test_expression_of_a_photo_depends_on_the_face_only(portrait: Any, runtime: Runtime, tmp_path: Path) -> None:
    from retalkit_renderers.dnet.photo_fit import PhotoFit

    found: list[Any] = []
    wider = cv2.copyMakeBorder(portrait.image, 0, 40, 0, 60, cv2.BORDER_REPLICATE)
    for name, image in (("one.png", portrait.image), ("wide.png", wider)):
        assert cv2.imwrite(str(tmp_path / name), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        context = StageContext(Folder(tmp_path / f"cache {name}"), SilentObserver())
        found.append(PhotoFit(runtime).expression(tmp_path / name, context))
    assert found[0].shape == (64,) and found[0].dtype == np.float32
    # With pseudo-random weights, other faces differ far more.
    assert np.abs(found[0] - found[1]).max() < 0.1 * np.abs(found[0]).max()


class ThreeFaces:
    """A detector of three faces, and a reconstructor whose result identifies the face that it receives."""

    def __init__(self, config: StageConfig, runtime: Runtime) -> None:
        del config, runtime

    def open(self, clip: Any, context: StageContext) -> ThreeFaces:
        with context.cache.write("seen") as path:
            path.touch()
        return self

    def detect(self, frames: FrameBatch) -> list[list[Face]]:
        points = np.zeros((68, 3), np.float32)
        boxes = ([0, 0, 10, 10], [10, 0, 40, 30], [40, 0, 60, 20])
        return [[Face(np.array(box, np.float32), points, 1.0) for box in boxes]]

    def reconstruct(self, faces: FaceBatch) -> Any:
        return np.repeat(faces.boxes[:, :1], 262, axis=1)

    def close(self) -> None:
        pass


def test_the_largest_face_is_used(tmp_path: Path) -> None:
    from retalkit_renderers.dnet.photo_fit import PhotoFit

    specs = [
        StageSpec(StageKind.DETECTOR, "mediapipe", "", ThreeFaces, "", api=2, gives=frozenset({"landmarks:ibug68"})),
        StageSpec(
            StageKind.RECONSTRUCTOR, "deep3d", "", ThreeFaces, "", api=2, gives=frozenset({"coefficients:bfm257"})
        ),
    ]
    registry = Registry([FoundStage(spec, "test", "1", "test") for spec in specs])
    path = tmp_path / "crowd.png"
    assert cv2.imwrite(str(path), np.zeros((30, 60, 3), np.uint8))
    context = StageContext(Folder(tmp_path / "cache"), SilentObserver())
    assert (PhotoFit(Runtime(), registry).expression(path, context) == 10).all()
    # The files of these stages must not collide with those of the editor.
    assert [file.name for file in (tmp_path / "cache").iterdir()] == ["template-seen"]


def test_photo_without_a_face_is_rejected(runtime: Runtime, tmp_path: Path) -> None:
    from retalkit_renderers.dnet.photo_fit import PhotoFit

    path = tmp_path / "wall.png"
    assert cv2.imwrite(str(path), np.full((120, 160, 3), 128, np.uint8))
    with pytest.raises(InputError, match=r"wall\.png") as error:
        PhotoFit(runtime).expression(path, StageContext(Folder(tmp_path / "cache"), SilentObserver()))
    assert error.value.code == "no-face"
