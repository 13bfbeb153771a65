"""Checkpoints of a user's own: what is refused and how, and what spandrel makes of them where it is installed."""

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
from retalkit.stages import StageContext, StageKind
from retalkit.storage.cache import Folder
from retalkit_enhancers.spandrel_enhancer import checkpoint as module
from retalkit_enhancers.spandrel_enhancer.checkpoint import FaceCheckpoint
from retalkit_enhancers.spandrel_enhancer.enhancer import SpandrelEnhancer, file_restorer
from retalkit_enhancers.spandrel_enhancer.interface import SpandrelConfig
from safetensors.torch import load_file, save_file

from tests.plugins.conftest import Portrait
from tests.plugins.enhancers.foreign_packages import aligned_face, alone, made_up, unavailable

missing = [name for name in ("torchvision", "spandrel") if find_spec(name) is None]
installed = pytest.mark.skipif(
    bool(missing), reason=f"not installed: {', '.join(missing)} (pip install 'retalkit[spandrel]')"
)
extra_installed = pytest.mark.skipif(
    bool(missing) or find_spec("spandrel_extra_arches") is None, reason="spandrel_extra_arches is not installed"
)
CODEFORMER = {"position_emb": torch.zeros(256, 512), "idx_pred_layer.1.weight": torch.zeros(1024, 512)}


def context_of(folder: Path | None = None) -> StageContext:
    cache: Any = folder and Folder(folder)
    return StageContext(cache, SilentObserver(), seed=11)


def saved(file: Path, content: object) -> Path:
    torch.save(content, file)
    return file


def refused(file: Path, **options: Any) -> str:
    with pytest.raises((WeightsError, ConfigError)) as error:
        SpandrelEnhancer(SpandrelConfig(weights=file, **options))
    text = str(error.value)
    assert str(file) in text and "\n" not in text
    return text


@pytest.fixture
def seems_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planner does not look whether the packages are there."""
    monkeypatch.setattr("retalkit.pipeline.plan.missing_packages", lambda found: None)


def planned(*options: str) -> Any:
    registry = discover()
    overrides = [f"enhancers=[{{use: spandrel, {', '.join(options)}}}]"]
    return plan(load(registry, overrides=overrides), registry).one(StageKind.ENHANCER)


def test_without_the_package_it_is_listed_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = unavailable("spandrel", ("torchvision", "spandrel"), monkeypatch)
    assert reason == "needs the Python packages torchvision, spandrel (pip install 'retalkit[spandrel]')"


def test_a_missing_file_stops_the_plan(tmp_path: Path, seems_installed: None) -> None:
    with pytest.raises(PlanError) as error:
        planned(f"weights: {tmp_path / 'none.pth'}")
    assert str(error.value) == f"enhancers.0.weights: there is no file {tmp_path / 'none.pth'}"


def test_a_file_must_be_named_and_be_a_checkpoint(tmp_path: Path, seems_installed: None) -> None:
    with pytest.raises(ConfigError, match="weights"):
        planned("strength: 0.5")
    with pytest.raises(ConfigError, match=r"\.safetensors file"):
        planned(f"weights: {tmp_path / 'face.onnx'}")


def test_another_content_is_another_key(tmp_path: Path, seems_installed: None) -> None:
    file, copy = tmp_path / "face.pth", tmp_path / "copy.pth"
    file.write_bytes(b"one")
    copy.write_bytes(b"one")
    first = planned(f"weights: {file}").identity()
    assert planned(f"weights: {copy}").identity() == first
    file.write_bytes(b"two")
    assert planned(f"weights: {file}").identity() != first


def test_a_file_that_runs_code_is_refused(tmp_path: Path) -> None:
    proof = tmp_path / "proof"

    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, (f"touch {proof}",)

    text = refused(saved(tmp_path / "evil.pth", {"params": {"weight": Evil()}}))
    assert "could run code" in text
    assert not proof.exists()


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    for name in ("torn.pth", "torn.safetensors"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 no weights")
        refused(tmp_path / name)


def test_a_package_that_cannot_be_imported_is_one_line(tmp_path: Path) -> None:
    file = saved(tmp_path / "face.pth", {"a": torch.zeros(1)})
    with (
        made_up(tmp_path, "spandrel", spandrel__missing=""),
        pytest.raises(PluginError, match="package spandrel cannot be imported .* in one command") as error,
    ):
        (tmp_path / "spandrel" / "__init__.py").write_text("raise RuntimeError('operator\\ntorchvision::nms')\n")
        FaceCheckpoint(file)
    assert "\n" not in str(error.value)


@installed
@pytest.mark.parametrize(
    "content", [[1, 2], torch.zeros(3), {}, {"params": 3}, {"epoch": 4, "name": "x"}, {1: torch.zeros(1)}]
)
def test_what_holds_no_parameters_is_refused(content: object, tmp_path: Path) -> None:
    assert "holds no network's parameters" in refused(saved(tmp_path / "other.pth", content))


@installed
def test_what_restores_no_face_is_refused_by_name(tmp_path: Path) -> None:
    from spandrel.architectures.Compact import Compact

    upscaler = Compact(num_feat=8, num_conv=2, upscale=4).state_dict()
    text = refused(saved(tmp_path / "upscaler.pth", {"params_ema": upscaler}))
    assert "checkpoint of RealESRGAN Compact, which is no network that restores a face" in text
    text = refused(saved(tmp_path / "own.pth", {"layer.weight": torch.zeros(3)}))
    assert "nothing that spandrel recognises: choose a checkpoint of one of GFPGAN, RestoreFormer, CodeFormer" in text


@installed
def test_codeformer_without_its_package_says_where_its_code_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    text = refused(saved(tmp_path / "codeformer.pth", {"params_ema": CODEFORMER}))
    assert "non-commercial use only: if your use is that, pip install spandrel_extra_arches" in text


@installed
def test_fidelity_is_for_codeformer_alone(pseudo_weights: Callable[[str], Path]) -> None:
    assert "of GFPGAN, which has no fidelity" in refused(pseudo_weights("gfpgan"), fidelity=0.5)


@installed
def test_gfpgan_gives_what_ours_gives(
    pseudo_weights: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retalkit_enhancers.gfpgan.restorer import GfpganRestorer

    arrays = load_file(pseudo_weights("gfpgan"))
    noisy = {name: torch.full((1,), 0.1) if array.shape == (1,) else array for name, array in arrays.items()}
    save_file(noisy, tmp_path / "gfpgan.safetensors")
    published = saved(tmp_path / "GFPGANv1.3.pth", {"params_ema": noisy})
    face, index = aligned_face(), np.array([7], np.int64)
    weights = {"gfpgan": tmp_path / "gfpgan.safetensors"}
    ours = GfpganRestorer(StageContext(None, SilentObserver(), seed=11, weights=weights)).restore(face, index)  # type: ignore[arg-type]
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    with alone(tmp_path / "empty", monkeypatch, "spandrel"):
        checkpoint = FaceCheckpoint(published)
        theirs = file_restorer(checkpoint, context_of()).restore(face, index)
    assert checkpoint.architecture == "GFPGAN"
    assert theirs.dtype == np.float32 and np.ptp(theirs) > 0.5
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-4)
    assert torch.equal(torch.random.get_rng_state(), state)
    # The same parameters, one of them of another shape.
    noisy["final_linear.bias"] = torch.zeros(3)
    broken = FaceCheckpoint(saved(published, {"params_ema": noisy}))
    with pytest.raises(WeightsError, match="looks like GFPGAN and does not fit it") as error:
        broken.load("cpu")
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def small_restoreformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RestoreFormer with few channels; its numbers are random."""
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
def test_restoreformer_sees_what_spandrel_shows_it(small_restoreformer: Path) -> None:
    from spandrel import ModelLoader

    face = aligned_face()
    restored = file_restorer(FaceCheckpoint(small_restoreformer), context_of()).restore(face, np.array([0]))
    described = ModelLoader().load_from_state_dict(torch.load(small_restoreformer, weights_only=True)).eval()
    with torch.inference_mode():
        expected = described(torch.from_numpy(face).permute(0, 3, 1, 2).contiguous().float() / 255)
    assert np.ptp(restored) > 0.5
    np.testing.assert_allclose(restored, expected.permute(0, 2, 3, 1).clamp(0, 1).numpy(), rtol=0, atol=1e-4)


@installed
def test_a_network_of_another_size_is_refused(tmp_path: Path) -> None:
    from spandrel.architectures.RestoreFormer import RestoreFormer

    network = RestoreFormer(
        n_embed=8, embed_dim=8, ch=32, out_ch=1, ch_mult=(1,), num_res_blocks=1, attn_resolutions=(), z_channels=8,
        in_channels=3, resolution=64, double_z=False,
    )  # fmt: skip
    checkpoint = FaceCheckpoint(saved(tmp_path / "grey.pth", network.state_dict()))
    with pytest.raises(WeightsError, match="takes 3 channels to 1 at 1 times the size"):
        checkpoint.load("cpu")


@installed
def test_the_stage_on_a_real_face(portrait: Portrait, small_restoreformer: Path, tmp_path: Path) -> None:
    from tests.plugins.enhancers.test_restoration_stage import Stored, batch_of, changed, shown, soft_edit

    spec = discover().find(StageKind.ENHANCER, "spandrel").spec
    edit = soft_edit(portrait)
    stage = spec.make(spec.config(weights=small_restoreformer))

    def run() -> Any:
        session = stage.open(Stored(), context_of(tmp_path / "cache"))
        result = session.enhance(batch_of(portrait), [edit])[0]
        session.close()
        return result

    first = run()
    touched = changed(shown(portrait.image, first), shown(portrait.image, edit))
    assert 0.03 < touched.mean() < 0.3
    # Again out of the cache: the network is not even loaded.
    small_restoreformer.rename(small_restoreformer.with_suffix(".gone"))
    np.testing.assert_array_equal(run().image, first.image)


@extra_installed
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_codeformer_gets_its_fidelity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spandrel_extra_arches.architectures.CodeFormer import CodeFormer

    file = saved(tmp_path / "codeformer.pth", {"params_ema": CodeFormer(n_layers=1).state_dict()})
    asked: list[float] = []

    def forward(self: Any, faces: Any, weight: float = -1.0) -> tuple[Any, None]:
        asked.append(weight)
        return faces, None

    monkeypatch.setattr(CodeFormer, "forward", forward)
    face = aligned_face()
    for fidelity in (None, 0.0, 0.9):
        SpandrelEnhancer(SpandrelConfig(weights=file, fidelity=fidelity))
        restored = file_restorer(FaceCheckpoint(file), context_of(), fidelity).restore(face, np.array([0]))
        np.testing.assert_allclose(restored, face / np.float32(255), rtol=0, atol=1e-6)
    assert asked == [0.5, 0.0, 0.9]
