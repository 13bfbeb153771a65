"""The planner refuses, before any work, a pipeline whose ends do not meet or that cannot run here."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from retalkit.config import RunConfig, load
from retalkit.errors import PlanError, WeightsError
from retalkit.pipeline.plan import PlannedStage, plan
from retalkit.plugins import StageConfig, StageSpec
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import FoundStage
from retalkit.stages import StageKind

from tests.core.plugin_packages import good_source, install
from tests.core.registries import stage, usual_registry


def plan_error(*stages: FoundStage, overrides: tuple[str, ...] = (), preset: str = "embedded") -> str:
    registry = usual_registry(*stages)
    with pytest.raises(PlanError) as error:
        plan(load(registry, preset=preset, overrides=overrides), registry)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_embedded_preset_is_a_plan_of_what_is_installed() -> None:
    registry = discover()
    chosen = plan(load(registry), registry)
    assert [planned.kind for planned in chosen.stages] == list(StageKind)
    assert chosen.one(StageKind.DETECTOR).landmark_scheme == "mesh478"
    assert chosen.one(StageKind.RECONSTRUCTOR).coefficient_space == "mesh"
    assert set(chosen.package_versions()) == {"retalkit"}


def test_stages_are_built_with_their_options() -> None:
    registry = usual_registry()
    chosen = plan(load(registry, overrides=["enhancers=[{use: detail, strength: 0.5}, none]"]), registry)
    first, second = chosen.all(StageKind.ENHANCER)
    assert (first.place, first.make().strength) == ("enhancers.0", 0.5)
    assert second.found.spec.name == "none"
    assert chosen.one(StageKind.EXPRESSION_EDITOR).reads_frames
    assert not chosen.one(StageKind.RECONSTRUCTOR).reads_frames


def test_stages_that_a_preset_names_and_nobody_installed_are_listed_at_once() -> None:
    text = plan_error(preset="paper")
    assert text.startswith(
        "detector 'face_alignment', reconstructor 'deep3d', expression_editor 'dnet', lip_syncer 'lnet'"
    )
    assert "enhancer 'enet'" in text
    assert "are not installed" in text


def test_a_need_that_another_installed_stage_would_meet_names_both_stages_and_the_fix() -> None:
    text = plan_error(
        stage(StageKind.LIP_SYNCER, "lnet", needs=("reference:image",), gives=("face:edit",)),
        overrides=("lip_syncer.use=lnet", "expression_editor.use=first_frame"),
    )
    assert text == (
        "lip_syncer 'lnet' needs reference:image, but expression_editor 'first_frame' gives reference:landmarks: "
        "set expression_editor.use=neutral_warp"
    )


def test_a_need_that_nothing_installed_meets_suggests_another_stage() -> None:
    text = plan_error(
        stage(StageKind.RECONSTRUCTOR, "deep3d", needs=("landmarks:dense9000",), gives=("coefficients:bfm257",)),
        overrides=("reconstructor.use=deep3d",),
    )
    assert text == (
        "reconstructor 'deep3d' needs landmarks:dense9000, but detector 'mediapipe' gives landmarks:mesh478 and no "
        "installed stage before it can give it; set reconstructor.use to another reconstructor, such as shallow"
    )


def test_landmarks_that_can_be_converted_meet_a_need() -> None:
    registry = usual_registry(
        stage(StageKind.RECONSTRUCTOR, "deep3d", needs=("landmarks:ibug68",), gives=("coefficients:mesh",))
    )
    chosen = plan(load(registry, overrides=["reconstructor.use=deep3d"]), registry)
    assert "landmarks:mesh478" in chosen.one(StageKind.DETECTOR).wanted


def test_only_earlier_stages_count() -> None:
    text = plan_error(
        stage(StageKind.DETECTOR, "odd", needs=("coefficients:mesh",), gives=("landmarks:mesh478",)),
        overrides=("detector.use=odd",),
    )
    assert text.startswith("detector 'odd' is the first stage and needs coefficients:mesh")


def test_wanted_says_what_later_stages_need() -> None:
    plain = usual_registry()
    editor = plan(load(plain), plain).one(StageKind.EXPRESSION_EDITOR)
    assert editor.wanted == {"reference:landmarks"}
    registry = usual_registry(
        stage(StageKind.ENHANCER, "identity", needs=("reference:image", "face:edit"), gives=("face:edit",))
    )
    chosen = plan(load(registry, overrides=["enhancers=[identity]"]), registry)
    wanting = chosen.one(StageKind.EXPRESSION_EDITOR)
    assert chosen.wanted(wanting) == {"reference:landmarks", "reference:image"}
    assert wanting.identity() != editor.identity()


def test_an_enhancer_does_not_change_the_identity_of_the_lip_syncer() -> None:
    registry = usual_registry()
    chosen = [plan(load(registry, overrides=[text]), registry) for text in ("enhancers=[]", "enhancers=[none, detail]")]
    first, second = (each.one(StageKind.LIP_SYNCER).identity() for each in chosen)
    assert first == second


def test_an_option_changes_the_identity() -> None:
    registry = usual_registry()
    identities = [
        str(plan(load(registry, overrides=[f"enhancers.0.strength={value}"]), registry).stages[-1].identity())
        for value in (0.5, 0.6)
    ]
    assert identities[0] != identities[1]


def test_a_stage_that_cannot_run_here_is_refused_with_the_reason_and_an_alternative() -> None:
    text = plan_error(
        stage(StageKind.DENOISER, "deep", requires=("not_there_at_all",), install="deep[all]"),
        overrides=("denoiser.use=deep",),
    )
    assert text == (
        "denoiser 'deep' cannot run here: it needs the Python package not_there_at_all (pip install 'deep[all]'); "
        "set denoiser.use to another denoiser, such as none"
    )


def test_a_stage_that_gives_too_little_is_refused() -> None:
    text = plan_error(stage(StageKind.LIP_SYNCER, "mute"), overrides=("lip_syncer.use=mute",))
    assert "lip_syncer 'mute' of retalkit does not say that it gives face:edit" in text


class _FileConfig(StageConfig):
    table: Path | None = None


def test_an_option_that_names_a_file_is_checked_and_known_by_its_content(tmp_path: Path) -> None:
    spec = StageSpec(
        kind=StageKind.DENOISER, name="tabled", summary="", build=object, licence="MIT", config=_FileConfig
    )
    stage = PlannedStage(FoundStage(spec, "somebody", "1", "x"), _FileConfig(table=tmp_path / "a.txt"), "denoiser")
    (tmp_path / "a.txt").write_text("one")
    before = stage.identity()
    (tmp_path / "a.txt").write_text("two")
    assert stage.identity() != before
    registry = discover()
    config = RunConfig.from_preset(
        "embedded", registry=registry, overrides=[f"lip_syncer.motion={tmp_path / 'missing.npz'}"]
    )
    with pytest.raises(PlanError, match=r"lip_syncer\.motion: there is no file .*missing\.npz"):
        plan(config, registry)


def test_the_weights_of_the_driver_are_part_of_what_the_lip_syncer_is() -> None:
    registry = discover()
    with_model = plan(load(registry), registry).one(StageKind.LIP_SYNCER)
    with_rule = plan(load(registry, overrides=["lip_syncer.driver.use=bands"]), registry).one(StageKind.LIP_SYNCER)
    assert len(with_model.identity()["files"]["weights"]) == 64
    assert with_rule.identity()["files"] == {}


class _WeightyConfig(StageConfig):
    more: bool = False

    def checkpoints(self) -> tuple[str, ...]:
        return ("extra",) if self.more else ()


def test_weights_are_found_before_work_and_known_by_their_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETALKIT_HOME", str(tmp_path))
    spec = StageSpec(
        kind=StageKind.DENOISER,
        name="weighty",
        summary="",
        build=object,
        licence="MIT",
        config=_WeightyConfig,
        checkpoints=("first",),
    )
    registry = discover()
    registry.stages.append(FoundStage(spec, "somebody", "1", "x"))
    config = load(registry, overrides=["denoiser.use=weighty"])
    with pytest.raises(PlanError, match=r"denoiser 'weighty' cannot run here: needs the weights first"):
        plan(config, registry)

    def put(file: str, content: bytes) -> None:
        path = tmp_path / "weights" / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        note = {"file": "x", "file_sha256": "0", "sha256": digest, "imported": "now"}
        path.with_suffix(".json").write_text(json.dumps(note), encoding="utf-8")

    # One that no network loads is kept under its own ending, and its stage may be anybody's.
    put("first.dat", b"kept")
    assert plan(config, registry).one(StageKind.DENOISER).weights == {"first": tmp_path / "weights" / "first.dat"}
    put("first.safetensors", b"one")
    before = plan(config, registry).one(StageKind.DENOISER)
    assert before.weights == {"first": tmp_path / "weights" / "first.safetensors"}
    put("first.safetensors", b"other")
    assert plan(config, registry).one(StageKind.DENOISER).identity() != before.identity()
    (tmp_path / "weights" / "first.safetensors").write_bytes(b"changed")
    with pytest.raises(WeightsError, match="modified since it was imported"):
        plan(config, registry)
    put("first.safetensors", b"one")
    with pytest.raises(PlanError, match="weights extra"):
        plan(load(registry, overrides=["denoiser.use=weighty", "denoiser.more=true"]), registry)


def test_a_device_that_is_not_there_is_refused() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has what the test takes for missing")
    registry = discover()
    found = stage(StageKind.ENHANCER, "network", requires=("torch",))
    registry.stages.append(found)
    config = load(registry, overrides=["enhancers=[network]", "device=cuda"])
    with pytest.raises(PlanError, match="torch finds no cuda here, which enhancer 'network' would run on"):
        plan(config, registry)
    assert plan(load(registry, overrides=["device=cuda"]), registry)


def test_the_code_of_an_editable_package_is_part_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from retalkit.plugins import fingerprint

    install(tmp_path, "in-work", good_source("polish"))
    monkeypatch.syspath_prepend(str(tmp_path))
    found = next(stage for stage in discover().stages if stage.package == "in-work")

    def digest() -> str:
        fingerprint.sources_hash.cache_clear()  # as another process would
        return fingerprint.editable_sources(found)

    assert digest() == "", "an installed version is what its number says"
    origin = tmp_path / "in_work-2.0.dist-info" / "direct_url.json"
    origin.write_text('{"url": "file:///in-work", "dir_info": {"editable": true}}', encoding="utf-8")
    before = digest()
    assert len(before) == 16 and digest() == before
    module = tmp_path / "in_work.py"
    module.write_text(module.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    assert digest() not in ("", before)


def test_who_hears_the_waveform_does_not_change_what_is_heard() -> None:
    """Every denoiser gives it: a comparison cleans a speech once for lip syncers that need it and others."""
    registry = discover()
    plain = plan(load(registry), registry).one(StageKind.DENOISER)
    registry.stages.append(stage(StageKind.ENHANCER, "hearing", needs={"face:edit", "speech:waveform"}))
    heard = plan(load(registry, overrides=["enhancers.0=hearing"]), registry).one(StageKind.DENOISER)
    assert heard.wanted == {"speech:waveform"} and heard.identity()["wanted"] == plain.identity()["wanted"] == []
