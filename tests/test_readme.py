"""What the documents show works: commands parse, run files load, Python runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from retalkit.cli.main import main
from retalkit.config import RunConfig, load, preset_names
from retalkit.discovery import availability, discover
from retalkit.planning import plan

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/contracts.md",
    "docs/run-file.md",
    "docs/limits.md",
    "docs/speech-to-mouth.md",
)


def blocks(language: str) -> list[str]:
    return [
        block
        for name in DOCUMENTS
        for block in re.findall(
            rf"^```{language}\n(.*?)^```", (REPOSITORY / name).read_text(encoding="utf-8"), re.M | re.S
        )
    ]


def commands(program: str) -> list[list[str]]:
    words = [
        shlex.split(line, comments=True) for block in blocks("bash") for line in block.splitlines() if line.strip()
    ]
    return [line for line in words if Path(line[0]).name == program]


@pytest.mark.parametrize("command", commands("retalkit"), ids=" ".join)
def test_commands_exist_with_their_options(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = command[1 : command.index(">")] if ">" in command else command[1:]
    with pytest.raises(SystemExit) as end:
        main([*words, "--help"])
    assert end.value.code == 0, capsys.readouterr().err


@pytest.mark.parametrize("command", commands("make"), ids=" ".join)
def test_make_targets_exist(command: list[str]) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{command[1]}:", makefile, re.M)
    for word in command[2:]:
        assert re.search(rf"^{word.partition('=')[0]} \?=", makefile, re.M)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_run_files_load_and_can_be_planned(text: str, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text, encoding="utf-8")
    registry = discover()
    plan(load(registry, file=file), registry)


def test_python_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, object]] = []

    class Record:
        frames_edited, frames_passed, realtime_factor = 1, {}, 1.0

    def dub(*_files: str, **options: object) -> Record:
        calls.append(options)
        return Record()

    monkeypatch.setattr("retalkit.running.dub", dub)
    monkeypatch.chdir(tmp_path)
    values: dict[str, object] = {"__name__": "readme"}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), values)
    assert [sorted(options) for options in calls] == [[], ["config", "registry"]]
    assert len(values["clean"]) == len(values["noisy"])
    plugin = tmp_path / "louder.py"
    plugin.write_text(next(block for block in blocks("python") if "Louder" in block), encoding="utf-8")
    registry = discover([plugin])
    plan(RunConfig.from_preset("embedded", registry=registry, overrides=["denoiser.use=louder"]), registry)
    plugin = tmp_path / "mine.py"
    plugin.write_text(next(block for block in blocks("python") if "retalkit_drivers" in block), encoding="utf-8")
    assert discover([plugin]).driver("mine").summary == "my own model"


def test_the_preset_table_is_true() -> None:
    registry = discover()
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for name in preset_names():
        runs = all(
            registry.offers(kind, choice.use) and availability(registry.find(kind, choice.use)) is None
            for kind, _, choice in load(registry, preset=name).choices
        )
        row = re.search(rf"^\| `{name}`.*\| (yes|no)[^|]*\|$", readme, re.M)
        assert row is not None
        assert (row.group(1) == "yes") == runs, name


def test_the_run_file_page_names_every_key_with_its_default() -> None:
    page = (REPOSITORY / "docs" / "run-file.md").read_text(encoding="utf-8")
    for name, field in RunConfig.model_fields.items():
        assert f"`{name}" in page
        if isinstance(field.default, str | int | float):
            row = next(line for line in page.splitlines() if line.startswith(f"| `{name}`"))
            assert yaml.safe_load(row.split("|")[3].strip().strip("`")) == field.default
