"""``retalkit plugins``: text and JSON output, slow plugins, and plugins that print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import call
from retalkit.cli import plugins as plugins_command
from retalkit.config import yaml_io

from tests.core.plugin_packages import good_source, install


def test_drivers_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(call(capsys, "plugins", "--json").out)
    assert {driver["name"]: driver["package"] for driver in listed["drivers"]} == {
        "model": "retalkit",
        "bands": "retalkit",
        "file": "retalkit",
    }
    assert all(driver["summary"] for driver in listed["drivers"])
    assert "\ndriver\n  model: " in call(capsys, "plugins").out
    assert "driver" not in call(capsys, "plugins", "--kind", "enhancer").out


FINISHER = """
from retalkit.plugins import FinisherSpec, hookimpl

@hookimpl
def retalkit_finishers():
    return [FinisherSpec(name="sign", summary="Sign the video.", build=lambda config: None, requires=("absent_lib",))]
"""


def test_finishers_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "signing.py"
    file.write_text(FINISHER, encoding="utf-8")
    listed = json.loads(call(capsys, "plugins", "--json", "--plugin", file).out)["finishers"]
    finishers = {finisher["name"]: finisher for finisher in listed}
    assert not finishers["sign"]["runs_here"] and "absent_lib" in finishers["sign"]["reason"]
    assert finishers["content_credentials"]["runs_here"]
    assert "\n  sign: Sign the video.\n" in call(capsys, "plugins", "--plugin", file).out


def test_slow_plugin_is_listed(site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    install(site, "sleepy-faces", f"import time\ntime.sleep(0.3)\n{good_source()}")
    monkeypatch.setattr(plugins_command, "SLOW", 0.25)
    listed = json.loads(call(capsys, "plugins", "--json").out)
    seconds = {entry["owner"]: entry["seconds"] for entry in listed["slow"]}
    assert seconds["sleepy-faces (stages)"] >= 0.3
    del sys.modules["sleepy_faces"]
    assert "\n  sleepy-faces (stages): takes 0." in call(capsys, "plugins").out.partition("\nslow\n")[2].join("\n\n")


def test_output_of_plugins_does_not_mix_with_command_output(site: Path) -> None:
    noise = "import warnings\nprint('hello')\nwarnings.warn('careful')\n"
    install(site, "loud-faces", f"{noise}\n{good_source()}")

    def out(*arguments: str) -> str:
        path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, "-m", "retalkit", *arguments],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    (problem,) = json.loads(out("plugins", "--json"))["problems"]
    assert problem["owner"] == "loud-faces (stages)"
    assert "prints" in problem["reason"]
    assert "detector" in yaml_io.read_value(out("config", "show"), "config show")
