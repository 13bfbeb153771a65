"""``retalkit new-plugin``: names that cannot be, folders that are there, failures half way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import call
from retalkit.scaffolding.names import compatible_range, names_from


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["glow", "--kind", "enhancr"], "'enhancr' is no kind of plugin; did you mean 'enhancer'?"),
        (["my glow", "--kind", "enhancer"], "'my glow' is no name for a package"),
        (["2glow", "--kind", "enhancer"], "'2glow' is no name for a package"),
        (["glow-", "--kind", "enhancer"], "'glow-' is no name for a package"),
        (["../glow", "--kind", "enhancer"], "'../glow' is no name for a package"),
        (["g" * 41, "--kind", "enhancer"], "too long"),
        (["json", "--kind", "enhancer"], "would hide Python's own 'json'"),
        (["class", "--kind", "enhancer"], "would hide Python's own 'class'"),
        (["true", "--kind", "enhancer"], "would be the stage 'true', which YAML takes for no text"),
        (["Yes", "--kind", "metric"], "would be the stage 'yes'"),
        (["retalkit-on", "--kind", "enhancer"], "would be the stage 'on'"),
        (["retalkit-plugin-null", "--kind", "enhancer"], "would be the stage 'null'"),
        (["Tests", "--kind", "enhancer"], "'Tests' is what many other folders and modules are called"),
        (["conftest", "--kind", "enhancer"], "'conftest' is what many"),
        (["src", "--kind", "enhancer"], "'src' is what many"),
        (["plugin", "--kind", "enhancer"], "'plugin' is what many"),
        (["test", "--kind", "enhancer"], "'test' is what many"),
        (["numpy", "--kind", "enhancer"], "a Python package 'numpy' is installed already"),
        (["retalkit", "--kind", "enhancer"], "is this program itself"),
        (["Detail", "--kind", "enhancer"], "retalkit offers the enhancer 'detail' already"),
        (["retalkit-exemplar", "--kind", "lip-syncer"], "offers the lip_syncer 'exemplar' already"),
        (["cpbd", "--kind", "metric"], "offers the metric 'cpbd' already"),
        (["glow", "--kind", "enhancer", "--output", "absent/glow"], "the folder absent is not there"),
        (["glow"], "Missing option '--kind'"),
    ],
)
def test_what_cannot_be_is_one_line_and_writes_nothing(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(capsys, "new-plugin", *arguments)
    assert done.code == 2
    assert text in done.error
    assert list(tmp_path.iterdir()) == []


def test_names_follow_from_one(tmp_path: Path) -> None:
    names = names_from("Retalkit_Plugin.Soft-Glow")
    assert (names.distribution, names.module) == ("retalkit-plugin-soft-glow", "retalkit_plugin_soft_glow")
    assert names.stage == "soft_glow"
    assert names.class_name("enhancer") == "SoftGlowEnhancer"
    assert names_from("loud-lip-syncer").class_name("lip_syncer") == "LoudLipSyncer"
    assert names_from("retalkit-2").stage == "retalkit_2"
    assert compatible_range("0.1.0") == ">=0.1,<0.2"
    assert compatible_range("1.4.2") == ">=1.4,<2"


def files_in(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text(encoding="utf-8") for p in folder.rglob("*") if p.is_file()}


def test_force_replaces_only_what_the_command_writes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "glow").mkdir()
    said = call(capsys, "new-plugin", "glow", "--kind", "enhancer")
    assert said.code == 0, said.err
    first = files_in(tmp_path / "glow")
    assert set(first) == {line.strip() for line in said.out.split("next:")[0].splitlines()[1:]}
    notes, stage = tmp_path / "glow" / "src" / "glow" / "notes.py", tmp_path / "glow" / "src" / "glow" / "enhancer.py"
    notes.write_text("mine", encoding="utf-8")
    stage.write_text("broken", encoding="utf-8")
    refused = call(capsys, "new-plugin", "glow", "--kind", "enhancer")
    assert (refused.code, "--force" in refused.error) == (2, True)
    assert stage.read_text(encoding="utf-8") == "broken"
    assert call(capsys, "new-plugin", "glow", "--kind", "enhancer", "--force").code == 0
    assert files_in(tmp_path / "glow") == {**first, "src/glow/notes.py": "mine"}
    assert [path.name for path in tmp_path.iterdir()] == ["glow"]


def test_force_stops_where_it_would_replace_a_folder_or_leave_its_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "one" / "README.md").mkdir(parents=True)
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "src").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "three").write_text("a file", encoding="utf-8")
    for name, text in (("one", "README.md: is a folder"), ("two", "no folder inside"), ("three", "is no folder")):
        done = call(capsys, "new-plugin", "glow", "--kind", "enhancer", "--force", "--output", tmp_path / name)
        assert (done.code, text in done.error) == (2, True), done.error
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two", "three"}
    assert [path.name for path in (tmp_path / "two").iterdir()] == ["src"]


def test_a_failure_while_writing_leaves_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    write_text = Path.write_text

    def full(self: Path, *arguments: Any, **options: Any) -> int:
        written.append(self)
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        return write_text(self, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", full)
    done = call(capsys, "new-plugin", "glow", "--kind", "enhancer", "--output", tmp_path / "glow")
    assert (done.code, done.error) == (
        2,
        f"retalkit: error: {tmp_path / 'glow'}: cannot be written: No space left on device",
    )
    assert len(written) == 4
    assert list(tmp_path.iterdir()) == []
