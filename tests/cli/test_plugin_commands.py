"""Commands of plugins: listing, running, missing packages, and invalid specs."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from commands import call
from retalkit.plugins.discovery import discover

from tests.core.plugin_packages import install, problem_of

COMMAND = """
from retalkit.plugins import CommandSpec, hookimpl

@hookimpl
def retalkit_commands():
    return [CommandSpec(name={name!r}, summary="Polish a video.", application={application!r}, requires={requires!r},
                        install="shiny[polish]")]
"""

APPLICATION = """
import typer

application = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})

@application.command()
def once(times: int = 1):
    "Polish once."
    typer.echo(f"polished {times} times")

@application.command()
def twice():
    typer.echo("polished twice")

def make():
    return application
"""


def command_source(
    name: str = "polish", application: str = "shiny_app:application", requires: tuple[str, ...] = ()
) -> str:
    return COMMAND.format(name=name, application=application, requires=requires)


def test_command_is_listed_without_import_and_runs(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(site, "shiny", command_source())
    (site / "shiny_app.py").write_text(APPLICATION, encoding="utf-8")
    assert re.search(r"^ *polish +Polish a video\.$", call(capsys, "--help").out, re.MULTILINE)
    assert "\n  polish: Polish a video." in call(capsys, "plugins").out.partition("\ncommand\n")[2]
    listed = json.loads(call(capsys, "plugins", "--json").out)["commands"]
    assert "polish" in [command["name"] for command in listed]
    assert "shiny_app" not in sys.modules
    assert call(capsys, "polish", "once", "--times", "3").out == "polished 3 times\n"
    assert "retalkit polish" in call(capsys, "polish", "--help").out
    wrong = call(capsys, "polish", "once", "--time", "x")
    assert wrong.code == 2
    assert "retalkit polish" in wrong.err


def test_application_may_be_a_function(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(site, "shiny", command_source(application="shiny_made:make"))
    (site / "shiny_made.py").write_text(APPLICATION, encoding="utf-8")
    assert call(capsys, "polish", "twice").out == "polished twice\n"


def test_missing_package_is_reported_with_the_pip_command(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(site, "shiny", command_source(requires=("absent_lib",)))
    assert "polish" in call(capsys, "--help").out
    failed = call(capsys, "polish", "once")
    assert failed.code == 2
    assert len(failed.err.splitlines()) == 1
    assert "absent_lib" in failed.err
    assert "pip install 'shiny[polish]'" in failed.err


@pytest.mark.parametrize("application", ["shiny_gone:application", "os:sep", "os:absent"])
def test_broken_application_is_reported_in_one_line(
    site: Path, capsys: pytest.CaptureFixture[str], application: str
) -> None:
    install(site, "shiny", command_source(application=application))
    failed = call(capsys, "polish")
    assert failed.code == 2
    assert len(failed.err.splitlines()) == 1
    assert "shiny" in failed.err


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (command_source(name="dub"), "'dub', which is a command of Retalkit"),
        (command_source(name="Polish it"), "'Polish it'"),
        (command_source(application="no_colon"), "'package.module:name'"),
        (command_source().replace("return [", "return ['x', "), "offers str, expected CommandSpec"),
        (command_source().replace("install=", "api=9, install="), "version 9 of the command contract"),
    ],
)
def test_invalid_command_is_a_problem(site: Path, source: str, reason: str) -> None:
    install(site, "shiny", source)
    assert reason in problem_of(discover(), "shiny")
