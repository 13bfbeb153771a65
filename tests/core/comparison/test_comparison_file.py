"""Comparison files: variants and grids, names, defaults, and what a wrong file says."""

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
        (tmp_path / name).write_bytes(b"not looked into")
    (tmp_path / "seeded.yaml").write_text("seed: 3\n", encoding="utf-8")
    return tmp_path


def read(folder: Path, text: str, registry: Registry) -> Comparison:
    path = folder / "comparison.yaml"
    path.write_text(text, encoding="utf-8")
    return read_comparison(path, registry)


def test_variants_differ_from_the_base_in_what_they_say(folder: Path, registry: Registry) -> None:
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


def test_a_grid_is_every_combination_and_its_first_is_the_base(folder: Path, registry: Registry) -> None:
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


def test_a_run_file_may_be_the_base(folder: Path, registry: Registry) -> None:
    (folder / "run.yaml").write_text("denoiser: none\n", encoding="utf-8")
    comparison = read(folder, "clips: [a.mp4]\nbase: run.yaml\nvariants: {x: {extend: loop}}\n", registry)
    assert comparison.base.config.denoiser.use == "none"
    assert comparison.variants[1].config.denoiser.use == "none"


def test_arms_follow_from_what_there_is(folder: Path, registry: Registry) -> None:
    one = read(folder, "clips: [a.mp4]\nvariants: {x: {extend: loop}}\n", registry)
    assert one.file.wanted_arms == ("real", "own", "silence", "noise")
    two = read(folder, "clips: [a.mp4, b.mp4]\nspeeches: [words.wav]\nvariants: {x: {extend: loop}}\n", registry)
    assert two.file.wanted_arms == ("real", "own", "speech", "mismatched", "silence", "noise")
    assert two.file.speeches["words"].path == folder / "words.wav"


VARIANTS = "variants: {x: {denoiser: none}}\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("clips: [a.mp4]\n", "names no variants"),
        ("clips: [a.mp4]\nvariants: {x: {}}\ngrid: {denoiser: [none]}\n", "line 3: grid: a file has either"),
        ("clips: [c.mp4]\n" + VARIANTS, "clips.c: there is no file"),
        ("clips: [a.mp4]\nspeeches: {w: {path: words.wav, reference: d.mp4}}\n" + VARIANTS, "there is no file"),
        ("clips: [a.mp4]\narms: [own, quite]\n" + VARIANTS, "'quite' is no arm; there are: real, own"),
        ("clips: [a.mp4]\narms: [mismatched]\n" + VARIANTS, "name two clips"),
        ("clips: [a.mp4]\narms: [speech]\n" + VARIANTS, "needs `speeches:`"),
        ("clips: [a.mp4]\nmetrics: [lipz]\n" + VARIANTS, "unknown metric 'lipz'; did you mean 'lips'"),
        ("clips: [a.mp4]\nvariants:\n  x: {denoizer: none}\n", "line 3: denoizer: there is no such key"),
        ("clips: [a.mp4]\nvariants:\n  x: {denoiser: nome}\n", "line 3: denoiser: unknown denoiser 'nome'"),
        ("clips: [a.mp4]\nvariants:\n  base: {denoiser: none}\n", "variants.base: this name is taken"),
        ("clips: [a.mp4]\nbase: {preset: paperr}\n" + VARIANTS, "no preset is named 'paperr'"),
        ("clips: [a.mp4, ./a.mp4]\n" + VARIANTS, "two files called 'a'"),
        ("clip: [a.mp4]\n" + VARIANTS, "did you mean 'clips'"),
        ("clips: [a.mp4]\nseconds: -1\n" + VARIANTS, "line 2: seconds"),
        ("clips: [a.mp4]\nseeds: [1, 1]\n" + VARIANTS, "names '1' twice"),
        ("clips: [a.mp4]\nmetrics: [pixels, pixels]\n" + VARIANTS, "names 'pixels' twice"),
        ("clips: [a.mp4]\nmetrics: []\n" + VARIANTS, "line 2: metrics: is empty"),
        ("clips: [a.mp4]\narms: []\n" + VARIANTS, "line 2: arms: is empty"),
        ('clips: {"": a.mp4}\n' + VARIANTS, "has an empty name"),
        ("clips: [a.mp4]\nvariants:\n  x: {seed: 7}\n", "line 3: variants.x.seed: write `seeds:`"),
        ("clips: [a.mp4]\nbase: {seed: 7}\n" + VARIANTS, "line 2: base.seed: write `seeds:`"),
        ("clips: [a.mp4]\ngrid: {seed: [0, 1]}\n", "line 2: grid.seed: write `seeds:`"),
        ("clips: [a.mp4]\nbase_name: x\n" + VARIANTS, "variants.x: this name is taken"),
        ("clips: [a.mp4]\nbase_name: x\ngrid: {denoiser: [none, rnnoise]}\n", "line 2: base_name: the base of a grid"),
        ("clips: [a.mp4]\nbase: seeded.yaml\n" + VARIANTS, "seed: write `seeds:` in"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(folder: Path, registry: Registry, text: str, told: str) -> None:
    with pytest.raises((ConfigError, InputError)) as raised:
        read(folder, text, registry)
    assert told in str(raised.value)
    assert "comparison.yaml" in str(raised.value)
    assert "\n" not in str(raised.value)
