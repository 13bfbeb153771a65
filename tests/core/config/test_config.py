"""Presets, run files and overrides become one configuration; what is wrong is said with its place."""

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


def test_the_default_is_the_embedded_preset() -> None:
    config = load(REGISTRY)
    assert [choice.use for _, _, choice in config.choices] == [
        "mediapipe",
        "shallow",
        "neutral_warp",
        "rnnoise",
        "exemplar",
        "detail",
    ]
    assert (config.face, config.length, config.extend, config.output.crf) == ("largest", "speech", "pingpong", 18)


def test_a_run_file_goes_over_its_preset_and_overrides_over_both(tmp_path: Path) -> None:
    file = run_file(tmp_path, "preset: embedded\ndenoiser: none\noutput: {crf: 20}\nextend: loop\n")
    config = load(REGISTRY, file=file, overrides=["extend=freeze", "output.preset=fast"])
    assert (config.denoiser.use, config.extend) == ("none", "freeze")
    assert (config.output.crf, config.output.preset) == (20, "fast")
    assert config.lip_syncer.use == "exemplar"


def test_a_stage_in_a_run_file_replaces_the_presets_stage_with_its_options(tmp_path: Path) -> None:
    file = run_file(tmp_path, "enhancers:\n  - {use: detail, strength: 0.5}\n")
    assert load(REGISTRY, file=file).enhancers[0].options == {"strength": 0.5}


def test_the_command_lines_preset_wins_over_the_run_files(tmp_path: Path) -> None:
    file = run_file(tmp_path, "preset: paper\n")
    assert load(REGISTRY, file=file).lip_syncer.use == "lnet"
    assert load(REGISTRY, file=file, preset="embedded").lip_syncer.use == "exemplar"


@pytest.mark.parametrize("text", ["", "# only a comment\n", "\ufeffextend: loop\n", "---\n...\n"])
def test_empty_files_and_byte_order_marks_are_fine(tmp_path: Path, text: str) -> None:
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


def test_another_stage_drops_the_former_ones_options_and_the_order_of_overrides_does_not_matter() -> None:
    before = load(REGISTRY, overrides=["expression_editor.template=smile"])
    assert before.expression_editor.options == {"template": "smile"}
    other = load(REGISTRY, overrides=["expression_editor.template=smile", "expression_editor.use=first_frame"][1:])
    assert other.expression_editor.options == {}
    back = load(REGISTRY, overrides=["enhancers.0.strength=0.2", "enhancers.0.use=detail"])
    assert back.enhancers[0].options == {"on": "mouth", "strength": 0.2}
    with pytest.raises(ConfigError, match="'first_frame' has no such option"):
        load(REGISTRY, overrides=["expression_editor.template=smile", "expression_editor.use=first_frame"])


@pytest.mark.parametrize(
    ("text", "value"),
    [("on", "on"), ("no", "no"), ("1e-1", 0.1), ("1:30", "1:30"), ("2024-01-01", "2024-01-01"), ("010", 10)],
)
def test_words_are_read_as_yaml_1_2_reads_them(text: str, value: object) -> None:
    assert yaml_io.read_value(text, "here") == value


def test_a_choice_may_be_written_in_python() -> None:
    config = load(REGISTRY).model_copy(update={"enhancers": (Choice(use="detail", on="face"),)})  # pyright: ignore
    assert config.enhancers[0].options == {"on": "face"}
    with pytest.raises(ValidationError):
        RunConfig.model_validate({**load(REGISTRY).model_dump(), "typo": 1})


# --------------------------------------------------------------------------- what is wrong, and where


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("lip_synce: exemplar\n", ["run.yaml, line 1: lip_synce: there is no such key; did you mean 'lip_syncer'?"]),
        (
            "\nlip_syncer: {use: exmplar}\n",
            ["run.yaml, line 2: lip_syncer: unknown lip_syncer 'exmplar'", "'exemplar'?"],
        ),
        ("lip_syncer: exmplar\n", ["run.yaml, line 1: lip_syncer", "did you mean 'exemplar'?"]),
        (
            "enhancers:\n  - none\n  - use: detail\n    strenght: 1\n",
            ["run.yaml, line 4: enhancers.1.strenght: enhancer 'detail' has no such option; did you mean 'strength'?"],
        ),
        (
            "enhancers:\n  - {use: detail, strength: 7}\n",
            ["line 2: enhancers.0.strength: must be less than or equal to 1, not 7"],
        ),
        ("enhancers:\n  - {use: detail, curve: {point: 7}}\n", ["enhancers.0.curve.point", "did you mean 'points'?"]),
        (
            "enhancers:\n  - {use: detail, on: moth}\n",
            ["enhancers.0.on: must be 'mouth' or 'face'", "'mouth'?"],
        ),
        ("output:\n  crff: 3\n", ["line 2: output.crff: there is no such key; did you mean 'crf'?"]),
        ("output:\n  crf: 70\n", ["line 2: output.crf: must be less than or equal to 51, not 70"]),
        ("extend: pingpon\n", ["line 1: extend: must be", "did you mean 'pingpong'?"]),
        ("face: nearest\n", ["line 1: face: must be 'largest' or the number of a face"]),
        ("face: -1\n", ["line 1: face: must be 'largest' or the number of a face"]),
        ("device: gpu\n", ["line 1: device: must match", "'gpu'"]),
        ("detector: {max_faces: 2}\n", ["line 1: detector: says no stage: add `use: NAME`"]),
        ("detector:\n", ["line 1: detector: must be a group of options"]),
        ("enhancers: detail\n", ["line 1: enhancers: must be"]),
        ("preset: papre\n", ["line 1: unknown preset 'papre'; did you mean 'paper'?"]),
        ("preset: [paper]\n", ["line 1: preset: must be the name"]),
        ("extend: loop\nseed: 1\nextend: cut\n", ["line 3: extend is given twice"]),
        ("output: {crf: 1, crf: 2}\n", ["line 1: output.crf is given twice"]),
        ("- a\n- b\n", ["holds a list"]),
        ("just words\n", ["holds a str"]),
        ("a: [1\nb: 2\n", ["is no valid YAML", "line 2"]),
        ("a: 1\n---\nb: 2\n", ["is no valid YAML"]),
        ("a: &x [*x]\n", ["contains itself"]),
        ("a: !!python/object/apply:os.system ['true']\n", ["line 1: a: the tag", "is not allowed"]),
        ("a: !!python/name:os.system x\n", ["is no valid YAML"]),
        ("? [a, b]\n: 1\n", ["a key must be a word"]),
        ("a: \x07\n", ["is no valid YAML"]),
        ("seed: 1\nextend: lop\nlength: sp\n", ["line 3: length", "(and 1 more)"]),
    ],
)
def test_an_error_in_a_run_file_says_where_and_suggests(tmp_path: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load(REGISTRY, file=run_file(tmp_path, text))
    assert all(part in message(error) for part in parts), message(error)


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("lip_syncer.use=exmplar", ["--set lip_syncer.use=exmplar: lip_syncer: ", "did you mean 'exemplar'?"]),
        ("lip_synce.use=exemplar", ["--set lip_synce.use=exemplar: lip_synce: there is no such key", "'lip_syncer'?"]),
        ("extend", ["write KEY=VALUE"]),
        ("=3", ["write KEY=VALUE"]),
        ("output..crf=3", ["has an empty part"]),
        ("seed.more=3", ["--set seed.more=3: seed: must be a valid integer"]),
        ("output.crf.more=3", ["output.crf"]),
        ("enhancers.3.on=face", ["enhancers has 1 entries"]),
        ("enhancers.first.on=face", ["enhancers is a list", "enhancers.0"]),
        ("enhancers.0.on=[face", ["--set enhancers.0.on=[face: is no valid YAML"]),
        ("preset=paper", ["preset"]),
    ],
)
def test_an_error_in_an_override_names_the_override(override: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load(REGISTRY, overrides=[override])
    assert all(part in message(error) for part in parts), message(error)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read"):
        load(REGISTRY, file=tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(REGISTRY, file=tmp_path)
    (tmp_path / "latin.yaml").write_bytes("preset: é".encode("latin-1"))
    with pytest.raises(ConfigError, match="no UTF-8"):
        load(REGISTRY, file=tmp_path / "latin.yaml")


def test_a_doubled_name_is_settled_by_its_package() -> None:
    registry = usual_registry(stage(StageKind.ENHANCER, "detail", package="other-faces"))
    with pytest.raises(PluginError, match=r"--set enhancers=\[detail\].*retalkit and other-faces both offer"):
        load(registry, overrides=["enhancers=[detail]"])
    config = load(registry, overrides=["enhancers=['other-faces:detail']"])
    assert registry.find(StageKind.ENHANCER, config.enhancers[0].use).package == "other-faces"


# --------------------------------------------------------------------------- showing and describing


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_loads_even_where_its_stages_are_not_installed(preset: str) -> None:
    config = load(usual_registry(), preset=preset)
    assert all(choice.use for _, _, choice in config.choices)


def test_the_full_form_is_a_run_file_that_reads_back_to_itself(tmp_path: Path) -> None:
    registry = discover()
    shown = effective(load(registry), registry)
    file = run_file(tmp_path, yaml_io.write(shown))
    assert effective(load(registry, file=file, preset="paper"), registry) == shown


def test_the_full_form_has_every_option_of_every_stage() -> None:
    shown = effective(load(REGISTRY), REGISTRY)
    assert shown["expression_editor"] == {"use": "neutral_warp", "template": "neutral"}
    assert shown["enhancers"] == [{"use": "detail", "on": "mouth", "strength": 1.0, "curve": {"points": 5}}]
    assert "on: mouth" in yaml_io.write(shown)


def test_the_schema_accepts_what_load_accepts() -> None:
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


def test_the_schema_resolves_nested_models_of_stages() -> None:
    validator = jsonschema.Draft202012Validator(json_schema(REGISTRY))
    validator.validate({"enhancers": [{"use": "detail", "curve": {"points": 3}}]})
    assert not validator.is_valid({"enhancers": [{"use": "detail", "curve": {"point": 3}}]})


def test_the_schema_describes_options_by_the_strings_below_them() -> None:
    schema = json_schema(discover())
    detail = next(one for one in schema["properties"]["enhancers"]["items"]["oneOf"] if one.get("title") == "detail")
    assert "restores" in detail["properties"]["strength"]["description"]
