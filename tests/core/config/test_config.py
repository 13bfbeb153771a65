"""Run configuration: merge of presets, run files and overrides, error messages, JSON Schema."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError
from retalkit.config import Choice, RunConfig, effective, load, preset_names, yaml_io
from retalkit.config.schema import json_schema
from retalkit.errors import ConfigError, PluginError
from retalkit.plugins.discovery import discover
from retalkit.stages import StageKind

from tests.core.registries import stage, usual_registry

REGISTRY = usual_registry()


def run_file(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def message(error: pytest.ExceptionInfo[ConfigError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# --------------------------------------------------------------------------- layers


def test_default_is_the_embedded_preset() -> None:
    config = load(REGISTRY)
    assert [choice.use for _, _, choice in config.choices] == [
        "mediapipe",
        "shallow",
        "neutral_warp",
        "adaptive",
        "exemplar",
        "detail",
    ]
    assert (config.face, config.length, config.extend, config.output.crf) == ("largest", "speech", "pingpong", 17)


def test_run_file_overrides_preset_and_overrides_take_precedence(tmp_path: Path) -> None:
    file = run_file(tmp_path, "preset: embedded\ndenoiser: none\noutput: {crf: 20}\nextend: loop\n")
    config = load(REGISTRY, file=file, overrides=["extend=freeze", "output.preset=fast"])
    assert (config.denoiser.use, config.extend) == ("none", "freeze")
    assert (config.output.crf, config.output.preset) == (20, "fast")
    assert config.lip_syncer.use == "exemplar"


def test_stage_in_a_run_file_replaces_the_stage_of_the_preset(tmp_path: Path) -> None:
    file = run_file(tmp_path, "enhancers:\n  - {use: detail, strength: 0.5}\n")
    assert load(REGISTRY, file=file).enhancers[0].options == {"strength": 0.5}


def test_preset_argument_takes_precedence_over_the_run_file(tmp_path: Path) -> None:
    file = run_file(tmp_path, "preset: paper\n")
    assert load(REGISTRY, file=file).lip_syncer.use == "lnet"
    assert load(REGISTRY, file=file, preset="embedded").lip_syncer.use == "exemplar"


@pytest.mark.parametrize("text", ["", "# only a comment\n", "\ufeffextend: loop\n", "---\n...\n"])
def test_empty_files_and_byte_order_marks_are_valid(tmp_path: Path, text: str) -> None:
    assert load(REGISTRY, file=run_file(tmp_path, text)).lip_syncer.use == "exemplar"


@pytest.mark.parametrize(
    ("overrides", "enhancers"),
    [
        (["enhancers=[]"], []),
        (["enhancers=[none]"], [("none", {})]),
        (["enhancers=[{use: detail, on: face}, none]"], [("detail", {"on": "face"}), ("none", {})]),
        (["enhancers.0.strength=0.5"], [("detail", {"on": "mouth", "strength": 0.5})]),
        (["enhancers.1=none"], [("detail", {"on": "mouth"}), ("none", {})]),
        (["enhancers.0.use=none"], [("none", {})]),
        (["enhancers.0.curve.points=7"], [("detail", {"on": "mouth", "curve": {"points": 7}})]),
    ],
)
def test_overrides_of_the_enhancers(overrides: list[str], enhancers: list[tuple[str, dict[str, object]]]) -> None:
    config = load(REGISTRY, overrides=overrides)
    assert [(choice.use, choice.options) for choice in config.enhancers] == enhancers


def test_choosing_a_stage_drops_options_independent_of_override_order() -> None:
    before = load(REGISTRY, overrides=["expression_editor.template=smile"])
    assert before.expression_editor.options == {"template": "smile"}
    other = load(REGISTRY, overrides=["expression_editor.template=smile", "expression_editor.use=first_frame"][1:])
    assert other.expression_editor.options == {}
    back = load(REGISTRY, overrides=["enhancers.0.strength=0.2", "enhancers.0.use=detail"])
    assert back.enhancers[0].options == {"on": "mouth", "strength": 0.2}
    with pytest.raises(ConfigError, match="'first_frame'") as error:
        load(REGISTRY, overrides=["expression_editor.template=smile", "expression_editor.use=first_frame"])
    assert error.value.code == "unknown-option"


@pytest.mark.parametrize(
    ("text", "value"),
    [("on", "on"), ("no", "no"), ("1e-1", 0.1), ("1:30", "1:30"), ("2024-01-01", "2024-01-01"), ("010", 10)],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    assert yaml_io.read_value(text, "here") == value


def test_choices_can_be_constructed_in_python() -> None:
    config = load(REGISTRY).model_copy(update={"enhancers": (Choice(use="detail", on="face"),)})  # pyright: ignore
    assert config.enhancers[0].options == {"on": "face"}
    with pytest.raises(ValidationError):
        RunConfig.model_validate({**load(REGISTRY).model_dump(), "typo": 1})


# --------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("text", "code", "facts"),
    [
        ("lip_synce: exemplar\n", "unknown-option", ["run.yaml:1: lip_synce: ", "did you mean 'lip_syncer'?"]),
        ("\nlip_syncer: {use: exmplar}\n", "unknown-stage", ["run.yaml:2: lip_syncer: ", "'exmplar'", "'exemplar'?"]),
        ("lip_syncer: exmplar\n", "unknown-stage", ["run.yaml:1: lip_syncer", "did you mean 'exemplar'?"]),
        (
            "enhancers:\n  - none\n  - use: detail\n    strenght: 1\n",
            "unknown-option",
            ["run.yaml:4: enhancers.1.strenght: ", "enhancer 'detail'", "did you mean 'strength'?"],
        ),
        (
            "enhancers:\n  - {use: detail, strength: 7}\n",
            "invalid-option",
            [":2: enhancers.0.strength: must be less than or equal to 1, got 7"],
        ),
        (
            "enhancers:\n  - {use: detail, curve: {point: 7}}\n",
            "unknown-option",
            ["enhancers.0.curve.point", "did you mean 'points'?"],
        ),
        (
            "enhancers:\n  - {use: detail, on: moth}\n",
            "invalid-option",
            ["enhancers.0.on: must be 'mouth' or 'face'", "'mouth'?"],
        ),
        ("crf: 3\n", "unknown-option", ["run.yaml:1: crf: ", "did you mean 'output.crf'?"]),
        ("output:\n  crff: 3\n", "unknown-option", [":2: output.crff: ", "did you mean 'crf'?"]),
        ("output:\n  crf: 70\n", "invalid-option", [":2: output.crf: must be less than or equal to 51, got 70"]),
        (
            "output:\n  encoder: nvec\n",
            "invalid-option",
            [":2: output.encoder: must be 'auto', 'nvenc', 'qsv' or 'videotoolbox', got", "did you mean 'nvenc'?"],
        ),
        ("extend: pingpon\n", "invalid-option", [":1: extend: must be", "did you mean 'pingpong'?"]),
        ("face: nearest\n", "invalid-option", [":1: face: must be 'largest' or a face index"]),
        ("face: -1\n", "invalid-option", [":1: face: must be 'largest' or a face index"]),
        ("device: gpu\n", "invalid-option", [":1: device: must match", "'gpu'"]),
        ("detector: {max_faces: 2}\n", "missing-option", [":1: detector: ", "`use: NAME`"]),
        ("detector:\n", "invalid-option", [":1: detector: must be a mapping of options"]),
        ("enhancers: detail\n", "invalid-option", [":1: enhancers: must be"]),
        ("preset: papre\n", "unknown-preset", [":1: ", "'papre'", "did you mean 'paper'?"]),
        ("preset: [paper]\n", "invalid-option", [":1: preset: "]),
        ("extend: loop\nseed: 1\nextend: cut\n", "duplicate-key", [":3: extend: "]),
        ("output: {crf: 1, crf: 2}\n", "duplicate-key", [":1: output.crf: "]),
        ("- a\n- b\n", "not-a-mapping", ["list"]),
        ("just words\n", "not-a-mapping", ["str"]),
        ("a: [1\nb: 2\n", "invalid-yaml", ["run.yaml:2: "]),
        ("a: 1\n---\nb: 2\n", "invalid-yaml", []),
        ("a: &x [*x]\n", "invalid-yaml", [":1: a.0: ", "alias"]),
        ("a: !!python/object/apply:os.system ['true']\n", "invalid-yaml", [":1: a: the tag"]),
        ("a: !!python/name:os.system x\n", "invalid-yaml", []),
        ("? [a, b]\n: 1\n", "invalid-yaml", ["run.yaml:1: "]),
        ("a: \x07\n", "invalid-yaml", []),
        ("seed: 1\nextend: lop\nlength: sp\n", "invalid-option", [":3: length", "(and 1 more)"]),
    ],
)
def test_run_file_error_has_code_location_and_suggestion(
    tmp_path: Path, text: str, code: str, facts: list[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        load(REGISTRY, file=run_file(tmp_path, text))
    assert error.value.code == code, message(error)
    assert all(fact in message(error) for fact in ["run.yaml", *facts]), message(error)


@pytest.mark.parametrize(
    ("override", "code", "facts"),
    [
        ("lip_syncer.use=exmplar", "unknown-stage", ["lip_syncer: ", "did you mean 'exemplar'?"]),
        ("lip_synce.use=exemplar", "unknown-option", ["lip_synce: ", "'lip_syncer'?"]),
        ("extend", "invalid-override", ["KEY=VALUE"]),
        ("=3", "invalid-override", ["KEY=VALUE"]),
        ("output..crf=3", "invalid-override", ["empty part"]),
        ("seed.more=3", "invalid-option", ["seed: must be a valid integer"]),
        ("output.crf.more=3", "invalid-option", ["output.crf"]),
        ("output.crf.more.deep=3", "invalid-option", ["output.crf"]),
        ("enhancers.3.on=face", "invalid-override", ["enhancers: ", "index 3", "1 "]),
        ("enhancers.first.on=face", "invalid-override", ["enhancers: ", "enhancers.0"]),
        ("enhancers.0.on=[face", "invalid-yaml", ["--set enhancers.0.on=[face: "]),
        ("preset=paper", "unknown-option", ["preset", "--preset paper"]),
        ("preset=slow", "unknown-option", ["preset", "'output.preset'"]),
        ("output.encoder=nvnc", "invalid-option", ["output.encoder: ", "'auto', 'nvenc', 'qsv' or", "'nvenc'?"]),
        ("sound.original=soft", "invalid-option", ["sound.original: ", "'auto', 'none' or a mapping, got 'soft'"]),
        ("sound.original.ducking=5", "invalid-option", ["sound.original.ducking: ", "'mute' or less than", "got 5"]),
        ("output.crf=17.5", "invalid-option", ["output.crf: must be a valid integer, got 17.5"]),
        ("output.crf=low", "invalid-option", ["output.crf: must be a valid integer, got 'low'"]),
    ],
)
def test_override_error_has_code_and_names_the_override(override: str, code: str, facts: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load(REGISTRY, overrides=[override])
    assert error.value.code == code, message(error)
    assert all(fact in message(error) for fact in [f"--set {override}: ", *facts]), message(error)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: ") as error:
        load(REGISTRY, file=tmp_path / "absent.yaml")
    assert error.value.code == "file-not-found"
    with pytest.raises(ConfigError) as error:
        load(REGISTRY, file=tmp_path)
    assert error.value.code == "unreadable-file" and str(tmp_path) in message(error)
    (tmp_path / "latin.yaml").write_bytes("preset: é".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml: .*UTF-8") as error:
        load(REGISTRY, file=tmp_path / "latin.yaml")
    assert error.value.code == "unreadable-file"


def test_ambiguous_name_is_resolved_by_its_package() -> None:
    registry = usual_registry(stage(StageKind.ENHANCER, "detail", package="other-faces"))
    with pytest.raises(PluginError, match=r"--set enhancers=\[detail\].*retalkit and other-faces") as error:
        load(registry, overrides=["enhancers=[detail]"])
    assert error.value.code == "ambiguous-stage"
    config = load(registry, overrides=["enhancers=['other-faces:detail']"])
    assert registry.find(StageKind.ENHANCER, config.enhancers[0].use).package == "other-faces"


# --------------------------------------------------------------------------- effective configuration and schema


@pytest.mark.parametrize("preset", preset_names())
def test_presets_load_without_their_stages(preset: str) -> None:
    config = load(usual_registry(), preset=preset)
    assert all(choice.use for _, _, choice in config.choices)


def test_effective_configuration_is_a_valid_run_file(tmp_path: Path) -> None:
    registry = discover()
    shown = effective(load(registry), registry)
    file = run_file(tmp_path, yaml_io.write(shown))
    assert effective(load(registry, file=file, preset="paper"), registry) == shown


def test_effective_configuration_has_every_option() -> None:
    shown = effective(load(REGISTRY), REGISTRY)
    assert shown["expression_editor"] == {"use": "neutral_warp", "template": "neutral"}
    assert shown["enhancers"] == [{"use": "detail", "on": "mouth", "strength": 1.0, "curve": {"points": 5}}]
    assert "on: mouth" in yaml_io.write(shown)


def test_schema_accepts_what_load_accepts() -> None:
    registry = discover()
    validator = jsonschema.Draft202012Validator(json_schema(registry))
    jsonschema.Draft202012Validator.check_schema(json_schema(registry))
    embedded, _ = yaml_io.read_file(Path(str(Path(yaml_io.__file__).parent / "presets" / "embedded.yaml")))
    good = [{}, {"preset": "paper"}, embedded, {"enhancers": ["none"], "face": 2}, effective(load(registry), registry)]
    for data in good:
        validator.validate(data)
    bad = [
        {"lip_synce": "exemplar"},
        {"preset": "papre"},
        {"lip_syncer": "exmplar"},
        {"lip_syncer": {"use": "exmplar"}},
        {"enhancers": [{"use": "detail", "strenght": 1}]},
        {"enhancers": [{"on": "mouth"}]},
        {"output": {"crf": 70}},
        {"face": -1},
        {"extend": "pingpon"},
    ]
    for data in bad:
        assert not validator.is_valid(data), data


def test_schema_resolves_nested_models() -> None:
    validator = jsonschema.Draft202012Validator(json_schema(REGISTRY))
    validator.validate({"enhancers": [{"use": "detail", "curve": {"points": 3}}]})
    assert not validator.is_valid({"enhancers": [{"use": "detail", "curve": {"point": 3}}]})


def test_schema_describes_options_by_their_docstrings() -> None:
    schema = json_schema(discover())
    detail = next(one for one in schema["properties"]["enhancers"]["items"]["oneOf"] if one.get("title") == "detail")
    assert "restores" in detail["properties"]["strength"]["description"]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["lip_syncer.driver.weights=synthetic"], {"use": "model", "weights": "synthetic"}),
        (["lip_syncer.driver={weights: live}"], {"use": "model", "weights": "live"}),
        (
            ["lip_syncer.driver={language: de}", "lip_syncer.driver.weights=live"],
            {"use": "model", "language": "de", "weights": "live"},
        ),
        (
            ["lip_syncer.driver=model", "lip_syncer.driver={weights: live}"],
            {"use": "model", "weights": "live"},
        ),
        (["lip_syncer.driver.use=bands", "lip_syncer.driver={}"], {"use": "bands"}),
    ],
)
def test_override_of_driver_options_keeps_the_driver(overrides: list[str], expected: dict[str, str]) -> None:
    assert load(discover(), overrides=overrides).lip_syncer.options["driver"] == expected


def test_message_about_two_options_states_one_value() -> None:
    with pytest.raises(ConfigError) as error:
        load(discover(), overrides=["denoiser={use: adaptive, clean: 10, noisy: 20}"])
    message = str(error.value)
    assert "denoiser" in message and "noisy" in message and "20" in message and message.count("got") == 1
