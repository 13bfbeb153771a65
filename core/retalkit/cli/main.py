"""The command ``retalkit``: its subcommands, and how every error becomes one line and an exit code.

0: done. 1: a fault of the program. 2: something that the user can mend. 130: stopped by Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from retalkit._version import __version__
from retalkit.cli import (
    compare as compare_command,
)
from retalkit.cli import (
    config as config_commands,
)
from retalkit.cli import (
    dub as dub_command,
)
from retalkit.cli import (
    evaluate as evaluate_command,
)
from retalkit.cli import (
    new_plugin as new_plugin_command,
)
from retalkit.cli import (
    plugins as plugins_command,
)
from retalkit.cli import (
    weights as weights_command,
)
from retalkit.errors import RetalkitError, StageError

USAGE_ERROR = 2
INTERRUPTED = 130

_TRACEBACK = "--traceback"
_COMMANDS = ("dub", "compare", "plugins", "config", "evaluate", "weights", "new-plugin")


def application() -> typer.Typer:
    """The whole command tree. Light: what a command needs is imported when it runs."""
    app = typer.Typer(
        help="Visual dubbing: make the lips of a talking-head video follow new speech.",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback(invoke_without_command=True)(_root)
    app.command("dub")(dub_command.dub)
    app.command("compare")(compare_command.compare)
    app.command("plugins")(plugins_command.plugins)
    app.command("new-plugin")(new_plugin_command.new_plugin)
    app.add_typer(config_commands.application(), name="config")
    app.add_typer(evaluate_command.application(), name="evaluate")
    app.add_typer(weights_command.application(), name="weights")
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script; always leaves by SystemExit."""
    _one_thread_for_small_matrices()
    given = list(sys.argv[1:] if arguments is None else arguments)
    ends = given.index("--") if "--" in given else len(given)
    with_traceback = _TRACEBACK in given[:ends]
    given = [word for i, word in enumerate(given) if not (word == _TRACEBACK and i < ends)]
    try:
        code = application()(args=given, prog_name="retalkit", standalone_mode=False)
    except RetalkitError as error:
        _fail(str(error), USAGE_ERROR, with_traceback)
    except StageError as error:
        _fail(f"{error}" + ("" if with_traceback else f" ({_TRACEBACK} shows all)"), 1, with_traceback)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        # Typer's usage errors share no public base class, only this method.
        usage = getattr(error, "format_message", None)
        if usage is not None:
            words = [word for word in given[:1] if word in _COMMANDS]
            _fail(f"{usage()} (see `{' '.join(['retalkit', *words])} --help`)", USAGE_ERROR, with_traceback)
        hint = "" if with_traceback else f" (a fault of the program: {_TRACEBACK} shows where)"
        _fail(f"{type(error).__name__}: {error}{hint}", 1, with_traceback)
    # Typer makes Ctrl-C inside a command an exit code of its own.
    if code == INTERRUPTED:
        goes_on = given[:1] in (["dub"], ["compare"]) or given[:2] == ["weights", "pull"]
        hint = ": the same command goes on where it stopped" if goes_on else ""
        _fail(f"stopped{hint}", INTERRUPTED, with_traceback=False, begin="retalkit: ")
    sys.exit(code if isinstance(code, int) else 0)


def _one_thread_for_small_matrices() -> None:
    """Must run before numpy is imported. All matrices here are small: threads of BLAS wait for each other more than
    they compute (a singular value decomposition took seconds on a busy machine), and take the cores from our own.

    Only numpy's library is meant. Where MKL is told so, torch runs its networks on one core, too."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _fail(text: str, code: int, with_traceback: bool, begin: str = "retalkit: error: ") -> NoReturn:
    if with_traceback:
        traceback.print_exc()
    typer.echo(begin + " ".join(text.split()), err=True)
    sys.exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"retalkit {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    show_traceback: Annotated[
        bool, typer.Option(_TRACEBACK, help="Show where an error comes from. May stand anywhere in a command.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
