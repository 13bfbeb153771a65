"""General commands, help, and conversion of errors to exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from commands import call
from retalkit import __version__
from retalkit.cli.main import application
from retalkit.config import yaml_io
from retalkit.paths import reserved
from retalkit.stages import StageKind
from typer.main import get_command


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "--version").out == f"retalkit {__version__}\n"
    assert "dub" in call(capsys).out
    assert "--extend" in call(capsys, "dub", "--help").out


def commands(command: Any, *names: str) -> Iterator[tuple[str, ...]]:
    yield names
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, *names, name)


@pytest.mark.parametrize("names", commands(get_command(application())), ids=" ".join)
def test_every_command_accepts_h_and_help(capsys: pytest.CaptureFixture[str], names: tuple[str, ...]) -> None:
    short, long = (call(capsys, *names, option) for option in ("-h", "--help"))
    assert short.code == long.code == 0
    assert short.out == long.out and " ".join(["retalkit", *names]) in short.out and "-h, --help" in short.out


def test_python_m_retalkit_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "retalkit", "zzz"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "retalkit: error: No such command 'zzz'. (see `retalkit --help`)\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["dub"], "Missing argument"),
        (["dub", "a.mp4", "b.wav"], "Missing option"),
        (["dub", "a.mp4", "b.wav", "-o", "c.mp4", "--bogus"], "--bogus"),
        (["plugins", "--kind", "enhancr"], "did you mean 'enhancer'?"),
        (["plugins", "--plugin", "absent.py"], "absent.py"),
        (["config", "show", "--preset", "papr"], "did you mean 'paper'?"),
        (["config", "show", "--set", "extend=lop"], "extend=lop"),
        (["config", "validate", "absent.yaml"], "absent.yaml"),
        (
            ["dub", "a.mp4", "b.wav", "-o", "c.mp4", "--face", "nearest"],
            "--face",
        ),
        (["dub", "a.mp4", "b.wav", "-o", "c.mp4", "--length", "film"], "--length"),
        (["dub", "a.mp4", "b.wav", "-o", "c.mp4", "--preset", "paper"], "`retalkit weights pull s3fd fan face3d"),
    ],
)
def test_user_error_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    done = call(capsys, *arguments)
    assert done.code == 2
    assert done.error.startswith("retalkit: error: ")
    assert text in done.error


def test_internal_error_is_one_line_and_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr("retalkit.pipeline.run.dub", fail)
    done = call(capsys, "dub", "a", "b", "-o", "c")
    assert (done.code, "--traceback" in done.error) == (1, True)
    assert "Traceback" not in done.err
    assert "Traceback" in call(capsys, "dub", "a", "b", "-o", "c", "--traceback").err


def test_ctrl_c_exits_with_130_and_a_hint_to_resume(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("retalkit.pipeline.run.dub", stop)
    done = call(capsys, "dub", "a", "b", "-o", "c")
    assert done.code == 130
    assert done.error == "retalkit: stopped; resume with: retalkit dub a b -o c"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_during_an_import_is_not_an_internal_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def load(*_arguments: object) -> None:
        # The initialisation of an extension module replaces every exception by ImportError.
        try:
            signal.raise_signal(number)
        except BaseException:
            raise ImportError("numpy._core.multiarray failed to import") from None

    monkeypatch.setattr("retalkit.plugins.discovery.discover", load)
    # A program that was started with nohup or in the background ignores some signals.
    before = signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    try:
        done = call(capsys, "inspect", "a.mp4")
    finally:
        signal.signal(number, before)
    assert (done.code, done.error) == (128 + number, "retalkit: stopped")


@pytest.mark.parametrize("command", [("inspect", "a.mp4"), ("compare", "a.yaml"), ("motion", "a.wav")])
def test_output_of_another_run_is_rejected(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: tuple[str, str]
) -> None:
    output = tmp_path / "out.csv"
    with reserved(output):
        done = call(capsys, *command, "-o", output)
    assert done.code == 2 and "another run is writing" in done.error and list(tmp_path.iterdir()) == []


def test_plugins_lists_every_stage(capsys: pytest.CaptureFixture[str]) -> None:
    text = call(capsys, "plugins").out
    assert all(name in text for name in ("mediapipe", "shallow", "exemplar", "rnnoise", "detail", "Apache-2.0"))
    listed = json.loads(call(capsys, "plugins", "--json").out)
    assert {stage["kind"] for stage in listed["stages"]} == {kind.value for kind in StageKind}
    assert listed["problems"] == []
    only = json.loads(call(capsys, "plugins", "--json", "--kind", "denoiser").out)
    assert {stage["name"] for stage in only["stages"]} >= {"none", "rnnoise", "spectral_gate"}
    assert {stage["kind"] for stage in only["stages"]} == {"denoiser"}


def test_plugins_shows_why_a_stage_cannot_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from retalkit.plugins import StageSpec, hookimpl\n"
        "from retalkit.stages import StageKind\n\n\n"
        "@hookimpl\ndef retalkit_stages():\n"
        "    return [StageSpec(StageKind.DENOISER, 'mine', 'for a test', print, 'MIT', api=2,\n"
        "                      requires=('not_there',))]\n",
        encoding="utf-8",
    )
    text = call(capsys, "plugins", "--plugin", file).out
    assert "cannot run here: needs the Python package not_there" in text


def test_config_show_is_a_run_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shown = call(capsys, "config", "show", "--set", "enhancers.0.strength=0.5").out
    file = tmp_path / "run.yaml"
    file.write_text(shown, encoding="utf-8")
    assert call(capsys, "config", "show", "--config", file).out == shown
    assert "is valid" in call(capsys, "config", "validate", file).out
    schema = json.loads(call(capsys, "config", "schema").out)
    jsonschema.validate(yaml_io.read_file(file)[0], schema)


def test_config_validate_plans_the_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("preset: paper\n", encoding="utf-8")
    done = call(capsys, "config", "validate", file)
    assert done.code == 2
    assert "needs the weights" in done.error
