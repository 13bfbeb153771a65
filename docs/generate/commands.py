"""Writes ``docs/commands.md``: every command with its arguments and options, read from the command line's own code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retalkit.cli.main import application
from typer.main import get_command

PAGE = Path(__file__).resolve().parent.parent / "commands.md"

HEAD = """# Commands

<!-- Written by docs/generate/commands.py: change the command line's code, not this page. -->

Exit codes: 0 done, 1 a fault of the program, 2 something that you can mend (one line on stderr says what), 130 stopped
by Ctrl-C. `--traceback` may stand anywhere and shows where an error comes from. `retalkit --version` prints the
version.
"""


def page() -> str:
    """The whole page as Markdown."""
    return "\n".join([HEAD, *_sections(get_command(application()), "retalkit")])


def _sections(command: Any, name: str) -> Iterator[str]:
    for word, inner in getattr(command, "commands", {}).items():
        called = f"{name} {word}"
        yield from _section(inner, called)
        yield from _sections(inner, called)


def _section(command: Any, name: str) -> Iterator[str]:
    group = bool(getattr(command, "commands", None))
    parameters = [one for one in command.params if one.name != "help" and not getattr(one, "hidden", False)]
    yield f"## {name}\n"
    yield f"{_one_line(command.help)}\n"
    if group:
        return
    usage = " ".join(_usage(one) for one in parameters if one.param_type_name == "argument")
    options = [one for one in parameters if one.param_type_name == "option"]
    required = " ".join(f"{one.opts[0]} {one.metavar}" for one in options if one.required)
    words = (name, usage, required, "[OPTIONS]" if options else "")
    yield f"```text\n{' '.join(word for word in words if word)}\n```\n"
    yield "| argument or option | meaning |\n|---|---|"
    for one in parameters:
        yield f"| {_names(one)} | {_one_line(one.help).replace('|', chr(92) + '|')} |"
    yield ""


def _usage(argument: Any) -> str:
    called = argument.metavar or argument.name.upper()
    return called if argument.required or called.startswith("[") else f"[{called}]"


def _names(one: Any) -> str:
    if one.param_type_name == "argument":
        return f"`{_usage(one)}`"
    spelled = ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
    # A vertical line would end the table's cell.
    value = "" if one.is_flag else f" {(one.metavar or '').replace('|', chr(92) + '|')}"
    return spelled + value


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.exit(0)
