"""The planner rejects pipelines that do not fit together or cannot run here, before any work starts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from retalkit.config import Choice, RunConfig, load
from retalkit.errors import PlanError, WeightsError
from retalkit.pipeline.plan import plan, plan_stage
from retalkit.pipeline.planned_stage import PlannedStage, inference_identity
from retalkit.plugins import StageConfig, StageSpec
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import FoundStage
from retalkit.stages import Denoiser, DigitalSourceType, ObjectPool, StageKind

from tests.core.plugin_packages import good_source, install
from tests.core.registries import stage, usual_registry


def plan_error(*stages: FoundStage, code: str, overrides: tuple[str, ...] = (), preset: str = "embedded") -> str:
    """Return the message of the PlanError with this code."""
    registry = usual_registry(*stages)
    with pytest.raises(PlanError) as error:
        plan(load(registry, preset=preset, overrides=overrides), registry)
    assert error.value.code == code
    assert "\n" not in str(error.value)
    return str(error.value)


def test_embedded_preset_can_be_planned() -> None:
    registry = discover()
    chosen = plan(load(registry), registry)
    assert [planned.kind for planned in chosen.stages] == list(StageKind)
    assert chosen.detector.landmark_scheme == "mesh478"
    assert chosen.reconstructor.coefficient_space == "mesh"
    assert set(chosen.package_versions()) == {"retalkit"}


def test_stage_without_a_run() -> None:
    registry = discover()
    planned = plan_stage(StageKind.RECONSTRUCTOR, Choice(use="shallow"), registry, "here")
    assert (planned.coefficient_space, planned.config_path) == ("mesh", "here")
    for name, code in (("shalow", "unknown-stage"), ("deep3d", "missing-weights")):
        with pytest.raises(PlanError) as error:
            plan_stage(StageKind.RECONSTRUCTOR, Choice(use=name), registry, "here")
        assert error.value.code == code
        assert name in str(error.value)


def test_stages_are_built_with_their_options() -> None:
    registry = usual_registry()
    chosen = plan(load(registry, overrides=["enhancers=[{use: detail, strength: 0.5}, none]"]), registry)
    first, second = chosen.enhancers
    built: Any = first.make(chosen.config, ObjectPool())
    assert (first.config_path, built.strength) == ("enhancers.0", 0.5)
    assert second.found.spec.name == "none"
    assert chosen.expression_editor.reads_frames
    assert not chosen.reconstructor.reads_frames


def test_all_missing_stages_are_listed_at_once() -> None:
    text = plan_error(preset="paper", code="unknown-stage")
    for name in ("detector 'face_alignment'", "reconstructor 'deep3d'", "lip_syncer 'lnet'", "enhancer 'enet'"):
        assert name in text


def test_missing_port_names_both_stages_and_the_fix() -> None:
    text = plan_error(
        stage(StageKind.LIP_SYNCER, "lnet", needs=("reference:image",), gives=("face:edit",)),
        overrides=("lip_syncer.use=lnet", "expression_editor.use=first_frame"),
        code="missing-port",
    )
    for fact in ("lip_syncer 'lnet'", "reference:image", "'first_frame'", "set expression_editor.use=neutral_warp"):
        assert fact in text


def test_missing_port_without_provider_suggests_another_stage() -> None:
    text = plan_error(
        stage(StageKind.RECONSTRUCTOR, "deep3d", needs=("landmarks:dense9000",), gives=("coefficients:bfm257",)),
        overrides=("reconstructor.use=deep3d",),
        code="missing-port",
    )
    for fact in ("'deep3d'", "landmarks:dense9000", "'mediapipe'", "landmarks:mesh478", "such as shallow"):
        assert fact in text


def test_convertible_landmarks_satisfy_a_need() -> None:
    registry = usual_registry(
        stage(StageKind.RECONSTRUCTOR, "deep3d", needs=("landmarks:ibug68",), gives=("coefficients:mesh",))
    )
    chosen = plan(load(registry, overrides=["reconstructor.use=deep3d"]), registry)
    assert "landmarks:mesh478" in chosen.detector.requested_ports


def test_only_earlier_stages_provide_ports() -> None:
    text = plan_error(
        stage(StageKind.DETECTOR, "odd", needs=("coefficients:mesh",), gives=("landmarks:mesh478",)),
        overrides=("detector.use=odd",),
        code="missing-port",
    )
    assert "detector 'odd'" in text and "coefficients:mesh" in text


def test_requested_ports_are_those_that_later_stages_need() -> None:
    plain = usual_registry()
    editor = plan(load(plain), plain).expression_editor
    assert editor.requested_ports == {"reference:landmarks"}
    registry = usual_registry(
        stage(StageKind.ENHANCER, "identity", needs=("reference:image", "face:edit"), gives=("face:edit",))
    )
    chosen = plan(load(registry, overrides=["enhancers=[identity]"]), registry)
    wanting = chosen.expression_editor
    assert wanting.requested_ports == {"reference:landmarks", "reference:image"}
    assert wanting.identity() != editor.identity()


def test_enhancer_does_not_change_lip_syncer_identity() -> None:
    registry = usual_registry()
    chosen = [plan(load(registry, overrides=[text]), registry) for text in ("enhancers=[]", "enhancers=[none, detail]")]
    first, second = (each.lip_syncer.identity() for each in chosen)
    assert first == second


def test_generated_pixels_determine_the_digital_source_type() -> None:
    generator = stage(StageKind.ENHANCER, "generator", needs=("face:edit",), gives=("face:edit",))
    generated = DigitalSourceType.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA
    generator = replace(generator, spec=replace(generator.spec, digital_source_type=generated))
    silent = stage(StageKind.LIP_SYNCER, "silent", gives=("face:edit",))
    registry = discover()
    registry.stages += [generator, silent]
    for override, expected in (
        ("enhancers=[detail]", DigitalSourceType.ALGORITHMICALLY_ENHANCED),
        ("enhancers=[generator, detail]", generated),
        ("lip_syncer=silent", generated),
    ):
        assert plan(load(registry, overrides=[override]), registry).digital_source_type == expected, override


def test_option_changes_identity() -> None:
    registry = usual_registry()
    identities = [
        str(plan(load(registry, overrides=[f"enhancers.0.strength={value}"]), registry).stages[-1].identity())
        for value in (0.5, 0.6)
    ]
    assert identities[0] != identities[1]


def test_missing_package_is_reported_with_an_alternative() -> None:
    text = plan_error(
        stage(StageKind.DENOISER, "deep", requires=("not_there_at_all",), install="deep[all]"),
        overrides=("denoiser.use=deep",),
        code="missing-package",
    )
    for fact in ("denoiser 'deep'", "not_there_at_all", "pip install 'deep[all]'", "such as none"):
        assert fact in text


def test_stage_without_its_mandatory_port_is_rejected() -> None:
    text = plan_error(stage(StageKind.LIP_SYNCER, "mute"), overrides=("lip_syncer.use=mute",), code="missing-port")
    assert "lip_syncer 'mute' of retalkit" in text and "face:edit" in text


class _FileConfig(StageConfig):
    table: Path | None = None


def test_file_option_is_checked_and_identified_by_content(tmp_path: Path) -> None:
    spec = StageSpec(
        kind=StageKind.DENOISER, name="tabled", summary="", build=object, licence="MIT", api=2, config=_FileConfig
    )
    stage: PlannedStage[Denoiser] = PlannedStage(
        FoundStage(spec, "somebody", "1", "x"), _FileConfig(table=tmp_path / "a.txt"), "denoiser"
    )
    (tmp_path / "a.txt").write_text("one")
    before = stage.identity()
    (tmp_path / "a.txt").write_text("two")
    assert stage.identity() != before
    registry = discover()
    config = RunConfig.from_preset(
        "embedded",
        registry=registry,
        overrides=["lip_syncer.driver.use=file", f"lip_syncer.driver.path={tmp_path / 'missing.npz'}"],
    )
    with pytest.raises(PlanError, match=r"lip_syncer\.driver\.path: .*missing\.npz") as error:
        plan(config, registry)
    assert error.value.code == "file-not-found"


def test_driver_weights_are_part_of_lip_syncer_identity() -> None:
    registry = discover()
    with_model = plan(load(registry), registry).lip_syncer
    with_rule = plan(load(registry, overrides=["lip_syncer.driver.use=bands"]), registry).lip_syncer
    assert len(with_model.identity()["drivers"]["driver"]["files"]["weights"]) == 64
    assert with_rule.identity()["drivers"]["driver"]["files"] == {}
    assert set(with_model.file_hashes()) == set(with_model.files()) == {"driver.encoder", "driver.weights"}


class _WeightyConfig(StageConfig):
    more: bool = False

    def checkpoints(self) -> tuple[str, ...]:
        return ("extra",) if self.more else ()


def test_weights_are_checked_before_work_and_identified_by_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETALKIT_HOME", str(tmp_path))
    spec = StageSpec(
        kind=StageKind.DENOISER,
        name="weighty",
        summary="",
        build=object,
        licence="MIT",
        api=2,
        config=_WeightyConfig,
        checkpoints=("first",),
    )
    registry = discover()
    registry.stages.append(FoundStage(spec, "somebody", "1", "x"))
    config = load(registry, overrides=["denoiser.use=weighty"])
    with pytest.raises(PlanError, match=r"denoiser 'weighty' cannot run here: needs the weights first") as error:
        plan(config, registry)
    assert error.value.code == "missing-weights"

    def put(file: str, content: bytes) -> None:
        path = tmp_path / "weights" / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        note = {"file": "x", "file_sha256": "0", "sha256": digest, "imported": "now"}
        path.with_suffix(".json").write_text(json.dumps(note), encoding="utf-8")

    # A file that no network loads keeps its suffix.
    put("first.dat", b"kept")
    assert plan(config, registry).denoiser.weights == {"first": tmp_path / "weights" / "first.dat"}
    put("first.safetensors", b"one")
    before = plan(config, registry).denoiser
    assert before.weights == {"first": tmp_path / "weights" / "first.safetensors"}
    put("first.safetensors", b"other")
    assert plan(config, registry).denoiser.identity() != before.identity()
    (tmp_path / "weights" / "first.safetensors").write_bytes(b"changed")
    with pytest.raises(WeightsError, match="modified since it was imported"):
        plan(config, registry)
    put("first.safetensors", b"one")
    with pytest.raises(PlanError, match="weights extra"):
        plan(load(registry, overrides=["denoiser.use=weighty", "denoiser.more=true"]), registry)


def test_inference_backend_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = discover()
    registry.stages.append(stage(StageKind.ENHANCER, "network", requires=("torch",)))
    monkeypatch.setattr("retalkit.stages.find_spec", lambda name: object())

    def identity(*overrides: str) -> object:
        config = load(registry, overrides=["enhancers=[network]", *overrides])
        return inference_identity(config, plan(config, registry).enhancers[0])

    assert identity() != identity("inference=torch")
    assert identity("inference=torch") == {"device": "cpu", "precision": "float32"}


def test_editable_sources_are_part_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_request_for_waveform_does_not_change_denoiser_identity() -> None:
    """Every denoiser must provide the denoised speech, because a comparison runs the denoiser once."""
    registry = discover()
    plain = plan(load(registry), registry).denoiser
    registry.stages.append(stage(StageKind.ENHANCER, "hearing", needs={"face:edit", "speech:waveform"}))
    heard = plan(load(registry, overrides=["enhancers.0=hearing"]), registry).denoiser
    assert (
        heard.requested_ports == {"speech:waveform"} and heard.identity()["wanted"] == plain.identity()["wanted"] == []
    )
