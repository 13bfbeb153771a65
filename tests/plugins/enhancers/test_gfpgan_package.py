"""The package ``gfpgan`` as a stage; where it is installed, its network compared with ours."""

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
from retalkit.stages import EnhancementClip, FaceEdit, Runtime, StageContext, StageKind
from retalkit.storage.cache import Folder
from retalkit_enhancers.gfpgan_package.importing import import_architecture, removed_module

from tests.plugins.conftest import Portrait
from tests.plugins.enhancers.third_party_packages import aligned_face, fake_packages, isolated, unavailable

REMOVED = "torchvision.transforms.functional_tensor"
FUNCTIONS = {"torchvision__transforms__functional": "def rgb_to_grayscale(image):\n    return 'grey'\n"}
USER = "from torchvision.transforms.functional_tensor import rgb_to_grayscale\n"
"""The import in basicsr."""

missing = [name for name in ("torch", "torchvision", "gfpgan") if find_spec(name) is None]
installed = pytest.mark.skipif(
    bool(missing), reason=f"not installed: {', '.join(missing)} (docs/paper.md has the commands)"
)


def test_missing_package_is_listed_with_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = unavailable("gfpgan_package", ("gfpgan",), monkeypatch)
    assert reason == "needs the Python package gfpgan (pip install 'retalkit[gfpgan]')"


def test_checkpoint_is_that_of_gfpgan() -> None:
    registry = discover()
    spec = registry.find(StageKind.ENHANCER, "gfpgan_package").spec
    assert spec.checkpoints == registry.find(StageKind.ENHANCER, "gfpgan").spec.checkpoints == ("gfpgan",)


def test_removed_module_is_importable_inside_the_block_only(tmp_path: Path) -> None:
    with fake_packages(tmp_path, "torchvision", "basicsr", **FUNCTIONS, basicsr__degradations=USER):
        with pytest.raises(ModuleNotFoundError):
            import_module("basicsr.degradations")
        with removed_module():
            import basicsr.degradations as imported
        assert imported.rgb_to_grayscale(None) == "grey"
        assert REMOVED not in sys.modules
        assert not hasattr(sys.modules["torchvision.transforms"], "functional_tensor")
        with pytest.raises(ZeroDivisionError), removed_module():
            raise ZeroDivisionError
        assert REMOVED not in sys.modules


def test_existing_module_of_torchvision_is_kept(tmp_path: Path) -> None:
    own = {"torchvision__transforms__functional_tensor": "def rgb_to_grayscale(image):\n    return 'own'\n"}
    with fake_packages(tmp_path, "torchvision", "basicsr", **FUNCTIONS, **own, basicsr__degradations=USER):
        with removed_module():
            import basicsr.degradations as imported
        assert imported.rgb_to_grayscale(None) == "own"
        assert REMOVED in sys.modules
        # Also one that another package added.
        other = sys.modules[REMOVED] = ModuleType(REMOVED)
        with removed_module():
            assert sys.modules[REMOVED] is other
        assert sys.modules[REMOVED] is other


@pytest.mark.parametrize(
    "source", ["import not_there_at_all", "raise RuntimeError('operator torchvision::nms\\ndoes not exist')"]
)
def test_broken_package_is_reported_in_one_line(source: str, tmp_path: Path) -> None:
    broken = {"gfpgan__archs__gfpganv1_clean_arch": source + "\n"}
    with fake_packages(tmp_path, "torchvision", "gfpgan", **FUNCTIONS, **broken):
        with pytest.raises(
            PluginError, match=r"package gfpgan cannot be imported .*pip install 'retalkit\[gfpgan\]'"
        ) as e:
            import_architecture()
        assert REMOVED not in sys.modules
    assert "\n" not in str(e.value)


def test_broken_torchvision_is_reported_in_one_line(tmp_path: Path) -> None:
    broken = {"torchvision__transforms__functional": "raise RuntimeError('operator torchvision::nms')\n"}
    with fake_packages(tmp_path, "torchvision", "gfpgan", **broken), pytest.raises(PluginError, match="nms"):
        import_architecture()


@pytest.fixture(scope="module")
def noisy_weights(pseudo_weights: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All noise strengths 0.1."""
    from safetensors.numpy import load_file, save_file

    arrays = load_file(pseudo_weights("gfpgan"))
    for name in [name for name, array in arrays.items() if array.shape == (1,)]:
        arrays[name] = np.full(1, 0.1, np.float32)
    file = tmp_path_factory.mktemp("noisy") / "gfpgan.safetensors"
    save_file(arrays, file)
    return file


def runtime_of(weights: Path) -> Runtime:
    return Runtime(inference="torch", weights={"gfpgan": weights})


@installed
def test_package_matches_our_network(noisy_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from retalkit_enhancers.gfpgan.restorer import gfpgan_restorer
    from retalkit_enhancers.gfpgan_package.enhancer import package_restorer

    face, index = aligned_face(), np.array([7], np.int64)
    runtime = runtime_of(noisy_weights)
    ours = gfpgan_restorer(runtime).restore(face, index, seed=11)
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    with isolated(tmp_path / "empty", monkeypatch, "gfpgan", "basicsr", "facexlib"):
        theirs = package_restorer(import_architecture(), runtime).restore(face, index, seed=11)
    assert theirs.dtype == np.float32 and np.ptp(theirs) > 0.5
    # Including the noise, which is drawn from the frame's seed in the same order.
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-4)
    assert torch.equal(torch.random.get_rng_state(), state)


@installed
def test_package_stage_matches_the_class_gfpganer(pseudo_weights: Callable[[str], Path]) -> None:
    """``GFPGANer`` cannot be constructed without its detectors: it gets the network and a list as helper."""
    import torch
    from retalkit_enhancers.gfpgan_package.enhancer import package_restorer

    face = aligned_face()
    architecture = import_architecture()
    restorer = package_restorer(architecture, runtime_of(pseudo_weights("gfpgan")))
    result = restorer.restore(face, np.array([0], np.int64), seed=0)[0]

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
def test_mismatched_checkpoint_is_rejected(pseudo_weights: Callable[[str], Path]) -> None:
    from retalkit_enhancers.gfpgan_package.enhancer import package_restorer

    with pytest.raises(WeightsError, match="do not match"):
        package_restorer(import_architecture(), runtime_of(pseudo_weights("parsenet")))


@installed
def test_stage_restores_a_real_face(portrait: Portrait, noisy_weights: Path, tmp_path: Path) -> None:
    from tests.plugins.enhancers.test_restoration_stage import Stored, batch_of, changed, shown, soft_edit

    spec = discover().find(StageKind.ENHANCER, "gfpgan_package").spec
    edit = soft_edit(portrait)
    before = shown(portrait.image, edit)

    stage: Any = spec.make(spec.config(), runtime_of(noisy_weights))

    def run() -> FaceEdit:
        clip: Any = EnhancementClip(analysis=Stored())  # type: ignore[arg-type]
        session = stage.open(clip, StageContext(Folder(tmp_path / "cache"), SilentObserver(), seed=11))
        result = session.enhance(batch_of(portrait), [edit])[0]
        session.close()
        return result

    first = run()
    touched = changed(shown(portrait.image, first), before)
    assert 0.03 < touched.mean() < 0.3
    # Again, from the cache.
    np.testing.assert_array_equal(run().image, first.image)
