"""Plugin code during discovery: captured output, caught exceptions and plugin files."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from retalkit.errors import PluginError
from retalkit.plugins.discovery import discover
from retalkit.plugins.loading import capture_output
from retalkit.stages import StageKind

from tests.core.plugin_packages import good_source, install, problem_of


@pytest.fixture(autouse=True)
def command_line() -> Iterator[None]:
    """The command line captures the output of plugins."""
    with capture_output():
        yield


def test_a_program_keeps_its_streams(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(site, "loud-faces", f"print('hello')\n{good_source()}")
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(discover).result().problems == []
    assert capsys.readouterr().out == "hello\n"


@pytest.mark.parametrize(
    "noise",
    [
        "print('hello')",
        "import sys; sys.stderr.write('hello\\n')",
        "import sys; sys.stdout.buffer.write(b'hello\\n')",
    ],
)
def test_output_during_import_is_captured_and_reported(
    site: Path, capsys: pytest.CaptureFixture[str], noise: str
) -> None:
    install(site, "loud-faces", f"{noise}\n{good_source()}")
    registry = discover()
    assert capsys.readouterr() == ("", "")
    assert registry.find(StageKind.ENHANCER, "polish").package == "loud-faces"
    assert "prints during import or in its hooks: 'hello'" in problem_of(registry, "loud-faces")


def test_output_of_a_hook_is_captured_and_reported(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(site, "loud-faces", good_source().replace("    return [", "    print('hello')\n    return ["))
    registry = discover()
    assert capsys.readouterr() == ("", "")
    assert problem_of(registry, "loud-faces").endswith("in its hooks: 'hello'")
    assert registry.find(StageKind.ENHANCER, "polish").package == "loud-faces"


def test_plugin_that_parses_the_command_line_is_reported_with_its_output(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["retalkit", "plugins", "--json"])
    install(site, "parsing-faces", "import argparse; argparse.ArgumentParser().parse_args()")
    reason = problem_of(discover(), "parsing-faces")
    assert reason.startswith("could not be imported: SystemExit: 2")
    assert reason.endswith("after printing 'retalkit: error: unrecognized arguments: plugins --json'")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("place", ["import", "hook"])
def test_base_exceptions_of_a_plugin_are_reported(site: Path, place: str) -> None:
    panic = "class Panic(BaseException): ...\n"
    source = f"raise Panic('over')\n{good_source()}"
    if place == "hook":
        source = good_source().replace("    return [", "    raise Panic('over')\n    return [")
    install(site, "panicking-faces", panic + source)
    registry = discover()
    assert "Panic: over" in problem_of(registry, "panicking-faces")
    assert registry.of_kind(StageKind.DETECTOR)


def test_ctrl_c_during_import_is_not_caught(site: Path) -> None:
    install(site, "slow-faces", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        discover()


def test_stream_kept_by_a_plugin_writes_to_the_real_one_later(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = "import io, sys\nkept = sys.stderr\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer)\n" + good_source()
    install(site, "keeping-faces", source)
    assert discover().problems == []
    __import__("keeping_faces").kept.write("later\n")
    assert capsys.readouterr() == ("", "later\n")


def test_two_entry_points_to_one_module_are_reported(site: Path) -> None:
    install(site, "double-faces", good_source())
    (entry_points,) = site.glob("*/entry_points.txt")
    entry_points.write_text("[retalkit]\none = double_faces\ntwo = double_faces\n", encoding="utf-8")
    registry = discover()
    assert "same module as double-faces (one)" in problem_of(registry, "double-faces")
    assert registry.find(StageKind.ENHANCER, "polish").entry_point == "one"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_stage.py"
    path.write_text(good_source(name="mine"), encoding="utf-8")
    return path


def test_plugin_file_given_twice_is_loaded_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    registry = discover([file, Path(file.name), file])
    assert [found.spec.name for found in registry.stages].count("mine") == 1


def test_plugin_file_that_prints_can_be_used(file: Path) -> None:
    file.write_text(f"print('hello')\n{file.read_text(encoding='utf-8')}", encoding="utf-8")
    registry = discover([file])
    assert "'hello'" in problem_of(registry, str(file))
    assert registry.find(StageKind.ENHANCER, "mine").package == str(file)


def test_plugin_file_that_imports_a_sibling_module_gets_a_hint(file: Path) -> None:
    file.with_name("my_helper.py").write_text("", encoding="utf-8")
    file.write_text("import my_helper.parts", encoding="utf-8")
    with pytest.raises(PluginError, match="imports 'my_helper'") as error:
        discover([file])
    assert error.value.code == "import-failed"
