"""Check of all path arguments of a command before the command runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import typer

from retalkit.errors import InputError
from retalkit.paths import missing, not_a_path


def check_paths_of(command: Any) -> Any:
    """Make a click command and its subcommands reject URLs, ``-`` and ``~``, and return the command."""
    for child in cast("dict[str, Any]", getattr(command, "commands", {})).values():
        check_paths_of(child)
    invoke = command.invoke

    def checked(context: typer.Context) -> Any:
        for param in command.params:
            for path in _paths(context.params.get(param.name)):
                _check(path, param.opts[0])
        return invoke(context)

    command.invoke = checked
    return command


def _paths(value: Any) -> list[Path]:
    values = cast("Sequence[Any]", value) if isinstance(value, list | tuple) else [value]
    return [each for each in values if isinstance(each, Path)]


def _check(path: Path, argument: str) -> None:
    """Raise InputError if ``path`` is not a path and no file has this name."""
    if not_a_path(str(path)):
        try:
            exists = path.exists()
        except OSError:
            exists = False
        if not exists:
            name = argument if argument.startswith("-") else argument.upper()
            raise InputError(f"{name}: {missing(path)}", code="unsupported-path")
