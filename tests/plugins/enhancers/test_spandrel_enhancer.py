"""Checkpoints of a user: rejected files, and results where spandrel is installed."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="restoration enhancers need the extra: pip install 'retalkit[paper]'")

from retalkit.config import load
from retalkit.errors import ConfigError, PlanError, PluginError, WeightsError
from retalkit.observer import SilentObserver
from retalkit.pipeline.plan import plan
from retalkit.plugins.discovery import discover
from retalkit.stages import EnhancementClip, Runtime, StageContext, StageKind
from retalkit.storage.cache import Folder
from retalkit_enhancers.spandrel_enhancer import checkpoint as module
from retalkit_enhancers.spandrel_enhancer.checkpoint import FaceCheckpoint
from retalkit_enhancers.spandrel_enhancer.enhancer import SpandrelEnhancer, checkpoint_restorer
from retalkit_enhancers.spandrel_enhancer.interface import SpandrelConfig
from safetensors.torch import load_file, save_file

from tests.plugins.conftest import Portrait
from tests.plugins.enhancers.third_party_packages import aligned_face, fake_packages, isolated, unavailable

missing = [name for name in ("torchvision", "spandrel") if find_spec(name) is None]
installed = pytest.mark.skipif(
    bool(missing), reason=f"not installed: {', '.join(missing)} (pip install 'retalkit[spandrel]')"
)
extra_installed = pytest.mark.skipif(
    bool(missing) or find_spec("spandrel_extra_arches") is None, reason="spandrel_extra_arches is not installed"
)
CODEFORMER = {"position_emb": torch.zeros(256, 512), "idx_pred_layer.1.weight": torch.zeros(1024, 512)}


def saved(file: Path, content: object) -> Path:
    torch.save(content, file)
    return file


def rejected(file: Path, code: str, **options: Any) -> str:
    with pytest.raises((WeightsError, ConfigError)) as error:
        SpandrelEnhancer(SpandrelConfig(weights=file, **options), Runtime())
    assert error.value.code == code
    text = str(error.value)
    assert str(file) in text and "\n" not in text
    return text


@pytest.fixture
def seems_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planner does not check installed packages."""
    monkeypatch.setattr("retalkit.pipeline.plan.missing_packages", lambda found: None)


def planned(*options: str) -> Any:
    registry = discover()
    overrides = [f"enhancers=[{{use: spandrel, {', '.join(options)}}}]"]
    return plan(load(registry, overrides=overrides), registry).enhancers[0]


def test_missing_package_is_listed_with_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = unavailable("spandrel", ("torchvision", "spandrel"), monkeypatch)
    assert reason == "needs the Python packages torchvision, spandrel (pip install 'retalkit[spandrel]')"


def test_missing_file_is_reported_by_the_plan(tmp_path: Path, seems_installed: None) -> None:
    with pytest.raises(PlanError) as error:
        planned(f"weights: {tmp_path / 'none.pth'}")
    assert str(error.value).startswith(f"enhancers.0.weights: {tmp_path / 'none.pth'}: file not found")


def test_weights_must_name_a_checkpoint(tmp_path: Path, seems_installed: None) -> None:
    with pytest.raises(ConfigError, match="weights"):
        planned("strength: 0.5")
    with pytest.raises(ConfigError, match=r"\.safetensors file"):
        planned(f"weights: {tmp_path / 'face.onnx'}")


def test_cache_key_depends_on_the_content(tmp_path: Path, seems_installed: None) -> None:
    file, copy = tmp_path / "face.pth", tmp_path / "copy.pth"
    file.write_bytes(b"one")
    copy.write_bytes(b"one")
    first = planned(f"weights: {file}").identity()
    assert planned(f"weights: {copy}").identity() == first
    file.write_bytes(b"two")
    assert planned(f"weights: {file}").identity() != first


def test_file_that_runs_code_is_rejected(tmp_path: Path) -> None:
    proof = tmp_path / "proof"

    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, (f"touch {proof}",)

    text = rejected(saved(tmp_path / "evil.pth", {"params": {"weight": Evil()}}), "unsafe-checkpoint")
    assert "code" in text
    assert not proof.exists()


def test_unreadable_files_are_rejected(tmp_path: Path) -> None:
    for name in ("truncated.pth", "truncated.safetensors"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 no weights")
        rejected(tmp_path / name, "unreadable-file")


def test_broken_package_is_reported_in_one_line(tmp_path: Path) -> None:
    file = saved(tmp_path / "face.pth", {"a": torch.zeros(1)})
    with (
        fake_packages(tmp_path, "spandrel", spandrel__missing=""),
        pytest.raises(PluginError, match="spandrel.*RuntimeError") as error,
    ):
        (tmp_path / "spandrel" / "__init__.py").write_text("raise RuntimeError('operator\\ntorchvision::nms')\n")
        FaceCheckpoint(file)
    assert "\n" not in str(error.value)


@installed
@pytest.mark.parametrize(
    "content", [[1, 2], torch.zeros(3), {}, {"params": 3}, {"epoch": 4, "name": "x"}, {1: torch.zeros(1)}]
)
def test_file_without_parameters_is_rejected(content: object, tmp_path: Path) -> None:
    rejected(saved(tmp_path / "other.pth", content), "unsupported-checkpoint")


@installed
def test_other_architectures_are_rejected_by_name(tmp_path: Path) -> None:
    from spandrel.architectures.Compact import Compact

    upscaler = Compact(num_feat=8, num_conv=2, upscale=4).state_dict()
    text = rejected(saved(tmp_path / "upscaler.pth", {"params_ema": upscaler}), "unsupported-checkpoint")
    assert "RealESRGAN Compact" in text
    text = rejected(saved(tmp_path / "own.pth", {"layer.weight": torch.zeros(3)}), "unsupported-checkpoint")
    assert "GFPGAN, RestoreFormer, CodeFormer" in text


@installed
def test_codeformer_without_its_package_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    text = rejected(saved(tmp_path / "codeformer.pth", {"params_ema": CODEFORMER}), "missing-package")
    assert "non-commercial" in text and "pip install spandrel_extra_arches" in text


@installed
def test_fidelity_is_for_codeformer_only(pseudo_weights: Callable[[str], Path]) -> None:
    assert "GFPGAN" in rejected(pseudo_weights("gfpgan"), "unsupported-option", fidelity=0.5)


@installed
def test_gfpgan_matches_our_network(
    pseudo_weights: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retalkit_enhancers.gfpgan.restorer import gfpgan_restorer

    arrays = load_file(pseudo_weights("gfpgan"))
    noisy = {name: torch.full((1,), 0.1) if array.shape == (1,) else array for name, array in arrays.items()}
    save_file(noisy, tmp_path / "gfpgan.safetensors")
    published = saved(tmp_path / "GFPGANv1.3.pth", {"params_ema": noisy})
    face, index = aligned_face(), np.array([7], np.int64)
    weights = {"gfpgan": tmp_path / "gfpgan.safetensors"}
    ours = gfpgan_restorer(Runtime(inference="torch", weights=weights)).restore(face, index, seed=11)
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    with isolated(tmp_path / "empty", monkeypatch, "spandrel"):
        checkpoint = FaceCheckpoint(published)
        theirs = checkpoint_restorer(checkpoint, Runtime()).restore(face, index, seed=11)
    assert checkpoint.architecture == "GFPGAN"
    assert theirs.dtype == np.float32 and np.ptp(theirs) > 0.5
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-4)
    assert torch.equal(torch.random.get_rng_state(), state)
    # One of the parameters has another shape.
    noisy["final_linear.bias"] = torch.zeros(3)
    broken = FaceCheckpoint(saved(published, {"params_ema": noisy}))
    with pytest.raises(WeightsError, match="GFPGAN") as error:
        broken.load("cpu")
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def small_restoreformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RestoreFormer with few channels and random weights."""
    architectures = pytest.importorskip("spandrel.architectures.RestoreFormer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = architectures.RestoreFormer(
            n_embed=64,
            embed_dim=32,
            ch=32,
            ch_mult=(1, 1, 1, 1, 1, 1),
            num_res_blocks=1,
            attn_resolutions=(16,),
            resolution=512,
            z_channels=32,
            double_z=False,
        )
    return saved(tmp_path_factory.mktemp("small") / "restoreformer.pth", network.state_dict())


@installed
def test_restoreformer_matches_spandrel(small_restoreformer: Path) -> None:
    from spandrel import ModelLoader

    face = aligned_face()
    restored = checkpoint_restorer(FaceCheckpoint(small_restoreformer), Runtime()).restore(face, np.array([0]), seed=11)
    described = ModelLoader().load_from_state_dict(torch.load(small_restoreformer, weights_only=True)).eval()
    with torch.inference_mode():
        expected = described(torch.from_numpy(face).permute(0, 3, 1, 2).contiguous().float() / 255)
    assert np.ptp(restored) > 0.5
    np.testing.assert_allclose(restored, expected.permute(0, 2, 3, 1).clamp(0, 1).numpy(), rtol=0, atol=1e-4)


@installed
def test_network_with_other_channels_is_rejected(tmp_path: Path) -> None:
    from spandrel.architectures.RestoreFormer import RestoreFormer

    network = RestoreFormer(
        n_embed=8, embed_dim=8, ch=32, out_ch=1, ch_mult=(1,), num_res_blocks=1, attn_resolutions=(), z_channels=8,
        in_channels=3, resolution=64, double_z=False,
    )  # fmt: skip
    checkpoint = FaceCheckpoint(saved(tmp_path / "grey.pth", network.state_dict()))
    with pytest.raises(WeightsError, match="3 input channels, 1 output channels and scale 1"):
        checkpoint.load("cpu")


@installed
def test_stage_restores_a_real_face(portrait: Portrait, small_restoreformer: Path, tmp_path: Path) -> None:
    from tests.plugins.enhancers.test_restoration_stage import Stored, batch_of, changed, shown, soft_edit

    spec = discover().find(StageKind.ENHANCER, "spandrel").spec
    edit = soft_edit(portrait)
    stage: Any = spec.make(spec.config(weights=small_restoreformer), Runtime())

    def run() -> Any:
        clip = EnhancementClip(analysis=Stored())  # type: ignore[arg-type]
        session = stage.open(clip, StageContext(Folder(tmp_path / "cache"), SilentObserver(), seed=11))
        result = session.enhance(batch_of(portrait), [edit])[0]
        session.close()
        return result

    first = run()
    touched = changed(shown(portrait.image, first), shown(portrait.image, edit))
    assert 0.03 < touched.mean() < 0.3
    # Again, from the cache.
    np.testing.assert_array_equal(run().image, first.image)


@extra_installed
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_fidelity_is_passed_to_codeformer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spandrel_extra_arches.architectures.CodeFormer import CodeFormer

    file = saved(tmp_path / "codeformer.pth", {"params_ema": CodeFormer(n_layers=1).state_dict()})
    received: list[float] = []

    def forward(self: Any, faces: Any, weight: float = -1.0) -> tuple[Any, None]:
        received.append(weight)
        return faces, None

    monkeypatch.setattr(CodeFormer, "forward", forward)
    face = aligned_face()
    for fidelity in (None, 0.0, 0.9):
        SpandrelEnhancer(SpandrelConfig(weights=file, fidelity=fidelity), Runtime())
        restorer = checkpoint_restorer(FaceCheckpoint(file), Runtime(), fidelity)
        restored = restorer.restore(face, np.array([0]), seed=0)
        np.testing.assert_allclose(restored, face / np.float32(255), rtol=0, atol=1e-6)
    assert received == [0.5, 0.0, 0.9]
