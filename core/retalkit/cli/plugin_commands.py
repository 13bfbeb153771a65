"""Commands that plugins add to ``retalkit``. A command's module is imported when the command runs."""

from __future__ import annotations

from typing import Any, cast

import typer
import typer.core
import typer.main

from retalkit.cli.path_arguments import check_paths_of
from retalkit.plugins.registry import FoundCommand


class CommandGroup(typer.core.TyperGroup):
    """Command group of ``retalkit`` with the core's commands followed by those of plugins."""

    _found: dict[str, FoundCommand] | None = None

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return [*super().list_commands(ctx), *self._plugin_commands()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command, or None if there is no such command. Plugins are discovered only for names that are not
        commands of the core."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        found = self._plugin_commands().get(cmd_name)
        return None if found is None else _PluginCommand(found)

    def _plugin_commands(self) -> dict[str, FoundCommand]:
        if self._found is None:
            from retalkit.plugins.discovery import discover

            self._found = {found.spec.name: found for found in discover().commands}
        return self._found


class _PluginCommand(typer.core.TyperCommand):
    """Command that is listed without importing its application."""

    def __init__(self, found: FoundCommand) -> None:
        super().__init__(found.spec.name, help=found.spec.summary)
        self._found = found

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Import the application and return the context of its command.

        Raises:
            PluginError: a required package is missing, or the application cannot be imported.
        """
        command = check_paths_of(typer.main.get_command(load_application(self._found)))
        return command.make_context(info_name, args, parent=parent, **extra)


def load_application(found: FoundCommand) -> typer.Typer:
    """Import the application of a command.

    Raises:
        PluginError: a required package is missing, or the application cannot be imported.
    """
    from retalkit.errors import PluginError, RetalkitError
    from retalkit.plugins.availability import missing_command_packages
    from retalkit.plugins.specs import resolve

    if (reason := missing_command_packages(found)) is not None:
        raise PluginError(f"retalkit {found.spec.name}: {reason}", code="missing-package")
    try:
        application = cast(object, resolve(found.spec.application))
        if not isinstance(application, typer.Typer) and callable(application):
            application = application()
    except RetalkitError:
        raise
    except Exception as error:
        message = f"{found.label} from {found.package} cannot be loaded: {type(error).__name__}: {error}"
        raise PluginError(message, code="import-failed") from error
    if not isinstance(application, typer.Typer):
        message = f"{found.label} from {found.package}: {found.spec.application} is not a typer.Typer application"
        raise PluginError(message, code="invalid-plugin")
    return application
