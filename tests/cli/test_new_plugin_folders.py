"""``retalkit new-plugin``: invalid names, existing directories, write errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import call
from retalkit.scaffolding.names import compatible_range, names_from

KIND = ["--kind", "enhancer"]


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["glow", "--kind", "enhancr"], ["--kind", "'enhancr'", "did you mean 'enhancer'?"]),
        (["my glow", *KIND], ["'my glow'", "letters, digits and single hyphens"]),
        (["2glow", *KIND], ["'2glow'", "letters, digits and single hyphens"]),
        (["glow-", *KIND], ["'glow-'", "letters, digits and single hyphens"]),
        (["../glow", *KIND], ["'../glow'", "letters, digits and single hyphens"]),
        (["g" * 41, *KIND], ["'ggg", "at most 40 characters"]),
        (["json", *KIND], ["'json'", "Python module"]),
        (["class", *KIND], ["'class'", "Python module"]),
        (["true", *KIND], ["stage name 'true'", "YAML"]),
        (["Yes", "--kind", "metric"], ["stage name 'yes'", "YAML"]),
        (["retalkit-on", *KIND], ["stage name 'on'", "YAML"]),
        (["retalkit-plugin-null", *KIND], ["stage name 'null'", "YAML"]),
        (["Tests", *KIND], ["'Tests'", "reserved name"]),
        (["conftest", *KIND], ["'conftest'", "reserved name"]),
        (["src", *KIND], ["'src'", "reserved name"]),
        (["plugin", *KIND], ["'plugin'", "reserved name"]),
        (["test", *KIND], ["'test'", "reserved name"]),
        (["numpy", *KIND], ["'numpy'", "already installed"]),
        (["retalkit", *KIND], ["'retalkit'", "different name"]),
        (["Detail", *KIND], ["package retalkit", "enhancer 'detail'"]),
        (["retalkit-exemplar", "--kind", "lip-syncer"], ["package retalkit", "lip_syncer 'exemplar'"]),
        (["cpbd", "--kind", "metric"], ["package retalkit", "metric 'cpbd'"]),
        (["glow", *KIND, "--output", "absent/glow"], ["absent/glow", "absent not found"]),
        (["glow"], ["Missing option '--kind'"]),
    ],
)
def test_invalid_arguments_are_reported_in_one_line_and_write_nothing(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    facts: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(capsys, "new-plugin", *arguments)
    assert done.code == 2
    assert [fact for fact in facts if fact not in done.error] == [], done.error
    assert list(tmp_path.iterdir()) == []


def test_all_names_are_derived_from_one(tmp_path: Path) -> None:
    names = names_from("Retalkit_Plugin.Soft-Glow")
    assert (names.distribution, names.module) == ("retalkit-plugin-soft-glow", "retalkit_plugin_soft_glow")
    assert names.stage == "soft_glow"
    assert names.class_name("enhancer") == "SoftGlowEnhancer"
    assert names_from("loud-lip-syncer").class_name("lip_syncer") == "LoudLipSyncer"
    assert names_from("retalkit-2").stage == "retalkit_2"
    assert compatible_range("0.1.0") == ">=0.1,<0.2"
    assert compatible_range("1.4.2") == ">=1.4,<2"


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text(encoding="utf-8") for p in folder.rglob("*") if p.is_file()}


def test_force_replaces_only_files_of_the_command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "glow").mkdir()
    created = call(capsys, "new-plugin", "glow", "--kind", "enhancer")
    assert created.code == 0, created.err
    first = contents(tmp_path / "glow")
    assert set(first) == {line.strip() for line in created.out.split("next steps:")[0].splitlines()[1:]}
    notes, stage = tmp_path / "glow" / "src" / "glow" / "notes.py", tmp_path / "glow" / "src" / "glow" / "enhancer.py"
    notes.write_text("mine", encoding="utf-8")
    stage.write_text("broken", encoding="utf-8")
    refused = call(capsys, "new-plugin", "glow", "--kind", "enhancer")
    assert (refused.code, "--force" in refused.error) == (2, True)
    assert stage.read_text(encoding="utf-8") == "broken"
    assert call(capsys, "new-plugin", "glow", "--kind", "enhancer", "--force").code == 0
    assert contents(tmp_path / "glow") == {**first, "src/glow/notes.py": "mine"}
    assert [path.name for path in tmp_path.iterdir()] == ["glow"]


def test_force_does_not_replace_directories_or_follow_links_outside(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "one" / "README.md").mkdir(parents=True)
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "src").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "three").write_text("a file", encoding="utf-8")
    for name, text in (
        ("one", "README.md: expected a file"),
        ("two", "expected a directory inside"),
        ("three", "not a directory"),
    ):
        done = call(capsys, "new-plugin", "glow", "--kind", "enhancer", "--force", "--output", tmp_path / name)
        assert (done.code, text in done.error) == (2, True), done.error
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two", "three"}
    assert [path.name for path in (tmp_path / "two").iterdir()] == ["src"]


def test_write_error_leaves_nothing_behind(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    write_text = Path.write_text

    def fail_at_fourth(self: Path, *arguments: Any, **options: Any) -> int:
        written.append(self)
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        return write_text(self, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", fail_at_fourth)
    done = call(capsys, "new-plugin", "glow", "--kind", "enhancer", "--output", tmp_path / "glow")
    assert done.code == 2
    assert str(tmp_path / "glow") in done.error and "No space left on device" in done.error
    assert len(written) == 4
    assert list(tmp_path.iterdir()) == []
