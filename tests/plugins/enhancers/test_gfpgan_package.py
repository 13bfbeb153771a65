"""The package ``gfpgan`` as a stage: what holds without it, and its network against ours where it is installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from retalkit.errors import PluginError, WeightsError
from retalkit.observer import SilentObserver
from retalkit.plugins.discovery import discover
from retalkit.stages import FaceEdit, StageContext, StageKind
from retalkit.storage.cache import Folder
from retalkit_enhancers.gfpgan_package.importing import clean_architecture, gone_module

from tests.plugins.conftest import Portrait
from tests.plugins.enhancers.foreign_packages import aligned_face, alone, made_up, unavailable

GONE = "torchvision.transforms.functional_tensor"
FUNCTIONS = {"torchvision__transforms__functional": "def rgb_to_grayscale(picture):\n    return 'grey'\n"}
USER = "from torchvision.transforms.functional_tensor import rgb_to_grayscale\n"
"""How basicsr imports."""

missing = [name for name in ("torch", "torchvision", "gfpgan") if find_spec(name) is None]
installed = pytest.mark.skipif(
    bool(missing), reason=f"not installed: {', '.join(missing)} (docs/paper.md has the commands)"
)


def test_without_the_package_it_is_listed_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = unavailable("gfpgan_package", ("gfpgan",), monkeypatch)
    assert reason == "needs the Python package gfpgan (pip install 'retalkit[gfpgan]')"


def test_it_takes_the_checkpoint_of_gfpgan() -> None:
    registry = discover()
    spec = registry.find(StageKind.ENHANCER, "gfpgan_package").spec
    assert spec.checkpoints == registry.find(StageKind.ENHANCER, "gfpgan").spec.checkpoints == ("gfpgan",)


def test_the_gone_module_is_there_for_one_import_only(tmp_path: Path) -> None:
    with made_up(tmp_path, "torchvision", "basicsr", **FUNCTIONS, basicsr__degradations=USER):
        with pytest.raises(ModuleNotFoundError):
            import_module("basicsr.degradations")
        with gone_module():
            import basicsr.degradations as imported
        assert imported.rgb_to_grayscale(None) == "grey"
        assert GONE not in sys.modules
        assert not hasattr(sys.modules["torchvision.transforms"], "functional_tensor")
        with pytest.raises(ZeroDivisionError), gone_module():
            raise ZeroDivisionError
        assert GONE not in sys.modules


def test_a_torchvision_that_has_the_module_keeps_it(tmp_path: Path) -> None:
    own = {"torchvision__transforms__functional_tensor": "def rgb_to_grayscale(picture):\n    return 'own'\n"}
    with made_up(tmp_path, "torchvision", "basicsr", **FUNCTIONS, **own, basicsr__degradations=USER):
        with gone_module():
            import basicsr.degradations as imported
        assert imported.rgb_to_grayscale(None) == "own"
        assert GONE in sys.modules
        # One that somebody else put there is left alone, too.
        stranger = sys.modules[GONE] = ModuleType(GONE)
        with gone_module():
            assert sys.modules[GONE] is stranger
        assert sys.modules[GONE] is stranger


@pytest.mark.parametrize(
    "source", ["import not_there_at_all", "raise RuntimeError('operator torchvision::nms\\ndoes not exist')"]
)
def test_a_package_that_cannot_be_imported_is_one_line(source: str, tmp_path: Path) -> None:
    broken = {"gfpgan__archs__gfpganv1_clean_arch": source + "\n"}
    with made_up(tmp_path, "torchvision", "gfpgan", **FUNCTIONS, **broken):
        with pytest.raises(
            PluginError, match=r"package gfpgan cannot be imported .*pip install 'retalkit\[gfpgan\]'"
        ) as e:
            clean_architecture()
        assert GONE not in sys.modules
    assert "\n" not in str(e.value)


def test_a_torchvision_that_cannot_be_imported_is_one_line(tmp_path: Path) -> None:
    broken = {"torchvision__transforms__functional": "raise RuntimeError('operator torchvision::nms')\n"}
    with made_up(tmp_path, "torchvision", "gfpgan", **broken), pytest.raises(PluginError, match="nms"):
        clean_architecture()


@pytest.fixture(scope="module")
def noisy_weights(pseudo_weights: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All strengths of noise 0.1."""
    from safetensors.numpy import load_file, save_file

    arrays = load_file(pseudo_weights("gfpgan"))
    for name in [name for name, array in arrays.items() if array.shape == (1,)]:
        arrays[name] = np.full(1, 0.1, np.float32)
    file = tmp_path_factory.mktemp("noisy") / "gfpgan.safetensors"
    save_file(arrays, file)
    return file


def context_of(weights: Path, folder: Path | None = None) -> StageContext:
    cache: Any = folder and Folder(folder)
    return StageContext(cache, SilentObserver(), seed=11, weights={"gfpgan": weights})


@installed
def test_the_package_gives_what_ours_gives(
    noisy_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from retalkit_enhancers.gfpgan.restorer import GfpganRestorer
    from retalkit_enhancers.gfpgan_package.enhancer import package_restorer

    face, index = aligned_face(), np.array([7], np.int64)
    context = context_of(noisy_weights)
    ours = GfpganRestorer(context).restore(face, index)
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    with alone(tmp_path / "empty", monkeypatch, "gfpgan", "basicsr", "facexlib"):
        theirs = package_restorer(clean_architecture(), context).restore(face, index)
    assert theirs.dtype == np.float32 and np.ptp(theirs) > 0.5
    # With noise, too: it is drawn from the frame's own seed in the same order.
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-4)
    assert torch.equal(torch.random.get_rng_state(), state)


@installed
def test_the_package_gives_what_its_own_class_gives(pseudo_weights: Callable[[str], Path]) -> None:
    """``GFPGANer`` cannot be made without its detectors: here it gets the network and a list for a helper."""
    import torch
    from retalkit_enhancers.gfpgan_package.enhancer import package_restorer

    face = aligned_face()
    architecture = clean_architecture()
    restorer = package_restorer(architecture, context_of(pseudo_weights("gfpgan")))
    result = restorer.restore(face, np.array([0], np.int64))[0]

    from gfpgan import GFPGANer

    published = GFPGANer.__new__(GFPGANer)
    published.device = torch.device("cpu")
    published.gfpgan = lambda faces, **options: (restorer._network(faces), None)
    kept: list[np.ndarray] = []
    published.face_helper = SimpleNamespace(
        clean_all=lambda: None, add_restored_face=kept.append, cropped_faces=[], restored_faces=kept
    )
    published.enhance(np.ascontiguousarray(face[0, ..., ::-1]), has_aligned=True, paste_back=False)
    difference = np.abs(np.rint(result * 255) - kept[0][..., ::-1])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


@installed
def test_a_checkpoint_that_does_not_fit_is_refused(pseudo_weights: Callable[[str], Path]) -> None:
    from retalkit_enhancers.gfpgan_package.enhancer import package_restorer

    with pytest.raises(WeightsError, match="does not fit"):
        package_restorer(clean_architecture(), context_of(pseudo_weights("parsenet")))


@installed
def test_the_stage_on_a_real_face(portrait: Portrait, noisy_weights: Path, tmp_path: Path) -> None:
    from tests.plugins.enhancers.test_restoration_stage import Stored, batch_of, changed, shown, soft_edit

    spec = discover().find(StageKind.ENHANCER, "gfpgan_package").spec
    edit = soft_edit(portrait)
    before = shown(portrait.image, edit)

    def run(weights: Path) -> FaceEdit:
        session = spec.make(spec.config()).open(Stored(), context_of(weights, tmp_path / "cache"))
        result = session.enhance(batch_of(portrait), [edit])[0]
        session.close()
        return result

    first = run(noisy_weights)
    touched = changed(shown(portrait.image, first), before)
    assert 0.03 < touched.mean() < 0.3
    # Again out of the cache, without the network.
    np.testing.assert_array_equal(run(tmp_path / "not there").image, first.image)
