"""Comparison files: variants, grids, names, defaults and error messages."""

from __future__ import annotations

from pathlib import Path

import pytest
from retalkit.comparison.spec import BASE, Comparison, read_comparison
from retalkit.errors import ConfigError, InputError
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import Registry


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.mp4", "words.wav"):
        (tmp_path / name).write_bytes(b"never read")
    (tmp_path / "seeded.yaml").write_text("seed: 3\n", encoding="utf-8")
    return tmp_path


def read(folder: Path, text: str, registry: Registry) -> Comparison:
    path = folder / "comparison.yaml"
    path.write_text(text, encoding="utf-8")
    return read_comparison(path, registry)


def test_variants_override_keys_of_the_base(folder: Path, registry: Registry) -> None:
    comparison = read(
        folder,
        "clips: [a.mp4, b.mp4]\n"
        "base: {preset: embedded, denoiser: spectral_gate}\n"
        "variants:\n"
        "  raw: {denoiser: none}\n"
        "  soft: {enhancers.0.strength: 0.5, extend: loop}\n",
        registry,
    )
    assert [variant.name for variant in comparison.variants] == [BASE, "raw", "soft"]
    named = read(folder, "clips: [a.mp4]\nbase_name: ours\nvariants: {raw: {denoiser: none}}\n", registry)
    assert named.base.name == "ours"
    base, raw, soft = (variant.config for variant in comparison.variants)
    assert [variant.is_base for variant in comparison.variants] == [True, False, False]
    assert (base.denoiser.use, raw.denoiser.use, soft.denoiser.use) == ("spectral_gate", "none", "spectral_gate")
    assert soft.enhancers[0].options["strength"] == 0.5
    assert soft.extend == "loop"
    assert comparison.variants[2].differences == {"enhancers.0.strength": "0.5", "extend": "loop"}
    assert comparison.file.clips == {"a": folder / "a.mp4", "b": folder / "b.mp4"}


def test_grid_expands_to_all_combinations_with_the_first_as_base(folder: Path, registry: Registry) -> None:
    comparison = read(
        folder,
        "clips: [a.mp4]\n"
        "grid:\n"
        "  expression_editor: [first_frame, neutral_warp]\n"
        "  enhancers.0: [detail, {use: detail, strength: 0.5}, none]\n",
        registry,
    )
    names = [variant.name for variant in comparison.variants]
    assert len(names) == 6
    assert names[0] == "first_frame + detail"
    assert "neutral_warp + detail(strength=0.5)" in names
    assert comparison.base.name == names[0]
    last = comparison.variants[-1]
    assert (last.config.expression_editor.use, last.config.enhancers[0].use) == ("neutral_warp", "none")
    assert last.differences == {"expression_editor": "neutral_warp", "enhancers.0": "none"}
    assert comparison.base.differences == {}


def test_base_can_be_a_run_file(folder: Path, registry: Registry) -> None:
    (folder / "run.yaml").write_text("denoiser: none\n", encoding="utf-8")
    comparison = read(folder, "clips: [a.mp4]\nbase: run.yaml\nvariants: {x: {extend: loop}}\n", registry)
    assert comparison.base.config.denoiser.use == "none"
    assert comparison.variants[1].config.denoiser.use == "none"


def test_default_arms_depend_on_clips_and_speeches(folder: Path, registry: Registry) -> None:
    one = read(folder, "clips: [a.mp4]\nvariants: {x: {extend: loop}}\n", registry)
    assert one.file.wanted_arms == ("real", "own", "silence", "noise")
    two = read(folder, "clips: [a.mp4, b.mp4]\nspeeches: [words.wav]\nvariants: {x: {extend: loop}}\n", registry)
    assert two.file.wanted_arms == ("real", "own", "speech", "mismatched", "silence", "noise")
    assert two.file.speeches["words"].path == folder / "words.wav"


VARIANTS = "variants: {x: {denoiser: none}}\n"


@pytest.mark.parametrize(
    ("text", "code", "facts"),
    [
        ("clips: [a.mp4]\n", "missing-variants", ["`variants:`", "`grid:`"]),
        (
            "clips: [a.mp4]\nvariants: {x: {}}\ngrid: {denoiser: [none]}\n",
            "conflicting-keys",
            [":3: grid", "`variants:`"],
        ),
        ("clips: [c.mp4]\n" + VARIANTS, "file-not-found", [":1: clips.c: ", "c.mp4"]),
        (
            "clips: [a.mp4]\nspeeches: {w: {path: words.wav, reference: d.mp4}}\n" + VARIANTS,
            "file-not-found",
            [":2: speeches.w: ", "d.mp4"],
        ),
        (
            "clips: [a.mp4]\narms: [own, quite]\n" + VARIANTS,
            "invalid-option",
            [":2: arms: ", "'quite'", "real, own"],
        ),
        (
            "clips: [a.mp4]\narms: [mismatched]\n" + VARIANTS,
            "too-few-clips",
            [":2: arms: ", "'mismatched'", "two clips"],
        ),
        ("clips: [a.mp4]\narms: [speech]\n" + VARIANTS, "missing-speeches", [":2: arms: ", "`speeches:`"]),
        ("clips: [a.mp4]\nvariants:\n  base: {denoiser: none}\n", "reserved-name", [":3: variants.base: "]),
        (
            "clips: [a.mp4]\nbase: {preset: paperr}\n" + VARIANTS,
            "unknown-preset",
            [":2: base.preset: ", "'paperr'", "'paper'"],
        ),
        ("clips: [a.mp4, ./a.mp4]\n" + VARIANTS, "invalid-option", [":1: clips: ", "'a'", "`NAME: PATH`"]),
        ("clip: [a.mp4]\n" + VARIANTS, "unknown-option", [":1: clip: ", "did you mean 'clips'"]),
        ("clips: [a.mp4]\nseconds: -1\n" + VARIANTS, "invalid-option", [":2: seconds: "]),
        ("clips: [a.mp4]\nseeds: [1, 1]\n" + VARIANTS, "invalid-option", [":2: seeds: ", "duplicate", "'1'"]),
        ("clips: [a.mp4]\nmetrics: [pixels, pixels]\n" + VARIANTS, "invalid-option", [":2: metrics: ", "'pixels'"]),
        ("clips: [a.mp4]\nmetrics: []\n" + VARIANTS, "invalid-option", [":2: metrics: ", "empty"]),
        ("clips: [a.mp4]\narms: []\n" + VARIANTS, "invalid-option", [":2: arms: ", "empty"]),
        ('clips: {"": a.mp4}\n' + VARIANTS, "invalid-option", [":1: clips: ", "empty name"]),
        ("clips: [a.mp4]\nvariants:\n  x: {seed: 7}\n", "seed-in-variant", [":3: variants.x.seed: ", "`seeds:`"]),
        ("clips: [a.mp4]\nbase: {seed: 7}\n" + VARIANTS, "seed-in-variant", [":2: base.seed: ", "`seeds:`"]),
        ("clips: [a.mp4]\ngrid: {seed: [0, 1]}\n", "seed-in-variant", [":2: grid.seed: ", "`seeds:`"]),
        ("clips: [a.mp4]\ngrid: {denoiser: []}\n", "empty-list", [":2: grid.denoiser: "]),
        ("clips: [a.mp4]\ngrid: {denoiser: [none, none]}\n", "duplicate-name", ["grid: ", "'none'", "`variants:`"]),
        ("clips: [a.mp4]\nbase_name: x\n" + VARIANTS, "reserved-name", [":3: variants.x: "]),
        (
            "clips: [a.mp4]\nbase_name: x\ngrid: {denoiser: [none, rnnoise]}\n",
            "conflicting-keys",
            [":2: base_name: ", "`grid:`"],
        ),
        ("clips: [a.mp4]\nbase: seeded.yaml\n" + VARIANTS, "seed-in-variant", ["seeded.yaml: seed: ", "`seeds:`"]),
    ],
)
def test_invalid_file_is_one_line_with_code(
    folder: Path, registry: Registry, text: str, code: str, facts: list[str]
) -> None:
    with pytest.raises((ConfigError, InputError)) as error:
        read(folder, text, registry)
    message = str(error.value)
    assert error.value.code == code, message
    assert all(fact in message for fact in ["comparison.yaml", *facts]), message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "code", "facts"),
    [
        (
            "clips: [a.mp4]\nmetrics: [lipz]\n" + VARIANTS,
            "unknown-metric",
            [":2: metrics: ", "'lipz'", "did you mean 'lips'"],
        ),
        ("clips: [a.mp4]\nvariants:\n  x: {denoizer: none}\n", "unknown-option", [":3: denoizer: "]),
        ("clips: [a.mp4]\nvariants:\n  x: {denoiser: nome}\n", "unknown-stage", [":3: denoiser: ", "'nome'"]),
    ],
)
def test_errors_of_metrics_and_variants_have_file_and_line(
    folder: Path, registry: Registry, text: str, code: str, facts: list[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        read(folder, text, registry)
    message = str(error.value)
    assert error.value.code == code, message
    assert all(fact in message for fact in ["comparison.yaml", *facts]), message
    assert "\n" not in message
